"""Columns of covariates in units of their own, so that years and incomes fit as well as shares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_UNITS = 8  # a column that varies by so few units in the last place is constant


class Columns(NamedTuple):
    """The change of units ``(x - centre) / scale``.

    Attributes:
        centre: (d,) means, or zeros.
        scale: (d,) positive.
    """

    centre: np.ndarray
    scale: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) the columns in these units."""
        return np.asarray((x - self.centre) / self.scale)


def columns_of(x: np.ndarray, *, centred: bool = True) -> Columns:
    """Units in which the columns of x (n, d) have length sqrt(n), and mean zero if ``centred``."""
    size = abs(x).max(axis=0, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    centre = np.zeros(x.shape[1])
    if centred and len(x):
        mean = x[0] + (x - x[0]).mean(axis=0)
        centre = np.where(np.ptp(x, axis=0) > 0, mean, x[0])
    rest = (x - centre) / size
    spread = np.sqrt((rest**2).mean(axis=0)) if len(x) else np.ones(x.shape[1])
    constant = spread <= _UNITS * np.finfo(float).eps
    return Columns(centre, size * np.where(constant, 1.0, spread))
