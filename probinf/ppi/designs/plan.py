"""Planning: how many labels, how many predictions."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.errors import LevelError, MethodError
from probinf.ppi.inference.result import Result


@dataclasses.dataclass(frozen=True)
class Plan:
    """Numbers of rows that meet a target or a budget.

    Attributes:
        n: labelled rows.
        N: unlabelled rows with predictions; 0 means that predictions are not worth their price.
        se: standard error to expect.
        cost: of all rows.
        n_classical: labels that reach the same standard error without predictions.
        cost_classical: of those.
    """

    n: int
    N: int
    se: float
    cost: float
    n_classical: int
    cost_classical: float

    def __str__(self) -> str:
        return (
            f"label {self.n} rows, predict {self.N} more: standard error {self.se:.4g}, cost "
            f"{self.cost:.6g} (labels alone: {self.n_classical} rows, cost "
            f"{self.cost_classical:.6g})"
        )


def _pilot(result: Result, parameter: int) -> tuple[float, float]:
    """Standard deviation of one label's influence, and the correlation of the predictions."""
    if not 0 <= parameter < len(result.theta):
        raise MethodError(f"parameter {parameter} of {len(result.theta)}.")
    rho = float(result.rho[parameter])
    if not np.isfinite(rho):
        raise MethodError("plan from an original result: a contrast of several has no correlation.")
    return float(np.sqrt(result.cov_labeled[parameter, parameter] * result.n)), max(rho, 0.0)


def standard_error(result: Result, n: Number, N: Number, *, parameter: int = 0) -> float:
    """Standard error to expect with n labels and N unlabelled rows, from a pilot.

    ``se**2 = s**2 (1 - rho**2 N / (n + N)) / n``, with s and rho of the pilot.

    Args:
        result: the pilot.
        n: labelled rows.
        N: unlabelled rows; may be infinite.
        parameter: which parameter.
    """
    if n <= 0 or N < 0:
        raise LevelError(f"n must be positive and N not negative; got n={n}, N={N}.")
    sd, rho = _pilot(result, parameter)
    share = 1.0 if np.isinf(N) else N / (n + N)
    return float(sd * np.sqrt((1 - rho**2 * share) / n))


def plan_labels(
    result: Result,
    *,
    target_se: Number | None = None,
    budget: Number | None = None,
    costs: tuple[float, float, float] = (0.0, 1.0, 0.0),
    max_rows: int | None = None,
    parameter: int = 0,
) -> Plan:
    """The cheapest numbers of labelled and unlabelled rows for a target, or the best for a budget.

    Args:
        result: a pilot, which says how noisy labels are and how good predictions.
        target_se: standard error to reach.
        budget: what may be spent, instead of a target.
        costs: of a row's features, of its label, of its prediction.
        max_rows: rows that exist, labelled and unlabelled together.
        parameter: which parameter.

    Raises:
        MethodError: neither or both of ``target_se`` and ``budget``, free labels, or a target
            beyond ``max_rows``.

    Source: PPI++ power analysis (ppi_py ``ppi_power``): with gamma the price of a predicted row
    over that of a label, n = n0 (1 - rho**2 + sqrt(gamma rho**2 (1 - rho**2))).
    """
    if (target_se is None) == (budget is None):
        raise MethodError("give either target_se or budget.")
    row, label, guess = costs
    if label <= 0 or row < 0 or guess < 0:
        raise MethodError(f"costs are {costs}: a label must cost something, nothing is negative.")
    sd, rho = _pilot(result, parameter)

    def plan(n0: float) -> Plan:
        """The cheapest plan worth ``n0`` labels without predictions."""
        best = (n0, 0.0)
        gamma = (row + guess) / label
        if rho > 0:
            if max_rows is not None and gamma == 0:
                n = n0 * max_rows * (1 - rho**2) / (max_rows - rho**2 * n0)
                best = (n, max(max_rows - n, 0.0))
            else:
                n = n0 * (1 - rho**2 + np.sqrt(gamma * rho**2 * (1 - rho**2)))
                spare = n - (1 - rho**2) * n0
                N = n * (n0 - n) / spare if spare > 0 else 1e9 * n
                if max_rows is not None and n + N > max_rows:
                    n = n0 * max_rows * (1 - rho**2) / (max_rows - rho**2 * n0)
                    N = max_rows - n
                cost = n * (row + label + guess) + N * (row + guess)
                if N > 0 and n > 0 and cost < n0 * (row + label):
                    best = (n, N)
        # Rounded up to whole rows; no predictions are bought if none are used.
        n_whole, N_whole = int(np.ceil(best[0] - 1e-9)), int(np.ceil(min(best[1], 1e15) - 1e-9))
        if max_rows is not None:
            N_whole = min(N_whole, max(max_rows - n_whole, 0))
        each = row + label + (guess if N_whole else 0.0)
        classical = int(np.ceil(n0 - 1e-9))
        return Plan(
            n_whole,
            N_whole,
            standard_error(result, n_whole, N_whole, parameter=parameter),
            n_whole * each + N_whole * (row + guess),
            classical,
            classical * (row + label),
        )

    limit = np.inf if max_rows is None else float(max_rows)
    if target_se is not None:
        if not target_se > 0:
            raise LevelError(f"target_se must be positive; got {target_se}.")
        n0 = (sd / target_se) ** 2
        if n0 > limit:
            raise MethodError(
                f"a standard error of {target_se:g} needs {n0:.0f} labels' worth of information, "
                f"more than max_rows={max_rows} can give even if all are labelled."
            )
        return plan(n0)
    assert budget is not None
    if budget < 2 * (row + label):
        raise MethodError(f"budget={budget:g} does not pay for two labels.")
    low, high = 1.0, min(limit, 1e9 * max(budget / label, 1.0))
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if plan(middle).cost <= budget else (low, middle)
    return plan(low)
