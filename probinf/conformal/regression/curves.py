"""Survival curves on a grid of times, from any model, and a forest that makes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.forests import LeafWeights, grow
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError, CalibrationError


@dataclasses.dataclass(frozen=True)
class SurvivalCurves:
    """Curves ``P(T > t | x)``, one per row, constant between the times of a grid.

    Attributes:
        grid: (G,) increasing times at which curves may fall.
        values: (n, G) probabilities of surviving each time itself; nonincreasing.
    """

    grid: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        grid = np.asarray(as_float("grid", self.grid, ndim=1), float)
        values = np.asarray(as_float("values", self.values, ndim=2), float)
        if grid.size != values.shape[1] or not grid.size or not (np.diff(grid) > 0).all():
            raise ArrayError(
                f"grid must hold {values.shape[1]} increasing times, one per column of values, got "
                f"shape {grid.shape}."
            )
        if (values < -1e-9).any() or (values > 1 + 1e-9).any():
            raise ArrayError("values must be probabilities in [0, 1] of living longer than a time.")
        if (np.diff(values, axis=1) > 1e-9).any():
            row = int((np.diff(values, axis=1) > 1e-9).any(axis=1).argmax())
            raise ArrayError(
                f"values must not increase along the grid, as in row {row}; give P(T > t), not "
                "P(T <= t)."
            )
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "values", np.minimum.accumulate(np.clip(values, 0, 1), axis=1))

    def __len__(self) -> int:
        return len(self.values)

    def at(self, times: np.ndarray) -> np.ndarray:
        """``P(T > t)`` at times (n,) or (n, A), each row under its own curve."""
        return self._read(np.searchsorted(self.grid, times, "right"))

    def before(self, times: np.ndarray) -> np.ndarray:
        """``P(T >= t)`` at times (n,) or (n, A)."""
        return self._read(np.searchsorted(self.grid, times, "left"))

    def _read(self, place: np.ndarray) -> np.ndarray:
        rows = np.arange(len(self)).reshape(-1, *[1] * (place.ndim - 1))
        return np.where(place > 0, self.values[rows, np.maximum(place - 1, 0)], 1.0)

    def falls_to(self, level: float) -> np.ndarray:
        """(n,) first grid time at which ``P(T > t) <= level``; infinite where there is none."""
        low = self.values <= level + 1e-12
        return np.where(low.any(axis=1), self.grid[low.argmax(axis=1)], np.inf)


@dataclasses.dataclass(frozen=True)
class SurvivalForest:
    """Survival and censoring curves of new rows, from the leaves that they share with others.

    Attributes:
        weights: the forest.
        time, event: (n,) what it was grown on.
    """

    weights: LeafWeights
    time: np.ndarray
    event: np.ndarray

    def curves(self, X: ArrayLike) -> tuple[SurvivalCurves, SurvivalCurves]:
        """``P(T > t | x)`` and ``P(C > t | x)`` of new rows (m, d)."""
        w = self.weights.weights(np.asarray(as_float("X", X, ndim=2), float))
        return self._curves(w, self.event, True), self._curves(w, ~self.event, False)

    def _curves(self, w: np.ndarray, ends: np.ndarray, events_first: bool) -> SurvivalCurves:
        """Kaplan and Meier's estimate with weights: events come before censoring at one time."""
        grid = np.unique(self.time)
        place = np.searchsorted(grid, self.time)
        falls, leaves = (np.zeros((len(w), len(grid))) for _ in range(2))
        for j in range(len(grid)):
            here = place == j
            leaves[:, j] = w[:, here].sum(axis=1)
            falls[:, j] = w[:, here & ends].sum(axis=1)
        risk = np.cumsum(leaves[:, ::-1], axis=1)[:, ::-1]
        if not events_first:
            risk = risk - (leaves - falls)
        share = np.where(risk > 1e-12, falls / np.maximum(risk, 1e-12), 0.0)
        return SurvivalCurves(grid, np.cumprod(1 - np.clip(share, 0, 1), axis=1))


def survival_forest(
    X: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    *,
    trees: int = 100,
    leaf: int = 15,
    key: int | Key = 0,
) -> SurvivalForest:
    """Survival and censoring curves for rows with covariates, when times may be censored.

    A forest splits rows by when they were last seen and why; neighbours in its leaves give
    Kaplan and Meier's estimates of both curves.

    Args:
        X: (n, d) covariates.
        time: (n,) when each was last seen, positive.
        event: (n,) True where the event happened then, False where it was still to come.
        trees: size of the forest.
        leaf: least rows in a leaf.
        key: random key or seed.

    Raises:
        ArrayError: NaN, shapes that differ, times that are not positive, events not 0 or 1.
        CalibrationError: no event at all.
        MissingPackageError: scikit-learn is not installed.

    Source: Meinshausen (2006) for the weights, Beran (1981) for the estimates; Ishwaran et al.
    (2008) grow forests by another rule of splitting.
    """
    same_index(X=X, time=time, event=event)
    x = np.asarray(as_float("X", X, ndim=2), float)
    t, seen = censored(time, event, len(x))
    if not seen.any():
        raise CalibrationError(
            f"none of the {len(t)} times is an event; nothing tells of lifetimes."
        )
    target = np.column_stack([t.argsort().argsort() / len(t), seen])
    seed = int(as_generator(key).integers(2**31 - 1))
    return SurvivalForest(grow(x, target, trees=trees, leaf=leaf, seed=seed), t, seen)


def censored(time: Any, event: Any, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and whether they are events, checked.

    Raises:
        ArrayError: times that are not positive and finite, events that are not 0 or 1.
    """
    t = np.asarray(as_float("time", time, ndim=1, size=size), float)
    d = np.asarray(as_float("event", event, ndim=1, size=t.size), float)
    if not (np.isfinite(t).all() and (t > 0).all()):
        where = int((~(np.isfinite(t) & (t > 0))).argmax())
        raise ArrayError(f"time must be positive and finite, got {t[where]} at [{where}].")
    if not np.isin(d, (0, 1)).all():
        where = int((~np.isin(d, (0, 1))).argmax())
        raise ArrayError(
            f"event must be 1 where the event happened and 0 where it was censored, got {d[where]} "
            f"at [{where}]."
        )
    return t, d == 1
