"""Pictures of results and plans."""

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


def width_plot(result: Result, n_grid: Any = None, axis: Any = None, parameter: int = 0) -> Any:
    """Width of the interval against the number of labels, with and without predictions.

    Args:
        result: a pilot result.
        n_grid: numbers of labels; from a quarter to eight times those of the pilot by default.
        axis: matplotlib axis; a new one if left out.
        parameter: which parameter.
    """
    import matplotlib.pyplot as plt

    from probinf.ppi.designs.plan import standard_error

    if axis is None:
        _, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    grid = np.geomspace(result.n / 4, result.n * 8, 60) if n_grid is None else np.asarray(n_grid)
    for N, label, color in (
        (0, "labels alone", "0.6"),
        (result.N, f"with predictions on {result.N} rows", "C0"),
        (np.inf, "with predictions on all rows there are", "C2"),
    ):
        se = np.array([standard_error(result, n, N, parameter=parameter) for n in grid])
        width = 2 * critical(result.alpha, np.inf) * se
        axis.loglog(grid, width, label=label, color=color)
    limits = np.asarray(result.conf_int(alternative="two-sided"))[parameter]
    axis.plot([result.n], [limits[1] - limits[0]], "ko", label="this result")
    axis.set_xlabel("labels")
    axis.set_ylabel(f"width of the {1 - result.alpha:.0%} interval")
    axis.legend(fontsize="small")
    return axis
