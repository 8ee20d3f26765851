"""What every kind of set says of itself, and the warnings and checks they share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Level, as_levels, is_single, is_traced
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
