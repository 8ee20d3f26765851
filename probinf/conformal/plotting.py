"""Pictures of coverage by group and of online paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.online.track import OnlineResult
from probinf.conformal.sets.pictures import new_axis
from probinf.conformal.sets.reporting import check_test
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import as_groups


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
    same_index(covered=covered, groups=groups)
    inside, names = np.asarray(covered).astype(float), as_groups("groups", groups)
    check_test("groups", names.size, inside.size)
    axis = new_axis(axis)
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
    axis = new_axis(axis)
    rolling = np.atleast_2d(result.rolling_coverage(width))
    time = np.arange(width, width + rolling.shape[1])
    axis.plot(time, rolling.T, lw=1, alpha=max(0.2, 1 / len(rolling)))
    axis.axhline(1 - result.alpha, color="0.5", lw=1)
    axis.set_xlabel("time")
    axis.set_ylabel(f"coverage of the last {width}")
    return axis
