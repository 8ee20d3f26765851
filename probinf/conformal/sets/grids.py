"""Sets of candidate outcomes on a grid, with their guarantee in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.sets.intervals import Interval
from probinf.conformal.sets.reporting import by_row, summary
from probinf.core.inputs.arrays import Array, ArrayLike, as_float


@dataclasses.dataclass(frozen=True)
class GridSet:
    """Sets of grid values, for methods that test one candidate outcome after the other.

    Attributes:
        grid: (m, g) candidate outcomes, ascending.
        mask: (m, g) or (m, g, A); True where the candidate belongs to the set.
        p_values: (m, g), or None where only the threshold is known.
        alpha: the miscoverage that was asked for.
        guarantee: what is promised, and under which assumption.
    """

    grid: Array
    mask: Array
    p_values: Array | None
    alpha: Any
    guarantee: str

    def size(self) -> Array:
        """Length of the set, as the grid sees it: (m,) or (m, A)."""
        width = np.gradient(np.asarray(self.grid), axis=1)
        mask = np.asarray(self.mask)
        return np.asarray((mask.T * width.T).T.sum(axis=1))

    def contains(self, y: ArrayLike) -> Array:
        """Whether a candidate next to each outcome, on either side, belongs to the set.

        What was not tried counts as inside, as in `hull`: between two candidates of which one
        belongs, and beyond an end of the grid that belongs.
        """
        y = np.asarray(as_float("y", y, ndim=1, size=self.grid.shape[0]))
        grid, mask, rows = np.asarray(self.grid), np.asarray(self.mask), np.arange(y.size)
        last = grid.shape[1] - 1
        above = np.minimum((grid < y[:, None]).sum(axis=1), last)
        below = np.maximum((grid <= y[:, None]).sum(axis=1) - 1, 0)
        return np.asarray(mask[rows, above] | mask[rows, below])

    def hull(self) -> Interval:
        """Intervals that hold the sets, (m,) or (m, A): from the last value outside to the next.

        An end of the grid that belongs to the set becomes infinite: what lies beyond was not tried.
        """
        mask = np.asarray(self.mask)
        grid = np.asarray(self.grid).reshape(self.grid.shape + (1,) * (mask.ndim - 2))
        edge = np.full_like(grid[:, :1], np.inf)
        before = np.concatenate([-edge, grid[:, :-1]], axis=1)
        after = np.concatenate([grid[:, 1:], edge], axis=1)
        lower = np.where(mask, before, np.inf).min(axis=1)
        upper = np.where(mask, after, -np.inf).max(axis=1)
        return Interval(lower, upper, self.alpha, self.guarantee)

    @property
    def infinite_fraction(self) -> float:
        """Fraction of sets that reach an end of the grid, so that more may belong to them."""
        mask = np.asarray(self.mask)
        return float((mask[:, 0] | mask[:, -1]).mean())

    @property
    def empty_fraction(self) -> float:
        """Fraction of sets that hold no candidate."""
        return float((~np.asarray(self.mask).any(axis=1)).mean())

    def summary(self) -> str:
        """Level, guarantee and sizes, for reading."""
        return summary(self, "length", "reach an end of the grid")

    __str__ = summary

    def __repr__(self) -> str:
        return f"GridSet({np.shape(self.mask)}, alpha={self.alpha}, {self.guarantee!r})"

    def to_dataframe(self) -> Any:
        """Hull and length of each set; a row for each test point (and level, of several)."""
        hull = self.hull()
        return by_row(self, {"lower": hull.lower, "upper": hull.upper})
