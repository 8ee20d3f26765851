"""Exact ranks and the order statistics they point at."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.calibration.bisection import bisect_bits
from probinf.core.inputs.arrays import ArrayLike, Number, as_float, as_weights, namespace
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.errors import ArrayError

BLOCK = 400_000  # numbers held at once: n x m need not fit into memory, a block into the cache
_GUARD = 1e-9  # (1 - 0.7) * 10 evaluates to 3.0000000000000004, whose ceiling is not 3


def _upper(n: int, alpha: Number | Fraction) -> int:
    if isinstance(alpha, Fraction):
        return math.ceil((1 - alpha) * (n + 1))
    return math.ceil((1 - alpha) * (n + 1) - _GUARD)


def _lower(n: int, alpha: Number | Fraction) -> int:
    if isinstance(alpha, Fraction):
        return math.floor(alpha * (n + 1))
    return math.floor(alpha * (n + 1) + _GUARD)


def _ranks(rule: Any, n: Any, alpha: Level) -> Any:
    sizes = np.asarray(n)
    if not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
        raise ArrayError(f"n must be a count of calibration points, got {n!r}.")
    levels = as_levels(alpha)
    table = np.array([[rule(int(m), a) for a in levels] for m in sizes.ravel()], int)
    table = table.reshape(*sizes.shape, len(levels))
    table = table[..., 0] if is_single(alpha) else table
    return int(table) if table.ndim == 0 else table


def upper_rank(n: ArrayLike, alpha: Level) -> Any:
    """Rank k = ceil((1 - alpha)(n + 1)) of the split-conformal threshold; n + 1 means +inf.

    Args:
        n: number of calibration points, an integer or an array of them.
        alpha: miscoverage, scalar or several; a ``Fraction`` is exact, a float is guarded against
            its own rounding.

    Returns:
        An int, or an integer array of shape ``n.shape + alpha.shape``.

    Raises:
        LevelError: alpha outside (0, 1).
        ArrayError: n is not a count.

    Source: Vovk, Gammerman & Shafer (2005); Lei et al. (2018), theorem 2.2.
    """
    return _ranks(_upper, n, alpha)


def lower_rank(n: ArrayLike, alpha: Level) -> Any:
    """Rank floor(alpha (n + 1)) of a lower threshold; 0 means -inf.

    Arguments and errors as in :func:`upper_rank`.
    """
    return _ranks(_lower, n, alpha)


def order_stat(scores: ArrayLike, k: ArrayLike, *, axis: int = -1) -> Any:
    """The k-th smallest score (k = 1 is the least), -inf below rank 1 and +inf above rank n.

    NumPy input is partitioned on the host; JAX arrays use bisection on the bits, which works
    under ``jit`` and ``vmap`` and with a traced k.

    Args:
        scores: floats without NaN. Inside ``jit``, where NaN cannot be refused, it gives NaN.
        k: integer rank or ranks.
        axis: the axis that is ranked.

    Returns:
        ``scores.shape`` without ``axis``, followed by ``k.shape``.

    Raises:
        ArrayError: NaN scores, or ranks that are not integers.
    """
    values: Any = as_float("scores", scores)
    if values.ndim == 0:
        raise ArrayError("scores must have at least one axis, got a single number.")
    xp = namespace(values, k)
    ranks = xp.asarray(k)
    if not xp.issubdtype(ranks.dtype, np.integer):
        raise ArrayError(f"k must be an integer rank, got {k!r}; see upper_rank.")
    values = xp.moveaxis(xp.asarray(values), axis, -1)
    if xp is jnp:
        found = _bisect_ranks(values, ranks.ravel())
        return found.reshape(values.shape[:-1] + ranks.shape)
    host = _partition(values, ranks.ravel()).reshape(values.shape[:-1] + ranks.shape)
    return float(host) if host.ndim == 0 else host


@jax.jit
def _bisect_ranks(values: jax.Array, ranks: jax.Array) -> jax.Array:
    return jax.vmap(lambda r: bisect_bits(values, None, r), out_axes=-1)(ranks)


def _partition(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    n = values.shape[-1]
    inside = np.unique(ranks[(ranks >= 1) & (ranks <= n)])
    if inside.size > 8:
        values = np.sort(values, axis=-1)
    elif inside.size:
        values = np.partition(values, inside - 1, axis=-1)
    if n == 0:
        found = np.full((*values.shape[:-1], ranks.size), np.inf)
    else:
        found = values[..., np.clip(ranks, 1, n) - 1] + 0.0
    found = np.where(ranks > n, np.inf, found)
    return np.where(ranks < 1, -np.inf, found)


def weighted_quantile(
    scores: ArrayLike,
    weights: ArrayLike,
    alpha: Level,
    *,
    test_weights: ArrayLike = 1.0,
) -> Any:
    """Smallest t with ``sum(w_i 1{S_i <= t}) >= (1 - alpha)(sum(w) + w_test)``, else +inf.

    The threshold of split conformal under covariate shift: the test point's own weight sits at
    +inf, so a test point in a region that calibration hardly visits gets an infinite interval.

    Args:
        scores: (n,) calibration scores.
        weights: (n,) likelihood ratios at the calibration points.
        alpha: miscoverage, scalar or (A,).
        test_weights: scalar or (m,): the ratio at each test point, same scale as ``weights``.

    Returns:
        () or (m,), followed by alpha's axis.

    Raises:
        ArrayError: NaN scores; negative or infinite weights; sizes that differ.

    Source: Tibshirani, Barber, Candès & Ramdas (2019), lemma 3.
    """
    same_index(scores=scores, weights=weights)
    values = as_float("scores", scores, ndim=1)
    mass = as_weights("weights", weights, size=values.shape[0])
    extra = as_weights("test_weights", test_weights)
    levels = np.array([float(a) for a in as_levels(alpha)])
    if namespace(values, mass, extra) is jnp:
        target: Any = (1 - levels - 1e-7) * (mass.sum() + jnp.asarray(extra)[..., None])
        target = jnp.where(target > 0, target, jnp.inf)  # no mass, no statement
        found: Any = bisect_bits(jnp.asarray(values), jnp.asarray(mass), target)
    else:
        order = np.argsort(values, kind="stable")
        cumulative = np.cumsum(mass[order], dtype=float)
        total = cumulative[-1] if cumulative.size else 0.0
        target = (1 - levels - 1e-12) * (total + extra[..., None])
        target = np.where(total + extra[..., None] > 0, target, np.inf)  # no mass, no statement
        padded = np.append(values[order] + 0.0, np.inf)
        found = padded[np.searchsorted(cumulative, target)]
    found = found[..., 0] if is_single(alpha) else found
    return float(found) if isinstance(found, np.ndarray | np.number) and found.ndim == 0 else found
