"""What conformal methods return: intervals and label sets, with their guarantee in words."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import numpy as np

from probinf.core.inputs.arrays import Array, ArrayLike, Number, as_float, is_traced, namespace
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.errors import ArrayError, InfiniteSetWarning


@dataclasses.dataclass(frozen=True)
class Interval:
    """Prediction intervals ``[lower, upper]``; empty where lower > upper.

    Attributes:
        lower: (m,), or (m, A) for several levels.
        upper: like ``lower``.
        alpha: the miscoverage that was asked for, scalar or (A,).
        guarantee: what is promised, and under which assumption.
    """

    lower: Array
    upper: Array
    alpha: Any
    guarantee: str

    def contains(self, y: ArrayLike) -> Array:
        """Whether each interval holds its outcome: (m,) or (m, A)."""
        y = as_float("y", y, ndim=1, size=self.lower.shape[0])
        y = y.reshape(y.shape + (1,) * (self.lower.ndim - 1))
        return (self.lower <= y) & (y <= self.upper)

    def size(self) -> Array:
        """Widths, zero where empty."""
        xp = namespace(self.lower, self.upper)
        return xp.maximum(self.upper - self.lower, 0.0)

    @property
    def infinite_fraction(self) -> Any:
        """Fraction of intervals with an infinite end."""
        xp = namespace(self.lower, self.upper)
        return (xp.isinf(self.lower) | xp.isinf(self.upper)).mean()

    @property
    def empty_fraction(self) -> Any:
        """Fraction of intervals that hold nothing."""
        return (self.lower > self.upper).mean()

    def clip(self, low: Number = -np.inf, high: Number = np.inf) -> Interval:
        """Cut to the range that outcomes can take; coverage of such outcomes is unchanged."""
        xp = namespace(self.lower, self.upper)
        return dataclasses.replace(
            self, lower=xp.maximum(self.lower, low), upper=xp.minimum(self.upper, high)
        )

    def summary(self) -> str:
        """Level, guarantee and sizes, for reading."""
        return _summary(self, "width")

    __str__ = summary

    def __repr__(self) -> str:
        return f"Interval({self.lower.shape}, alpha={self.alpha}, {self.guarantee!r})"


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """Sets of labels.

    Attributes:
        mask: (m, K) or (m, K, A); True where the label belongs to the set.
        alpha: the miscoverage that was asked for, scalar or (A,).
        guarantee: what is promised, and under which assumption.
    """

    mask: Array
    alpha: Any
    guarantee: str

    def contains(self, y: ArrayLike) -> Array:
        """Whether each set holds its label: (m,) or (m, A)."""
        y = as_labels("y", y, self.mask.shape[1], size=self.mask.shape[0])
        return self.mask[np.arange(self.mask.shape[0]), y]

    def size(self) -> Array:
        """Number of labels: (m,) or (m, A)."""
        return self.mask.sum(axis=1)

    def labels(self, row: int, level: int = 0) -> list[int]:
        """The labels in one set."""
        mask = np.asarray(self.mask[row] if self.mask.ndim == 2 else self.mask[row, :, level])
        return [int(k) for k in np.flatnonzero(mask)]

    @property
    def infinite_fraction(self) -> Any:
        """Fraction of sets that hold every label, which say nothing."""
        return self.mask.all(axis=1).mean()

    @property
    def empty_fraction(self) -> Any:
        """Fraction of sets without a label."""
        return (~self.mask.any(axis=1)).mean()

    def summary(self) -> str:
        """Level, guarantee and sizes, for reading."""
        return _summary(self, "labels")

    __str__ = summary

    def __repr__(self) -> str:
        return f"LabelSet({self.mask.shape}, alpha={self.alpha}, {self.guarantee!r})"


jax.tree_util.register_dataclass(Interval, ["lower", "upper"], ["alpha", "guarantee"])
jax.tree_util.register_dataclass(LabelSet, ["mask"], ["alpha", "guarantee"])


def _summary(sets: Any, unit: str) -> str:
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
    whole = "infinite" if isinstance(sets, Interval) else "full"
    lines.append(f"  {sets.infinite_fraction:.1%} {whole}, {sets.empty_fraction:.1%} empty")
    return "\n".join(lines)


def static_alpha(alpha: Level) -> Any:
    """The level in a form that compares and hashes: a number, or a tuple of numbers."""
    return alpha if is_single(alpha) else tuple(np.asarray(alpha).tolist())


def make_interval(lower: Any, upper: Any, alpha: Level, guarantee: str) -> Interval:
    """An Interval from ends (m, A); a single level loses its axis."""
    if is_single(alpha):
        lower, upper = lower[:, 0], upper[:, 0]
    return Interval(lower, upper, static_alpha(alpha), guarantee)


def make_labels(mask: Any, alpha: Level, guarantee: str) -> LabelSet:
    """A LabelSet from a mask (m, K, A); a single level loses its axis."""
    return LabelSet(mask[:, :, 0] if is_single(alpha) else mask, static_alpha(alpha), guarantee)


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
