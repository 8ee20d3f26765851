"""Points of a unit cell, over which the density of counts is averaged to their probability."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.linalg import hadamard

_MOST = 32


@cache
def cell(counts: tuple[bool, ...]) -> np.ndarray:
    """(points, d) around 0, equally weighted; 0 where the coordinate is not a count.

    A product rule of as many midpoints as 32 points allow; from four counts on the two points
    ``±1/sqrt(12)`` with signs of a Hadamard matrix and their reflections, which integrate every
    cubic polynomial exactly (up to sixteen counts; beyond them columns are used twice).
    """
    where = np.flatnonzero(counts)
    d = len(where)
    if d == 0:
        return np.zeros((1, len(counts)))
    side = int(np.floor(_MOST ** (1 / d) + 1e-9))
    if side >= 3:
        side = min(side, 16)
        midpoints = (np.arange(side) + 0.5) / side - 0.5
        inner = np.stack(np.meshgrid(*[midpoints] * d, indexing="ij"), -1).reshape(-1, d)
    else:
        size = min(1 << (d - 1).bit_length(), _MOST // 2)
        signs = hadamard(size)[:, np.arange(d) % size]
        inner = np.concatenate([signs, -signs]) / np.sqrt(12)
    points = np.zeros((len(inner), len(counts)))
    points[:, where] = inner
    return points
