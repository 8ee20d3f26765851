"""SPCI: intervals for time series whose errors can be foreseen from the errors before them."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.forests import LeafWeights, grow
from probinf.conformal.online.forecasts import forecasts
from probinf.conformal.sets.intervals import Interval
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least, inside
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.core.rounding import beyond
from probinf.errors import CalibrationError


def shortest(values: np.ndarray, weights: np.ndarray, level: float) -> tuple[float, float]:
    """The shortest interval between two of the values that spans enough of the weighted gaps.

    ``n`` equal weights leave ``n + 1`` gaps in which the next value falls alike; unequal ones
    count as ``1 / sum(w^2)`` values, and their own gap has the weight of one such.
    """
    if level <= 0:
        return -np.inf, np.inf
    if level >= 1:
        return np.inf, -np.inf
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    ordered, share = values[order], weights[order] / weights.sum()
    total = np.cumsum(share)
    need = (1 - level) * (1 + (share**2).sum())
    last = np.searchsorted(total, total + need - 1e-9)
    inside = last < len(ordered)
    if not inside.any():
        return -np.inf, np.inf
    widths = ordered[last[inside]] - ordered[: len(inside)][inside]
    best = int(np.argmin(widths))
    first = int(np.flatnonzero(inside)[best])
    return float(ordered[first]), float(ordered[last[first]])


def lagged(series: np.ndarray, lags: int) -> np.ndarray:
    """(T - lags + 1, lags) the last ``lags`` values before each step, the next one included."""
    return np.lib.stride_tricks.sliding_window_view(series, lags)


def residual_forest(
    window: np.ndarray, lags: int, trees: int, leaf: int, seed: int
) -> tuple[LeafWeights, np.ndarray]:
    """A forest of each residual of the window on those before it, and the residuals it learned."""
    return grow(lagged(window[:-1], lags), window[lags:], trees=trees, leaf=leaf, seed=seed), (
        window[lags:]
    )


def check_lags(size: int, lags: int) -> None:
    """Refuse windows that hold too few residuals to learn from.

    Raises:
        CalibrationError: fewer than 10 residuals have all their lags.
        MethodError: lags is not a positive whole number.
    """
    at_least(1, lags=lags)
    if size - lags < 10:
        raise CalibrationError(
            f"{size} residuals with lags={lags} leave {max(size - lags, 0)} to learn from, and 10 "
            "are the least; give a longer training period or fewer lags."
        )


def spci(
    residuals: ArrayLike,
    predictions: ArrayLike,
    y: ArrayLike,
    *,
    alpha: Number = 0.1,
    lags: int = 10,
    trees: int = 30,
    leaf: int = 10,
    refit: int = 10,
    rate: Number = 0.0,
    key: int | Key = 0,
) -> Interval:
    """Shortest intervals of the next residual as a forest foresees it from the last ones.

    Where errors follow one another (a level that is missed now is missed next week, too), the
    interval moves and narrows with them, which EnbPI's does not. A forest with one leaf is EnbPI.
    With a positive ``rate`` the level follows the errors as in ACI, and the share of misses is
    bounded on any sequence, too.

    Args:
        residuals: (w,) or (S, w) signed out-of-sample residuals of the training period, in order
            of time; the forest learns from the last w.
        predictions: (T,) or (S, T) predictions, one step ahead.
        y: like ``predictions``; each outcome becomes known after its interval is made.
        alpha: miscoverage.
        lags: residuals that foresee the next one.
        trees: size of the forest.
        leaf: least residuals in a leaf; many make intervals calm, few make them follow.
        refit: steps after which the forest is grown anew; the last residuals count at every step.
        rate: step size of the level, 0 for a fixed one.
        key: random key or seed of the forests.

    Returns:
        Intervals (T,) or (S, T).

    Raises:
        ArrayError: NaN or shapes that differ.
        CalibrationError: fewer than 10 residuals that have all their lags.
        MissingPackageError: scikit-learn is not installed.

    Source: Xu & Xie (2023), algorithm 1, with the gap of the unseen residual counted;
    Gibbs & Candès (2021) for ``rate``.
    """
    before, mu, now = forecasts(residuals, predictions, y)
    level = fraction("alpha", alpha)
    at_least(1, refit=refit)
    inside(0, np.inf, closed=True, rate=rate)
    check_lags(before.shape[1], lags)
    seeds = as_generator(key)
    options: dict[str, Any] = {"lags": lags, "trees": trees, "leaf": leaf, "refit": refit}
    ends = np.stack(
        [
            _follow(first, later, level, seeds, rate=float(rate), **options)
            for first, later in zip(before, now, strict=True)
        ]
    )
    low, high = (v.reshape(mu.shape) for v in np.moveaxis(ends, 2, 0))
    infinite = np.isinf(low) & (rate == 0)
    warn_infinite(
        np.where(infinite, np.inf, 0.0),
        f"the forest's {before.shape[1] - lags} residuals cannot support both ends at alpha = "
        f"{level:g}; a larger leaf or a longer training period would.",
    )
    promise = "about 1-alpha where a forest foresees the errors' distribution (SPCI)"
    if rate > 0 and mu.shape[-1]:
        bound = (max(level, 1 - level) + float(rate)) / (float(rate) * mu.shape[-1])
        promise += f"; |mean error - alpha| <= {bound:.3g} on any sequence"
    return Interval(beyond(mu, low, -1), beyond(mu, high, 1), level, promise)


def _follow(
    first: np.ndarray,
    now: np.ndarray,
    alpha: float,
    seeds: np.random.Generator,
    *,
    lags: int,
    trees: int,
    leaf: int,
    refit: int,
    rate: float,
) -> np.ndarray:
    """Ends (T, 2) around zero of one series of residuals ``now``, after those of training."""
    series = np.append(first, now)
    before = lagged(series, lags)  # row t: what is known before step t + lags
    ends, level = np.empty((len(now), 2)), alpha
    for start in range(0, len(now), refit):
        seed = int(seeds.integers(2**31 - 1))
        forest, known = residual_forest(series[start : len(first) + start], lags, trees, leaf, seed)
        steps = np.arange(start, min(start + refit, len(now)))
        weights: Any = forest.weights(before[len(first) - lags + steps])
        for t, w in zip(steps, weights, strict=True):
            ends[t] = shortest(known, w, level)
            level += rate * (alpha - (not ends[t, 0] <= now[t] <= ends[t, 1]))
    return ends
