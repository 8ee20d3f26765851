"""Pictures of sets: intervals against a covariate, and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.errors import MissingPackageError

if TYPE_CHECKING:
    from probinf.conformal.sets.intervals import Interval
    from probinf.conformal.sets.labels import LabelSet


def new_axis(axis: Any) -> Any:
    """``axis``, or one of a new figure."""
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
    axis = new_axis(axis)
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
    axis = new_axis(axis)
    size = np.asarray(sets.size(), float)
    size = size if size.ndim == 1 else size[:, 0]
    if hasattr(sets, "mask"):
        values, counts = np.unique(size, return_counts=True)
        axis.bar(values, counts / size.size)
        axis.set_xlabel("labels in the set")
    else:
        axis.hist(size[np.isfinite(size)], bins=30, density=True)
        axis.set_xlabel("width")
    return axis
