"""Sets of labels, with their guarantee in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.conformal.sets.reporting import by_row, static_alpha, summary
from probinf.core.inputs.arrays import Array, ArrayLike
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.levels import Level, is_single


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
        return summary(self, "labels", "full")

    __str__ = summary

    def to_dataframe(self) -> Any:
        """Size and membership of each label; a row for each test point (and level, of several)."""
        mask = np.asarray(self.mask)
        return by_row(self, {str(k): mask[:, k] for k in range(mask.shape[1])})

    def plot(self, *, axis: Any = None) -> Any:
        """`plot_sizes`: how many sets have how many labels."""
        from probinf.conformal.sets.pictures import plot_sizes

        return plot_sizes(self, axis=axis)

    def __repr__(self) -> str:
        return f"LabelSet({self.mask.shape}, alpha={self.alpha}, {self.guarantee!r})"


jax.tree_util.register_dataclass(LabelSet, ["mask"], ["alpha", "guarantee"])


def make_labels(mask: Any, alpha: Level, guarantee: str) -> LabelSet:
    """A LabelSet from a mask (m, K, A); a single level loses its axis."""
    return LabelSet(mask[:, :, 0] if is_single(alpha) else mask, static_alpha(alpha), guarantee)
