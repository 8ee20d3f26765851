"""Planning: how many labels, how many predictions."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.limits import at_least
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


def parameter_index(result: Result, parameter: int | str | np.integer) -> int:
    """The number of a parameter that was given by number or by name.

    Raises:
        MethodError: there is no such parameter, or several have that name.
    """
    known = ", ".join(result.names)
    if isinstance(parameter, str):
        if result.names.count(parameter) != 1:
            raise MethodError(
                f"parameter={parameter!r} names {result.names.count(parameter)} of the parameters "
                f"{known}."
            )
        return result.names.index(parameter)
    if isinstance(parameter, bool) or not isinstance(parameter, int | np.integer):
        raise MethodError(f"parameter is {parameter!r}; give a number or a name: {known}.")
    if not 0 <= parameter < len(result.theta):
        raise MethodError(f"parameter={parameter}, but there are {len(result.theta)}: {known}.")
    return int(parameter)


def _pilot(result: Result, parameter: int | str) -> tuple[float, float]:
    """Standard deviation of one label's influence, and the correlation of the predictions."""
    j = parameter_index(result, parameter)
    if result.method.startswith("DSL"):
        raise MethodError(
            "the weight of predictions in dsl is that of the design, not the best one: plan with "
            "its result's own labels_for, se_at and power_at."
        )
    rho, variance = float(result.rho[j]), float(result.cov_labeled[j, j])
    if not np.isfinite(rho):
        raise MethodError("plan from an original result: a contrast of several has no correlation.")
    if not variance > 0:
        raise MethodError(
            f"the standard error of {result.names[j]} is {np.sqrt(variance):g}: a pilot whose "
            "labels show no variation says nothing about how many are needed."
        )
    return float(np.sqrt(variance * result.n)), max(rho, 0.0)


def standard_error(result: Result, n: Number, N: Number, *, parameter: int | str = 0) -> float:
    """Standard error to expect with n labels and N unlabelled rows, from a pilot.

    ``se**2 = s**2 (1 - rho**2 N / (n + N)) / n``, with s and rho of the pilot.

    Args:
        result: the pilot.
        n: labelled rows.
        N: unlabelled rows; may be infinite.
        parameter: which parameter, by number or name.
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
    parameter: int | str = 0,
) -> Plan:
    """The cheapest numbers of labelled and unlabelled rows for a target, or the best for a budget.

    Args:
        result: a pilot, which says how noisy labels are and how good predictions.
        target_se: standard error to reach.
        budget: what may be spent, instead of a target.
        costs: of a row's features, of its label, of its prediction.
        max_rows: rows that exist, labelled and unlabelled together; where rows cost nothing (the
            first of ``costs``) predictions are planned for those of the pilot at most, by default.
        parameter: which parameter, by number or name.

    Raises:
        MethodError: neither or both of ``target_se`` and ``budget``, free labels, a target that
            the rows there are cannot reach, or a result of `dsl`, which plans by itself.

    Source: PPI++ power analysis (ppi_py ``ppi_power``): with gamma the price of a predicted row
    over that of a label, n = n0 (1 - rho**2 + sqrt(gamma rho**2 (1 - rho**2))).
    """
    if (target_se is None) == (budget is None):
        raise MethodError("give either target_se or budget.")
    row, label, guess = costs
    if label <= 0 or row < 0 or guess < 0:
        raise MethodError(f"costs are {costs}: a label must cost something, nothing is negative.")
    if max_rows is not None:
        at_least(2, max_rows=max_rows)
    sd, rho = _pilot(result, parameter)
    # Rows that cost nothing are those that are there: to have more of them costs something.
    rows = result.n + result.N if max_rows is None and row == 0 else max_rows

    def plan(n0: float) -> Plan:
        """The cheapest plan worth ``n0`` labels without predictions."""
        best = (n0, 0.0)
        gamma = (row + guess) / label
        if rho > 0 and (rows is None or n0 < rows):
            n = n0 * (1 - rho**2 + np.sqrt(gamma * rho**2 * (1 - rho**2)))
            spare = n - (1 - rho**2) * n0
            N = n * (n0 - n) / spare if spare > 0 else np.inf
            if rows is not None and n + N > rows:
                n = n0 * rows * (1 - rho**2) / (rows - rho**2 * n0)
                N = rows - n
            cost = n * (row + label + guess) + N * (row + guess) if gamma > 0 else n * label
            if N > 0 and cost < n0 * (row + label):
                best = (n, N)
        # Rounded up to whole rows, two labels at least; no predictions are bought if none are used.
        n_whole, N_whole = max(int(np.ceil(best[0] - 1e-9)), 2), int(np.ceil(best[1] - 1e-9))
        if rows is not None:
            N_whole = min(N_whole, max(rows - n_whole, 0))
        each = row + label + (guess if N_whole else 0.0)
        classical = max(int(np.ceil(n0 - 1e-9)), 2)
        return Plan(
            n_whole,
            N_whole,
            standard_error(result, n_whole, N_whole, parameter=parameter),
            n_whole * each + N_whole * (row + guess),
            classical,
            classical * (row + label),
        )

    limit = np.inf if rows is None else float(rows)
    if target_se is not None:
        if not target_se > 0:
            raise LevelError(f"target_se must be positive; got {target_se}.")
        n0 = (sd / target_se) ** 2
        if n0 > limit:
            raise MethodError(
                f"a standard error of {target_se:g} needs {n0:.0f} labels' worth of information, "
                f"more than {rows} rows can give even if all are labelled. If there are more rows "
                "than in the pilot, pass max_rows=; if they can be bought, their price in costs="
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
