"""Scores of an outcome against a predictive density on a grid."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.errors import ArrayError

TIED = 1e-9  # log densities this close are equal but for rounding


@dataclasses.dataclass(frozen=True)
class PredictiveDensity:
    """Predictive densities of one outcome per point, on grids.

    Attributes:
        grid: (n, g) ascending values.
        log_density: (n, g).
    """

    grid: np.ndarray
    log_density: np.ndarray

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, rows: slice | np.ndarray) -> PredictiveDensity:
        """The densities of some points."""
        return PredictiveDensity(self.grid[rows], self.log_density[rows])


class DensityScore(ABC):
    """Base class: a score of every grid value; outcomes between them are interpolated."""

    @abstractmethod
    def on_grid(self, pred: PredictiveDensity) -> np.ndarray:
        """(n, g) scores."""

    def __call__(self, pred: PredictiveDensity, y: ArrayLike) -> np.ndarray:
        """(n,) scores; outcomes off the grid score +inf."""
        grid = np.asarray(pred.grid, float)
        value = np.asarray(as_float("y", y, ndim=1, size=len(grid)), float)
        scores = self.on_grid(pred)
        g = grid.shape[1]
        place = np.clip((grid < value[:, None]).sum(axis=1), 1, g - 1)
        rows = np.arange(len(grid))
        low, high = grid[rows, place - 1], grid[rows, place]
        share = (value - low) / (high - low)
        left, right = scores[rows, place - 1], scores[rows, place]
        with np.errstate(invalid="ignore"):  # infinite scores of values on the grid stay their own
            found = (1 - share) * left + share * right
        found = np.where(share == 0, left, np.where(share == 1, right, found))
        return np.where((share < 0) | (share > 1), np.inf, found)


def _masses(pred: PredictiveDensity) -> tuple[np.ndarray, np.ndarray]:
    log_p = np.asarray(as_float("log_density", pred.log_density, ndim=2), float)
    grid = np.asarray(as_float("grid", pred.grid, ndim=2), float)
    if grid.shape != log_p.shape or grid.shape[1] < 3 or (np.diff(grid, axis=1) <= 0).any():
        raise ArrayError(
            f"pred needs ascending grids and log densities of one shape (n, g >= 3), got "
            f"{grid.shape} and {log_p.shape}."
        )
    if not (np.isfinite(log_p).any(axis=1) & (log_p < np.inf).all(axis=1)).all():
        raise ArrayError("log_density must be finite somewhere on every grid, and never +inf.")
    mass = np.exp(log_p - log_p.max(axis=1, keepdims=True)) * np.gradient(grid, axis=1)
    return log_p, mass / mass.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class LogPredictive(DensityScore):
    """``-log p(y | x)``: sets of highest density, one threshold for all x."""

    def on_grid(self, pred: PredictiveDensity) -> np.ndarray:
        return -_masses(pred)[0]


@dataclasses.dataclass(frozen=True)
class PIT(DensityScore):
    """``|2 F(y | x) - 1|``: central intervals of recalibrated level."""

    def on_grid(self, pred: PredictiveDensity) -> np.ndarray:
        _, mass = _masses(pred)
        return np.asarray(abs(2 * (np.cumsum(mass, axis=1) - 0.5 * mass) - 1))


@dataclasses.dataclass(frozen=True)
class HDRMass(DensityScore):
    """Mass of all values more probable than y: highest-density sets of recalibrated level.

    Values of one density share a score, in whatever order the grid holds them.

    Source: Izbicki, Shimizu & Stern (2022), HPD-split.
    """

    def on_grid(self, pred: PredictiveDensity) -> np.ndarray:
        log_p, mass = _masses(pred)
        rows = np.arange(len(log_p))[:, None]
        order = np.argsort(-log_p, axis=1, kind="stable")
        ordered = mass[rows, order]
        before = np.cumsum(ordered, axis=1) - ordered
        with np.errstate(invalid="ignore"):  # values of no density at all are equal too
            falls = np.diff(log_p[rows, order], axis=1, prepend=np.inf) < -TIED
        first = np.maximum.accumulate(np.where(falls, np.arange(mass.shape[1]), 0), axis=1)
        found = np.empty_like(mass)
        found[rows, order] = before[rows, first]
        return found
