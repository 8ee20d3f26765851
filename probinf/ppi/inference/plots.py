"""Pictures of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.ppi.inference.student import critical

if TYPE_CHECKING:
    from probinf.ppi.inference.result import Result


def interval_plot(result: Result, axis: Any = None) -> Any:
    """Estimates and intervals beside those that the labelled rows alone would give.

    Infinite limits are drawn as arrows.

    Args:
        result: any result.
        axis: matplotlib axis; a new one if left out.
    """
    import matplotlib.pyplot as plt

    if axis is None:
        _, axis = plt.subplots(figsize=(6, 0.7 + 0.5 * len(result.theta)), layout="constrained")
    limits = np.asarray(result.conf_int(alternative="two-sided"))
    half = critical(result.alpha, result.df) * np.sqrt(np.diag(result.cov_labeled))
    place = np.arange(len(result.theta))[::-1]
    ends = result.theta[:, None] + 3 * half[:, None] * [-1, 1]
    shown = np.where(np.isfinite(limits), limits, ends)
    axis.hlines(
        place, *shown.T, lw=5, color="C0", label=f"{result.method}: n={result.n}, N={result.N}"
    )
    for side, marker in enumerate("<>"):
        open_ended = ~np.isfinite(limits[:, side])
        axis.plot(shown[open_ended, side], place[open_ended], marker, color="C0", ms=9)
    axis.hlines(
        place - 0.2,
        result.theta - half,
        result.theta + half,
        lw=3,
        color="0.7",
        label="width with labels alone",
    )
    axis.plot(result.theta, place, "o", color="white", ms=4)
    axis.set_yticks(place, result.names)
    axis.set_ylim(-0.7, len(place) - 0.4)
    axis.set_xlabel(result.estimand)
    axis.legend(fontsize="small")
    return axis
