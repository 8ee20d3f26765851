"""Jackknife+, CV+, minmax and jackknife+-after-bootstrap: no data set aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import BLOCK, order_stat, upper_rank
from probinf.conformal.regression.merge import merged_order_stat, tie_slack
from probinf.conformal.sets.intervals import Interval, make_interval
from probinf.conformal.sets.reporting import too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.levels import Level, as_levels
from probinf.core.rounding import beyond, outward
from probinf.errors import ArrayError

PLUS = ">= 1-2alpha, about 1-alpha for stable learners (jackknife+), exchangeable data"
MINMAX = ">= 1-alpha (minmax), exchangeable data"


def cv_promise(n: int, folds: int) -> str:
    """The CV+ bound with its numbers."""
    gap = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
    return f">= 1-2alpha-{gap:.3g}, about 1-alpha for stable learners (CV+), exchangeable data"


def plus_intervals(
    predictions: Callable[[slice], np.ndarray],
    residuals: np.ndarray,
    tests: int,
    alpha: Level,
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (m, A) of jackknife+ intervals; ``predictions(block)`` gives (rows, n) on demand."""
    n = residuals.size
    ranks = upper_rank(n, as_levels(alpha))
    lower = np.empty((tests, ranks.size))
    upper = np.empty((tests, ranks.size))
    rows = max(1, BLOCK // max(n, 1))
    for start in range(0, tests, rows):
        block = slice(start, min(start + rows, tests))
        mu = predictions(block)
        size = abs(mu).max(axis=1, initial=0.0)
        upper[block] = _ranked(mu + residuals, ranks)
        lower[block] = -_ranked(residuals - mu, ranks)
        lower[block] = _outward(lower[block], size, -1)
        upper[block] = _outward(upper[block], size, 1)
    return lower, upper


def _outward(ends: np.ndarray, size: np.ndarray, side: int) -> np.ndarray:
    """Ends (rows, A), each a prediction of at most this size (rows,) and a residual."""
    return np.asarray(outward(ends, abs(ends) + size[:, None], side))


def _ranked(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Order statistics (rows, A) of the rows of an array that may be overwritten."""
    n = values.shape[1]
    inside = np.unique(ranks[ranks <= n])
    if inside.size:
        values.partition(inside - 1, axis=1)
    return np.where(ranks <= n, values[:, np.minimum(ranks, n) - 1], np.inf)


def plus_interval(lower: Any, upper: Any, alpha: Level, promise: str, n: int) -> Interval:
    """The interval of n residuals; warns where they are too few."""
    warn_infinite(upper, too_few(n, alpha))
    return make_interval(lower, upper, alpha, promise)


def _residuals(values: ArrayLike, size: int | None = None) -> np.ndarray:
    r = np.asarray(as_float("residuals", values, ndim=1, size=size), float)
    if r.size == 0:
        raise ArrayError("residuals is empty: there are no points to calibrate with.")
    if (r < 0).any():
        raise ArrayError("residuals must be absolute, |y_i - mu_{-i}(x_i)|; some are negative.")
    return r


def jackknife_plus(
    predictions_test: ArrayLike, residuals: ArrayLike, *, alpha: Level = 0.1
) -> Interval:
    """Jackknife+ intervals from leave-one-out predictions.

    Args:
        predictions_test: (m, n); column i is predicted by the model fitted without point i.
        residuals: (n,) absolute leave-one-out residuals ``|y_i - mu_{-i}(x_i)|``.
        alpha: miscoverage, scalar or (A,).

    Raises:
        ArrayError: NaN, negative residuals, shapes that differ.

    Source: Barber, Candès, Ramdas & Tibshirani (2021), equation 4 and theorem 1.
    """
    mu = np.asarray(as_float("predictions_test", predictions_test, ndim=2), float)
    r = _residuals(residuals, mu.shape[1])
    lower, upper = plus_intervals(lambda block: mu[block], r, mu.shape[0], alpha)
    return plus_interval(lower, upper, alpha, PLUS, r.size)


def jackknife_minmax(
    predictions_test: ArrayLike, residuals: ArrayLike, *, alpha: Level = 0.1
) -> Interval:
    """Wider intervals around all leave-one-out predictions, with the full guarantee.

    Also CV-minmax: pass the fold models' predictions (m, K).

    Args:
        predictions_test: (m, n) or (m, K).
        residuals: (n,) absolute leave-one-out residuals.
        alpha: miscoverage, scalar or (A,).

    Source: Barber et al. (2021), equation 11 and theorem 3.
    """
    mu = np.asarray(as_float("predictions_test", predictions_test, ndim=2), float)
    r = _residuals(residuals)
    q = order_stat(r, upper_rank(r.size, as_levels(alpha)))
    lower, upper = beyond(mu.min(axis=1)[:, None], -q, -1), beyond(mu.max(axis=1)[:, None], q, 1)
    return plus_interval(lower, upper, alpha, MINMAX, r.size)


def as_folds(folds: ArrayLike, models: int, size: int) -> np.ndarray:
    """The fold of each point, (n,) in 0..models-1."""
    f = np.asarray(folds)
    if f.shape != (size,) or not np.issubdtype(f.dtype, np.integer):
        raise ArrayError(f"folds must be {size} integers, got {f.dtype} of shape {f.shape}.")
    if f.min() < 0 or f.max() >= models:
        raise ArrayError(f"folds must lie in 0..{models - 1} (one model each), got {f.max()}.")
    return f


def cv_plus(
    fold_predictions: ArrayLike, residuals: ArrayLike, folds: ArrayLike, *, alpha: Level = 0.1
) -> Interval:
    """CV+ intervals, O(K log n) per test point instead of O(n).

    Args:
        fold_predictions: (m, K) predictions of the models fitted without each fold.
        residuals: (n,) absolute residuals of each point under the model of its own fold.
        folds: (n,) fold of each point, 0..K-1.
        alpha: miscoverage, scalar or (A,).

    Raises:
        ArrayError: NaN, negative residuals, folds outside 0..K-1.

    Source: Barber et al. (2021), section 3 and theorem 4.
    """
    mu = np.asarray(as_float("fold_predictions", fold_predictions, ndim=2), float)
    r = _residuals(residuals)
    f = as_folds(folds, mu.shape[1], r.size)
    parts = [np.sort(r[f == k]) for k in range(mu.shape[1])]
    ends = []
    for k in upper_rank(r.size, as_levels(alpha)):
        ends.append((-merged_order_stat(-mu, parts, int(k)), merged_order_stat(mu, parts, int(k))))
    lower, upper = (np.stack(side, axis=1) for side in zip(*ends, strict=True))
    size = tie_slack(mu, r) / np.finfo(float).eps
    lower, upper = _outward(lower, size, -1), _outward(upper, size, 1)
    return plus_interval(lower, upper, alpha, cv_promise(r.size, mu.shape[1]), r.size)


def jackknife_plus_bootstrap(
    bag_predictions: ArrayLike,
    in_bag: ArrayLike,
    bag_predictions_test: ArrayLike,
    y: ArrayLike,
    *,
    alpha: Level = 0.1,
) -> Interval:
    """Jackknife+-after-bootstrap with mean aggregation: leave-one-out models from bags.

    The bound needs a random number of bags, Binomial(B, (1 - 1/(n+1))^n) of them; with a fixed
    number it holds up to a small term. A point that is in every bag gets an infinite residual; it
    is not dropped.

    Args:
        bag_predictions: (B, n) predictions of each bag's model at the training points.
        in_bag: (B, n) how often, or whether, each point was drawn into each bag.
        bag_predictions_test: (B, m).
        y: (n,) outcomes.
        alpha: miscoverage, scalar or (A,).

    Source: Kim, Xu & Barber (2020), algorithm 2 and theorem 1.
    """
    p = np.asarray(as_float("bag_predictions", bag_predictions, ndim=2), float)
    t = np.asarray(
        as_float("bag_predictions_test", bag_predictions_test, ndim=2, size=len(p)), float
    )
    outcome = np.asarray(as_float("y", y, ndim=1, size=p.shape[1]), float)
    out = (np.asarray(in_bag) == 0).astype(float)
    if out.shape != p.shape:
        raise ArrayError(f"in_bag must have shape {p.shape}, got {out.shape}.")
    count = out.sum(axis=0)
    share = out / np.where(count > 0, count, 1)
    residuals = np.where(count > 0, abs(outcome - (share * p).sum(axis=0)), np.inf)
    lower, upper = plus_intervals(lambda b: t[:, b].T @ share, residuals, t.shape[1], alpha)
    reason = f"{int((count == 0).sum())} points are in every bag; use more bags. Or: "
    warn_infinite(upper, reason + too_few(outcome.size, alpha))
    promise = PLUS.replace("(jackknife+)", "(jackknife+-after-bootstrap, random number of bags)")
    return make_interval(lower, upper, alpha, promise)
