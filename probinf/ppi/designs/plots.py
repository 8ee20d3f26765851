"""Pictures of plans."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.ppi.designs.plan import parameter_index, standard_error
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.student import critical


def width_plot(
    result: Result, n_grid: Any = None, axis: Any = None, parameter: int | str = 0
) -> Any:
    """Width of the interval against the number of labels, with and without predictions.

    Args:
        result: a pilot result.
        n_grid: numbers of labels; from a quarter to eight times those of the pilot by default.
        axis: matplotlib axis; a new one if left out.
        parameter: which parameter, by number or name.
    """
    import matplotlib.pyplot as plt

    parameter = parameter_index(result, parameter)

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
    axis.set_ylabel(f"width of the {100 * (1 - result.alpha):.6g}% interval")
    axis.legend(fontsize="small")
    return axis
