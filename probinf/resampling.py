"""Resampling: ancestor indices whose expected counts are N times the weights, exactly."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.program import Key

Resampler = Callable[[Key, Float[Array, " n"]], Int[Array, " n"]]
"""``(key, weights) -> ancestors``: N increasing indices with ``E[count_i] = N * weights_i``."""


def inverse_cdf(weights: Float[Array, " n"], points: Float[Array, " m"]) -> Int[Array, " m"]:
    """Index whose slice of the cumulative weights contains each point of [0, 1)."""
    cumulative = jnp.cumsum(weights)
    index = jnp.searchsorted(cumulative / cumulative[-1], points, side="right")
    # a point rounded up to 1 must not fall on a trailing particle of weight zero
    last = jnp.max(jnp.where(weights > 0, jnp.arange(weights.size), 0))
    return jnp.minimum(index, last)


def strata_points(u: Float[Array, "..."], n: int) -> Float[Array, " n"]:
    """One point in each of N equal strata of [0, 1): ``u`` is shared, or one per stratum."""
    return (jnp.arange(n) + u) / n


def systematic(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Systematic resampling: one uniform for all; counts are N w rounded down or up.

    Args:
        key: random key.
        weights: (N,), non-negative, summing to one.

    Source: Kitagawa (1996).
    """
    n = weights.size
    return inverse_cdf(weights, strata_points(jax.random.uniform(key, (), weights.dtype), n))


def stratified(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Stratified resampling: one uniform for each of N equal strata.

    Source: Kitagawa (1996).
    """
    n = weights.size
    u = jax.random.uniform(key, (n,), weights.dtype)
    return inverse_cdf(weights, strata_points(u, n))


def multinomial(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Multinomial resampling: N independent draws.

    Source: Gordon, Salmond & Smith (1993). The sorted uniforms come from normalised
    exponential spacings, so nothing is sorted.
    """
    n = weights.size
    spacings = jnp.cumsum(jax.random.exponential(key, (n + 1,), weights.dtype))
    return inverse_cdf(weights, spacings[:-1] / spacings[-1])


def residual(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Residual resampling: floor(N w) copies each, the rest multinomial on the remainder.

    Source: Liu & Chen (1998).
    """
    n = weights.size
    copies, rest = residual_parts(weights)
    certain = jnp.searchsorted(jnp.cumsum(copies), jnp.arange(n) + 0.5)
    drawn = inverse_cdf(rest, jax.random.uniform(key, (n,), weights.dtype))
    ancestors = jnp.where(jnp.arange(n) < copies.sum(), jnp.minimum(certain, n - 1), drawn)
    return in_order(ancestors)


def in_order(ancestors: Int[Array, " n"]) -> Int[Array, " n"]:
    """The same ancestors in increasing order, so that a family stays in one place."""
    counts = jnp.bincount(ancestors, length=ancestors.size)
    return jnp.searchsorted(jnp.cumsum(counts), jnp.arange(ancestors.size), side="right")


def residual_parts(
    weights: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Copies that residual resampling makes for certain, and the weights of the random rest."""
    scaled = weights.size * weights
    # a product that should be whole must not lose a copy to rounding
    copies = jnp.floor(scaled * (1 + 4 * jnp.finfo(weights.dtype).eps))
    remainder = jnp.maximum(scaled - copies, 0.0)
    # with nothing left over the random part is not used; keep its weights valid all the same
    rest = jnp.where(remainder.sum() > 0, remainder, weights)
    return copies, rest / rest.sum()
