"""What every kind of set says of itself, and the warnings and checks they share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import is_traced
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.errors import ArrayError, InfiniteSetWarning


def static_alpha(alpha: Level) -> Any:
    """The level in a form that compares and hashes: a number, or a tuple of numbers."""
    return alpha if is_single(alpha) else tuple(np.asarray(alpha).tolist())


def summary(sets: Any, unit: str, whole: str) -> str:
    """Level, guarantee and sizes of sets, for reading; ``whole`` names those that hold all."""
    sizes = np.asarray(sets.size(), float)
    columns = sizes[:, None] if sizes.ndim == 1 else sizes
    if not len(columns):
        return f"no test points: {sets.guarantee}"
    lines = [f"{columns.shape[0]} prediction sets: {sets.guarantee}"]
    for a, column in zip(np.atleast_1d(np.asarray(sets.alpha, float)), columns.T, strict=True):
        low, mid, high = np.quantile(column, [0.1, 0.5, 0.9], method="lower")
        lines.append(
            f"  alpha {a:g}: {unit} {low:.4g} / {mid:.4g} / {high:.4g} (10, 50, 90 % of sets)"
        )
    lines.append(f"  {sets.infinite_fraction:.1%} {whole}, {sets.empty_fraction:.1%} empty")
    return "\n".join(lines)


def by_row(sets: Any, columns: dict[str, Any]) -> Any:
    """A DataFrame with a row for each test point and level: columns (m,) or (m, A) and the size."""
    import pandas as pd

    alphas = np.atleast_1d(np.asarray(sets.alpha, float))
    shown = {"size": sets.size(), **columns}
    m = len(np.asarray(shown["size"]))
    rows = pd.MultiIndex.from_product([range(m), alphas], names=["row", "alpha"])
    table = {name: np.asarray(value).reshape(m * alphas.size) for name, value in shown.items()}
    found = pd.DataFrame(table, index=rows)
    return found.droplevel("alpha") if np.ndim(sets.alpha) == 0 else found


def warn_infinite(thresholds: Any, reason: str) -> None:
    """Warn when thresholds are infinite, which makes sets say nothing."""
    if is_traced(thresholds):
        return
    fraction = float(np.mean(np.isinf(np.asarray(thresholds))))
    if fraction > 0:
        warnings.warn(
            f"{fraction:.1%} of the thresholds are infinite, their sets hold everything: {reason}",
            InfiniteSetWarning,
            stacklevel=3,
        )


def too_few(n: int, alpha: Level) -> str:
    """The reason for an infinite threshold, with the number of points that would help."""
    smallest = float(min(as_levels(alpha)))
    need = int(np.ceil(1 / smallest - 1 - 1e-9))
    return (
        f"{n} calibration points cannot support alpha = {smallest:g}; at least {need} are needed."
    )


def check_columns(name: str, values: Any, expected: int) -> None:
    """Refuse arrays whose last axes differ: broadcasting would hide it."""
    if np.shape(values)[-1] != expected:
        raise ArrayError(f"{name} must have {expected} columns, got shape {np.shape(values)}.")


def check_test(name: str, rows: int, expected: int) -> None:
    """Refuse test arrays whose sizes differ."""
    if rows != expected:
        raise ArrayError(f"{name} must have {expected} rows, one per test point, got {rows}.")
