"""Sums over completions with the network as proposal: exact, with an error and a Pareto k."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.amortized.discrete.network import UNKNOWN, AnyMarginalNetwork
from probinf.core.estimate import Estimate, log_mean_exp
from probinf.core.population import usable
from probinf.core.program import Key, Program
from probinf.core.psis import pareto_k

_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class ExactMarginal:
    """A marginal of a program by importance sampling, beside what the network says.

    Attributes:
        log_probability: of the known entries, with its standard error.
        log_z: log evidence, with its standard error.
        network: log probability by the network alone.
        pareto_k: the larger shape of the weights of both sums; above .7 their errors cannot be
            trusted.
        ess_share: smaller effective share of the completions of both.
    """

    log_probability: Estimate
    log_z: Estimate
    network: float
    pareto_k: float
    ess_share: float

    @property
    def off(self) -> float:
        """By how many nats the network is too high."""
        return self.network - self.log_probability.value

    def __str__(self) -> str:
        trust = "" if self.pareto_k <= 0.7 else ": not to be trusted"
        return (
            f"log probability {self.log_probability} (network {self.network:.3f}, off by "
            f"{self.off:+.3f}), log evidence {self.log_z}; Pareto k {self.pareto_k:.2f}{trust}, "
            f"effective share {self.ess_share:.0%}"
        )


def exactly(
    network: AnyMarginalNetwork,
    flat: Program,
    low: np.ndarray,
    known: np.ndarray,
    key: Key,
    draws: int,
) -> ExactMarginal:
    """See :meth:`FittedAnyMarginal.exact`; ``known`` is a vector of one point."""
    first, second = jax.random.split(key)
    nothing = np.full_like(known, UNKNOWN)
    every = log_weights(network, flat, low, nothing, first, draws)
    log_z = log_mean_exp(every)
    if (known < 0).all():
        return ExactMarginal(Estimate(0.0, 0.0), log_z, 0.0, pareto_k(every), _share(every))
    if (known >= 0).all():  # one completion: nothing is random
        some = every[:0]
        mass = Estimate(float(log_weights(network, flat, low, known, second, 1)[0]), 0.0)
    else:
        some = log_weights(network, flat, low, known, second, draws)
        mass = log_mean_exp(some)
    found = float(network.log_marginal(jnp.asarray(known)))
    probability = Estimate(mass.value - log_z.value, float(np.hypot(mass.error, log_z.error)))
    k, share = pareto_k(every), _share(every)
    if some.size:
        k, share = max(k, pareto_k(some)), min(share, _share(some))
    return ExactMarginal(probability, log_z, found, k, share)


def log_weights(
    network: AnyMarginalNetwork,
    flat: Program,
    low: np.ndarray,
    known: np.ndarray,
    key: Key,
    draws: int,
) -> np.ndarray:
    """(draws,) log density of completions over that of their proposal; -inf where impossible."""
    z, log_q = completed(network, key, known, draws)
    return np.asarray(_log_density(flat, z + low), float) - np.asarray(log_q, float)


def completed(
    network: AnyMarginalNetwork, key: Key, known: np.ndarray, draws: int
) -> tuple[Int[Array, "draws d"], Float[Array, " draws"]]:
    """Completions in random orders, and their log probabilities."""
    parts = [
        _completed(network, jax.random.split(k, min(_BATCH, draws)), jnp.asarray(known))
        for k in jax.random.split(key, -(-draws // _BATCH))
    ]
    z, log_q = (jnp.concatenate(part)[:draws] for part in zip(*parts, strict=True))
    return z, log_q


@eqx.filter_jit
def _completed(network: AnyMarginalNetwork, keys: Key, known: Array) -> tuple[Array, Array]:
    def one(key: Key) -> tuple[Array, Array]:
        first, second = jax.random.split(key)
        order = jax.random.permutation(first, len(known))
        z = network.draw(second, known, order)
        return z, network.log_steps(z, known, order).sum()

    return jax.vmap(one)(keys)


@eqx.filter_jit
def _log_density(flat: Program, rows: Array) -> Array:
    def one(row: Array) -> Array:
        score = flat.score(row, flat.data)
        log_weight, _ = usable(score)
        return jnp.where(jnp.isneginf(log_weight), -jnp.inf, score.log_base + log_weight)

    return jax.vmap(one)(rows.astype(float))


def _share(log_w: np.ndarray) -> float:
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / np.sum(w**2) / w.size) if np.isfinite(log_w.max()) else 0.0
