"""Standard normal vectors inside compiled loops, and the momentum made of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.program import Key
from probinf.kernels import blackjax
from probinf.kernels.base import Params
from probinf.kernels.metric import LowRank

_UNROLLED = range(9, 16)


def normal(key: Key, like: Float[Array, " d"]) -> Float[Array, " d"]:
    """``jax.random.normal`` of the shape and type of a vector, number for number.

    XLA's CPU backend unrolls the hash behind 9 to 15 numbers, which costs more than a second of
    compilation each time; behind 16 it loops. So 16 are drawn and the rest dropped.
    """
    d = like.shape[0]
    return jax.random.normal(key, (16 if d in _UNROLLED else d,), like.dtype)[:d]


def metric(params: Params) -> Any:
    """The covariance as BlackJAX's metric, momenta drawn by :func:`normal`."""
    metrics, covariance = blackjax.metrics(), params.covariance
    if isinstance(covariance, LowRank):
        covariance = metrics.LowRankInverseMassMatrix(*covariance)
    plain = metrics.default_metric(covariance)

    def momentum(key: Key, position: Any) -> Any:
        return plain.scale(position, normal(key, position), inv=False, trans=False)

    def kinetic(momentum: Any, position: Any = None) -> Any:
        # BlackJAX multiplies p with M^-1 p; where a trajectory overflows, the product may come out
        # as minus infinity, an energy so low that the chain would go there and never return
        energy = plain.kinetic_energy(momentum, position)
        return jnp.where(energy >= 0, energy, jnp.inf)

    return plain._replace(sample_momentum=momentum, kinetic_energy=kinetic)
