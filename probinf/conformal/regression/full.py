"""Full conformal prediction: every point trains and calibrates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.calibration.ranks import lower_rank, order_stat
from probinf.conformal.regression.leave_one_out import Smoother, kernel_smoother, ridge_smoother
from probinf.conformal.sets.grids import GridSet
from probinf.conformal.sets.intervals import Interval, make_interval
from probinf.conformal.sets.reporting import static_alpha, too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.core.rounding import beyond

FULL = ">= 1-alpha marginal, exchangeable data, symmetric learner; <= 1-alpha+1/(n+1) without ties"


def _sweep(points: np.ndarray, count: Callable[[np.ndarray], np.ndarray], need: int) -> Any:
    """Hull of {z : count(z) >= need}, whose pieces end at ``points``; count is closed-set."""
    z = np.unique(points)
    far = abs(z).max() or 1.0
    between = np.concatenate([[z[0] - far], (z[1:] + z[:-1]) / 2, [z[-1] + far]])
    tried = np.sort(np.concatenate([z, between]))
    inside = np.flatnonzero(count(tried) >= need)
    if not inside.size:
        return np.inf, -np.inf
    low = -np.inf if inside[0] == 0 else tried[inside[0]]
    high = np.inf if inside[-1] == tried.size - 1 else tried[inside[-1]]
    return low, high


def _exact(smoother: Smoother, alpha: Level) -> Interval:
    """The set {y : p(y) > alpha} of the absolute residual in the fit to n + 1 points.

    With z = y - mu(x), point i is at least as strange as the test point where
    |own e_i - v_i z| >= |z|: an interval around 0 whenever |v_i| < 1.
    """
    e, v = smoother.fitted_residuals[:, None], (smoother.left @ smoother.right).T
    a = e * smoother.own
    n = len(v)
    ranks = np.asarray(lower_rank(n, as_levels(alpha)))
    regular = abs(v) < 1
    safe = np.where(regular, v, 0.0)
    ends = a / (1 + safe), -a / (1 - safe)
    low, high = np.minimum(*ends).T, np.maximum(*ends).T
    # f-th smallest lower end, f-th largest upper end; f = 0 excludes nothing
    lower = np.where(ranks > 0, order_stat(low, np.maximum(ranks, 1)), -np.inf)
    upper = np.where(ranks > 0, -order_stat(-high, np.maximum(ranks, 1)), np.inf)
    for j in np.flatnonzero(~regular.all(axis=0)):
        with np.errstate(divide="ignore", invalid="ignore"):
            roots = np.concatenate([a[:, j] / (1 + v[:, j]), -a[:, j] / (1 - v[:, j])])
        roots = roots[np.isfinite(roots)]

        def count(z: np.ndarray, j: Any = j) -> np.ndarray:
            gap = abs(a[:, j, None] - v[:, j, None] * z) - abs(z)
            return np.asarray((gap >= -1e-2 * smoother.error - 1e-12 * abs(z)).sum(axis=0))

        for i, f in enumerate(ranks):
            if f > 0:
                lower[j, i], upper[j, i] = _sweep(roots, count, int(f))
    mean = smoother.mean[:, None]
    far = "these test points lie so far out that the fit would follow any outcome there."
    warn_infinite(upper, too_few(n, alpha) if (ranks == 0).any() else far)
    lower = beyond(mean, lower - smoother.error, -1)
    upper = beyond(mean, upper + smoother.error, 1)
    return make_interval(lower, upper, alpha, FULL)


def full_ridge(
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    *,
    ridge: Number = 1.0,
    intercept: bool = True,
    alpha: Level = 0.1,
) -> Interval:
    """Exact full conformal intervals of ridge regression, score ``|y - mu|``, no grid, no refits.

    The set is an interval unless a training point has more leverage on the test point than the
    test point itself; then its convex hull is returned.

    Arguments and errors as in :func:`jackknife_plus_ridge`.

    Source: Nouretdinov, Melluish & Vovk (2001); Burnaev & Vovk (2014).
    """
    return _exact(ridge_smoother(X, y, X_test, ridge=ridge, intercept=intercept), alpha)


def full_kernel(
    kernel: ArrayLike,
    y: ArrayLike,
    kernel_test: ArrayLike,
    kernel_diagonal: ArrayLike,
    *,
    noise: Number,
    alpha: Level = 0.1,
) -> Interval:
    """Exact full conformal intervals of kernel ridge or a Gaussian process's mean.

    Arguments as in :func:`jackknife_plus_kernel`.

    Source: Burnaev & Nazarov (2016).
    """
    return _exact(kernel_smoother(kernel, y, kernel_test, kernel_diagonal, noise=noise), alpha)


@partial(jax.jit, static_argnames="scores")
def _grid_pvalues(scores: Any, X: Any, y: Any, X_test: Any, grid: Any) -> jax.Array:
    def one(x: Any, candidate: Any) -> jax.Array:
        s = scores(jnp.concatenate([X, x[None]]), jnp.append(y, candidate))
        return (s >= s[-1]).mean()

    def row(pair: Any) -> jax.Array:
        return jax.vmap(one, (None, 0))(*pair)

    return jax.lax.map(row, (X_test, grid))


def full_grid(
    scores: Callable[[Any, Any], Any],
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    *,
    grid: ArrayLike,
    alpha: Level = 0.1,
) -> GridSet:
    """Full conformal prediction of any learner by refitting at every candidate outcome.

    Args:
        scores: JAX function (X (n+1, d), y (n+1,)) -> (n+1,) scores; must treat the n + 1 points
            alike. A module-level function compiles once.
        X: (n, d) covariates.
        y: (n,) outcomes.
        X_test: (m, d).
        grid: (g,) or (m, g) candidate outcomes.
        alpha: miscoverage, scalar or (A,).

    Source: Vovk, Gammerman & Shafer (2005), section 2.2.
    """
    x, t = jnp.asarray(as_float("X", X)), jnp.asarray(as_float("X_test", X_test))
    target = jnp.asarray(as_float("y", y, ndim=1, size=x.shape[0]))
    g = np.asarray(as_float("grid", grid))
    g = np.sort(np.broadcast_to(g, (t.shape[0], g.shape[-1])), axis=1)
    p = np.asarray(_grid_pvalues(scores, x, target, t, jnp.asarray(g)), float)
    return grid_set(g, p, alpha, FULL, len(target))


def grid_set(grid: np.ndarray, p: np.ndarray, alpha: Level, promise: str, n: int) -> GridSet:
    """Candidates whose p-value (a count over n + 1) exceeds alpha, compared as integers."""
    need = np.asarray(lower_rank(n, as_levels(alpha)))
    mask = np.round(p * (n + 1))[:, :, None] > need
    return GridSet(
        grid, mask[:, :, 0] if is_single(alpha) else mask, p, static_alpha(alpha), promise
    )
