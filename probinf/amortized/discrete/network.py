"""AnyMarginalNetwork: conditionals and marginals of whole numbers, given any of them."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.amortized.nets.attention import Dense, Norm, Perceptron
from probinf.core.program import Key

UNKNOWN = -1
_IMPOSSIBLE = -1e9  # not -inf, whose product with zero is NaN in gradients


class Tower(eqx.Module):
    """Dense, residual perceptrons on normalised features, dense."""

    first: Dense
    norms: list[Norm]
    blocks: list[Perceptron]
    last: Dense

    def __init__(self, sizes: tuple[int, int, int], layers: int, key: Key) -> None:
        inputs, width, outputs = sizes
        keys = jax.random.split(key, layers + 2)
        self.first = Dense(inputs, width, keys[0])
        self.norms = [Norm(width) for _ in range(layers)]
        self.blocks = [Perceptron(width, width, width, k, gain=0.1) for k in keys[2:]]
        self.last = Dense(width, outputs, keys[1], gain=0.1)

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        h = self.first(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + block(norm(h))
        return self.last(jax.nn.gelu(h))


class AnyMarginalNetwork(eqx.Module):
    """Two networks of a vector of whole numbers, some of them unknown (-1).

    Attributes:
        conditionals: to the logits of every coordinate given the known ones.
        marginals: to the log probability of the known ones, up to its value where none is.
        levels: number of values of every coordinate.
    """

    conditionals: Tower
    marginals: Tower
    levels: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, config: dict[str, Any], key: Key) -> None:
        one, two = jax.random.split(key)
        self.levels = tuple(
            site["levels"] for site in config["sites"] for _ in range(int(np.prod(site["shape"])))
        )
        size, most, width = len(self.levels), max(self.levels), config["width"]
        inputs = size * (most + 1)
        self.conditionals = Tower((inputs, width, size * most), config["layers"], one)
        self.marginals = Tower((inputs, width, 1), config["layers"], two)

    def features(self, z: Int[Array, " d"]) -> Float[Array, " inputs"]:
        """Indicators of the values, and of what is known."""
        values = jax.nn.one_hot(z, max(self.levels))  # zeros where unknown
        return jnp.concatenate([values, (z >= 0)[:, None].astype(values.dtype)], -1).ravel()

    def log_conditionals(self, z: Int[Array, " d"]) -> Float[Array, "d most"]:
        """Log probabilities of every coordinate, given the known ones."""
        most = max(self.levels)
        logits = self.conditionals(self.features(z)).reshape(-1, most)
        possible = np.arange(most) < np.array(self.levels)[:, None]
        return jax.nn.log_softmax(jnp.where(possible, logits, _IMPOSSIBLE))

    def log_marginal(self, z: Int[Array, " d"]) -> Float[Array, ""]:
        """Log probability of the known coordinates."""
        nothing = jnp.full_like(z, UNKNOWN)
        return self.height(z) - self.height(nothing)

    def height(self, z: Int[Array, " d"]) -> Float[Array, ""]:
        """``log_marginal`` up to a constant."""
        return self.marginals(self.features(z))[0]

    def draw(self, key: Key, z: Int[Array, " d"], order: Int[Array, " d"]) -> Int[Array, " d"]:
        """The unknown coordinates, drawn one after the other in this order."""

        def step(z: Array, turn: Any) -> tuple[Array, None]:
            key, k = turn
            value = jax.random.categorical(key, self.log_conditionals(z)[k])
            return z.at[k].set(jnp.where(z[k] >= 0, z[k], value.astype(z.dtype))), None

        return jax.lax.scan(step, z, (jax.random.split(key, len(order)), order))[0]

    def log_steps(
        self, z: Int[Array, " d"], given: Int[Array, " d"], order: Int[Array, " d"]
    ) -> Float[Array, " d"]:
        """Log probabilities of the steps by which ``draw`` comes from ``given`` to z."""
        before = prefixes(z, order)[:-1]
        before = jnp.where(given >= 0, given, before)
        found = jax.vmap(self.log_conditionals)(before)
        steps = found[jnp.arange(len(order)), order, z[order]]
        return jnp.where(given[order] >= 0, 0.0, steps)


def prefixes(z: Int[Array, " d"], order: Int[Array, " d"]) -> Int[Array, "d_plus_one d"]:
    """z with only the first 0, 1, ..., d coordinates of the order known."""
    place = jnp.argsort(order)
    return jnp.where(place < jnp.arange(len(order) + 1)[:, None], z, UNKNOWN)
