"""Prediction intervals, with their guarantee in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.conformal.sets.reporting import by_row, static_alpha, summary
from probinf.core.inputs.arrays import Array, ArrayLike, Number, as_float, namespace
from probinf.core.inputs.levels import Level, is_single
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class Interval:
    """Prediction intervals ``[lower, upper]``; empty where lower > upper.

    Attributes:
        lower: (m,), or (m, A) for several levels, or (S, T) of series at one level.
        upper: like ``lower``.
        alpha: the miscoverage that was asked for, scalar or (A,).
        guarantee: what is promised, and under which assumption.
    """

    lower: Array
    upper: Array
    alpha: Any
    guarantee: str

    def contains(self, y: ArrayLike) -> Array:
        """Whether each interval holds its outcome: (m,) or (m, A), or (S, T) of series."""
        axes = self.lower.ndim if is_single(self.alpha) else 1
        y = as_float("y", y, ndim=axes, size=self.lower.shape[0])
        if axes == 2 and y.shape != self.lower.shape:
            raise ArrayError(f"y has shape {y.shape}; the series have {self.lower.shape}.")
        y = y.reshape(y.shape + (1,) * (self.lower.ndim - axes))
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
        return summary(self, "width", "infinite")

    __str__ = summary

    def to_dataframe(self) -> Any:
        """Ends and width of each interval; a row for each test point (and level, of several)."""
        return by_row(self, {"lower": self.lower, "upper": self.upper})

    def plot(self, x: ArrayLike, y: ArrayLike | None = None, *, axis: Any = None) -> Any:
        """`plot_intervals`: against a covariate (m,), outcomes that they miss marked."""
        from probinf.conformal.sets.pictures import plot_intervals

        return plot_intervals(self, x, y, axis=axis)

    def __repr__(self) -> str:
        return f"Interval({self.lower.shape}, alpha={self.alpha}, {self.guarantee!r})"


jax.tree_util.register_dataclass(Interval, ["lower", "upper"], ["alpha", "guarantee"])


def make_interval(lower: Any, upper: Any, alpha: Level, guarantee: str) -> Interval:
    """An Interval from ends (m, A); a single level loses its axis."""
    if is_single(alpha):
        lower, upper = lower[:, 0], upper[:, 0]
    return Interval(lower, upper, static_alpha(alpha), guarantee)
