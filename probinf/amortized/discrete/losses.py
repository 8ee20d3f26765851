"""What any-marginal networks minimise, from draws and from an unnormalised density."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.amortized.discrete.network import UNKNOWN, AnyMarginalNetwork, prefixes
from probinf.core.program import Key, Program, log_density

_DEPTH = 40.0  # nats below the best of a batch, where impossible values are put


def _orders(key: Key, count: int, size: int) -> Int[Array, "count size"]:
    keys = jax.random.split(key, count)
    return jax.vmap(lambda k: jax.random.permutation(k, size))(keys)


def _inconsistency(
    network: AnyMarginalNetwork, before: Array, steps: Float[Array, "batch d"]
) -> Float[Array, ""]:
    """Mean squared difference, in nats, of the marginals of prefixes and the conditionals' product.

    The paper asks each step to be consistent; here it is their sums, so that errors of a step do
    not add up along the way.
    """
    heights = jax.vmap(jax.vmap(network.height))(before)
    product = jax.lax.stop_gradient(jnp.cumsum(steps, -1))
    return jnp.mean((heights[:, 1:] - heights[:, :1] - product) ** 2)


@dataclasses.dataclass(frozen=True)
class DrawsLoss:
    """Negative log score of draws, of random coordinates given random others, and inconsistency."""

    batch: int
    held: bool = False

    def __call__(
        self, network: AnyMarginalNetwork, data: tuple[Array, Array], key: Key
    ) -> Float[Array, ""]:
        rows = data[1] if self.held else data[0]
        first, second = jax.random.split(key)
        z = rows[jax.random.randint(first, (self.batch,), 0, len(rows))]
        size = z.shape[1]
        order = _orders(second, self.batch, size)
        before = jax.vmap(prefixes)(z, order)
        found = jax.vmap(jax.vmap(network.log_conditionals))(before[:, :-1])
        log_p = jnp.take_along_axis(found, z[:, None, :, None], -1)[..., 0]
        # the mean over all unknown coordinates stands for that of the next one
        unknown = before[:, :-1] == UNKNOWN
        score = jnp.sum(jnp.where(unknown, log_p, 0.0), -1) / unknown.sum(-1)
        steps = jnp.take_along_axis(log_p, order[:, :, None], -1)[..., 0]
        return -jnp.mean(score.sum(-1)) + _inconsistency(network, before, steps)


@dataclasses.dataclass(frozen=True)
class EnergyLoss:
    """Half the variance of ``log gamma - log q`` over draws from q in random orders, whose
    gradient is that of KL(q || posterior) with a baseline (arXiv 2010.10436), and inconsistency.
    """

    batch: int

    def __call__(
        self, network: AnyMarginalNetwork, data: tuple[Program, Array], key: Key
    ) -> Float[Array, ""]:
        flat, low = data
        first, second = jax.random.split(key)
        size = len(network.levels)
        order = _orders(first, self.batch, size)
        keys = jax.random.split(second, self.batch)
        nothing = jnp.full(size, UNKNOWN)
        z = jax.lax.stop_gradient(jax.vmap(network.draw, (0, None, 0))(keys, nothing, order))
        log_gamma = jax.vmap(lambda v: log_density(flat, v))((z + low).astype(float))
        log_gamma = jnp.maximum(log_gamma, log_gamma.max() - _DEPTH)
        steps = jax.vmap(network.log_steps, (0, None, 0))(z, nothing, order)
        ratio = log_gamma - steps.sum(-1)
        spread = 0.5 * jnp.sum((ratio - ratio.mean()) ** 2) / (self.batch - 1)
        return spread + _inconsistency(network, jax.vmap(prefixes)(z, order), steps)
