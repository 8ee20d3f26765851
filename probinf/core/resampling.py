"""Resampling: ancestor indices whose expected counts are N times the weights, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key

Resampler = Callable[[Key, Float[Array, " n"]], Int[Array, " n"]]
"""``(key, weights) -> ancestors``: N increasing indices with ``E[count_i] = N * weights_i``."""


def inverse_cdf(weights: Float[Array, " n"], points: Float[Array, " m"]) -> Int[Array, " m"]:
    """Index whose slice of the cumulative weights contains each point of [0, 1)."""
    cumulative = jnp.cumsum(weights)
    index = jnp.searchsorted(cumulative / cumulative[-1], points, side="right")
    index = jnp.minimum(index, weights.size - 1)
    # rounding of the sums must not lead to a particle of weight zero
    return _possible(weights > 0, index)


def strata_points(u: Float[Array, "..."], n: int) -> Float[Array, " n"]:
    """One point in each of N equal strata of [0, 1): ``u`` is shared, or one per stratum."""
    return (jnp.arange(n) + u) / n


_BLOCK = 32
_WHOLE = 2**24  # from here on single precision does not count by ones


def running_sum(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """``cumsum`` by products with small triangles of ones, a third of its time on CPUs."""
    n = values.size
    if n <= _BLOCK:
        ones = jnp.tril(jnp.ones((n, n), values.dtype))
        return jnp.matmul(ones, values, precision="highest")
    rows = -(-n // _BLOCK)
    table = jnp.pad(values, (0, rows * _BLOCK - n)).reshape(rows, _BLOCK)
    ones = jnp.triu(jnp.ones((_BLOCK, _BLOCK), values.dtype))
    inner = jnp.matmul(table, ones, precision="highest")
    before = jnp.pad(running_sum(inner[:, -1])[:-1], (1, 0))
    return (inner + before[:, None]).ravel()[:n]


def in_strata(weights: Float[Array, " n"], u: Float[Array, "..."]) -> Int[Array, " n"]:
    """Ancestors of one point in each of N equal strata of [0, 1), without a search.

    Args:
        weights: (N,), non-negative.
        u: place of the point in its stratum, shared or one per stratum.
    """
    n = weights.size
    ends = running_sum(weights)
    ends = n * (ends / ends[-1])
    stratum = jnp.minimum(jnp.floor(ends), n - 1).astype(int)
    u = jnp.broadcast_to(u, (n,))
    before = stratum + (u[stratum] < ends - stratum)  # how many points lie before each end
    before = before.at[-1].set(n)
    counts = jnp.zeros((n + 1,), weights.dtype if n < _WHOLE else int).at[before].add(1)
    ancestors = running_sum(counts[:-1]) if n < _WHOLE else jnp.cumsum(counts[:-1])
    ancestors = jnp.minimum(jnp.round(ancestors).astype(int), n - 1)
    # rounding of the sums must not lead to a particle of weight zero
    possible = weights > 0
    # named branches without closures, so that called from the host they compile once
    return jax.lax.cond(possible[ancestors].all(), _as_they_are, _possible, possible, ancestors)


def _as_they_are(possible: Bool[Array, " n"], index: Int[Array, " m"]) -> Int[Array, " m"]:
    return index


def _possible(possible: Bool[Array, " n"], index: Int[Array, " m"]) -> Int[Array, " m"]:
    """The last possible particle up to each index; the first one where there is none."""
    before = jax.lax.cummax(jnp.where(possible, jnp.arange(possible.size), -1))[index]
    return jnp.where(before >= 0, before, jnp.argmax(possible))


def systematic(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Systematic resampling: one uniform for all; counts are N w rounded down or up.

    Args:
        key: random key.
        weights: (N,), non-negative, summing to one.

    Source: Kitagawa (1996).
    """
    return in_strata(weights, jax.random.uniform(key, (), weights.dtype))


def stratified(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Stratified resampling: one uniform for each of N equal strata.

    Source: Kitagawa (1996).
    """
    return in_strata(weights, jax.random.uniform(key, weights.shape, weights.dtype))


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


def killing(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Killing: a particle survives with probability w / max w, else a draw takes its place.

    Particles of nearly equal weight nearly all survive, and each in its place.

    Source: Del Moral (2004), section 2.5.2.
    """
    n = weights.size
    survive, replace = jax.random.split(key)
    alive = jax.random.uniform(survive, (n,), weights.dtype) * weights.max() < weights
    drawn = inverse_cdf(weights, jax.random.uniform(replace, (n,), weights.dtype))
    return in_order(jnp.where(alive, jnp.arange(n), drawn))


def ssp(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Srinivasan sampling process: counts are N w rounded down or up, negatively associated.

    Fractions of copies are settled in pairs: one of the two becomes whole, the other keeps
    their sum. Unlike systematic resampling it converges whatever the order of the particles.

    Source: Gerber, Chopin & Whiteley (2019), algorithm 2.
    """
    n = weights.size
    copies, fractions = whole_and_fraction(weights)

    def settle(carry: Any, item: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        index, held = carry  # the fraction that is still open
        other, fraction, u = item
        total = held + fraction
        low = total < 1
        # below one, one of the two loses its copy; else one of them gains a whole one
        share = jnp.where(low, held / jnp.where(total > 0, total, 1.0), 1 - fraction)
        room = jnp.where(low, 1.0, jnp.maximum(2 - total, jnp.finfo(weights.dtype).tiny))
        keeps_held = jnp.where(low, u < share, u * room < share)
        rest = jnp.where(low, total, total - 1)
        # low: the survivor stays open with the sum; else the loser of the draw does
        stays = jnp.where(keeps_held == low, index, other)
        gained = jnp.where(low, -1, jnp.where(keeps_held, index, other))
        return (stays, rest), gained

    u = jax.random.uniform(key, (n - 1,), weights.dtype)
    first = (jnp.zeros((), int), fractions[0])
    items = (jnp.arange(1, n), fractions[1:], u)
    (last, rest), gained = jax.lax.scan(settle, first, items)
    counts = copies.astype(int).at[gained].add(jnp.where(gained >= 0, 1, 0))
    # rounding may leave the last fraction a little off a whole copy
    counts = counts.at[last].add(jnp.where(rest > 0.5, 1, 0))
    return jnp.searchsorted(jnp.cumsum(counts), jnp.arange(n), side="right")


def thinned(
    key: Key, weights: Float[Array, " n"], resampler: Resampler, every: int
) -> Int[Array, " m"]:
    """N / ``every`` ancestors: every so-many-th of ``resampler``'s N, from a random one on.

    Their expected counts are N / ``every`` times the weights, whatever the resampler.
    """
    first, second = jax.random.split(key)
    offset = jax.random.randint(second, (), 0, every)
    return resampler(first, weights)[jnp.arange(0, weights.size, every) + offset]


def in_order(ancestors: Int[Array, " n"]) -> Int[Array, " n"]:
    """The same ancestors in increasing order, so that a family stays in one place."""
    counts = jnp.bincount(ancestors, length=ancestors.size)
    return jnp.searchsorted(jnp.cumsum(counts), jnp.arange(ancestors.size), side="right")


def whole_and_fraction(
    weights: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """N w, split into whole copies and fractions of one."""
    scaled = weights.size * weights
    # a product that should be whole must not lose a copy to rounding
    copies = jnp.floor(scaled * (1 + 4 * jnp.finfo(weights.dtype).eps))
    return copies, jnp.maximum(scaled - copies, 0.0)


def residual_parts(
    weights: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Copies that residual resampling makes for certain, and the weights of the random rest."""
    copies, remainder = whole_and_fraction(weights)
    # with nothing left over the random part is not used; keep its weights valid all the same
    rest = jnp.where(remainder.sum() > 0, remainder, weights)
    return copies, rest / rest.sum()
