"""Pictures: intervals, set sizes, coverage by group, online paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.online.track import OnlineResult
from probinf.conformal.sets.intervals import Interval
from probinf.conformal.sets.labels import LabelSet
from probinf.conformal.sets.reporting import check_test
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import as_groups
from probinf.errors import MissingPackageError


def _axis(axis: Any) -> Any:
    if axis is not None:
        return axis
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingPackageError(
            "pictures need matplotlib: pip install 'probinf[plot]'."
        ) from None
    return plt.subplots(figsize=(6, 3.2), layout="constrained")[1]


def plot_intervals(
    intervals: Interval, x: ArrayLike, y: ArrayLike | None = None, *, axis: Any = None
) -> Any:
    """Intervals against one covariate, the first level of several; misses are marked.

    Args:
        intervals: m intervals.
        x: (m,) where to draw them.
        y: (m,) outcomes.
        axis: a matplotlib axis; a new figure by default.

    Returns:
        The axis.
    """
    where = np.asarray(as_float("x", x, ndim=1, size=len(intervals.lower)), float)
    axis = _axis(axis)
    order = np.argsort(where)
    lower, upper = (
        np.asarray(v if v.ndim == 1 else v[:, 0], float) for v in (intervals.lower, intervals.upper)
    )
    axis.fill_between(where[order], lower[order], upper[order], alpha=0.3, lw=0)
    if y is not None:
        outcome = np.asarray(as_float("y", y, ndim=1, size=where.size), float)
        inside = (lower <= outcome) & (outcome <= upper)
        axis.plot(where[inside], outcome[inside], ".", ms=3, color="0.4")
        axis.plot(where[~inside], outcome[~inside], "x", ms=5, color="C3")
        axis.set_title(f"covered {inside.mean():.1%}")
    return axis


def plot_sizes(sets: LabelSet | Interval, *, axis: Any = None) -> Any:
    """Histogram of set sizes, the first level of several."""
    axis = _axis(axis)
    size = np.asarray(sets.size(), float)
    size = size if size.ndim == 1 else size[:, 0]
    if isinstance(sets, LabelSet):
        values, counts = np.unique(size, return_counts=True)
        axis.bar(values, counts / size.size)
        axis.set_xlabel("labels in the set")
    else:
        axis.hist(size[np.isfinite(size)], bins=30, density=True)
        axis.set_xlabel("width")
    return axis


def plot_group_coverage(
    covered: ArrayLike, groups: ArrayLike, *, alpha: Number, axis: Any = None
) -> Any:
    """Coverage within groups, with two binomial standard errors, beside the promise.

    Args:
        covered: (m,) booleans.
        groups: (m,) names.
        alpha: miscoverage.
        axis: a matplotlib axis; a new figure by default.
    """
    inside, names = np.asarray(covered).astype(float), as_groups("groups", groups)
    check_test("groups", names.size, inside.size)
    axis = _axis(axis)
    known, index = np.unique(names, return_inverse=True)
    count = np.bincount(index)
    mean = np.bincount(index, inside) / count
    error = 2 * np.sqrt(float(alpha) * (1 - float(alpha)) / count)
    axis.errorbar(np.arange(known.size), mean, yerr=error, fmt="o", capsize=3)
    axis.axhline(1 - float(alpha), color="0.5", lw=1)
    axis.set_xticks(np.arange(known.size), [str(name) for name in known])
    axis.set_ylabel("coverage")
    return axis


def plot_online(result: OnlineResult, *, width: int = 100, axis: Any = None) -> Any:
    """Rolling coverage of every series, beside the promise."""
    axis = _axis(axis)
    rolling = np.atleast_2d(result.rolling_coverage(width))
    time = np.arange(width, width + rolling.shape[1])
    axis.plot(time, rolling.T, lw=1, alpha=max(0.2, 1 / len(rolling)))
    axis.axhline(1 - result.alpha, color="0.5", lw=1)
    axis.set_xlabel("time")
    axis.set_ylabel(f"coverage of the last {width}")
    return axis
