"""Localized calibration: nearby points count more, and the guarantee stays exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.randomness import row_uniforms
from probinf.conformal.calibration.ranks import BLOCK
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.core.program import Key
from probinf.errors import ArrayError


def rlcp_thresholds(
    scores: ArrayLike,
    x: ArrayLike,
    x_test: ArrayLike,
    *,
    bandwidth: Number,
    alpha: Level = 0.1,
    key: int | Key,
) -> np.ndarray:
    """Randomly localized thresholds: exact marginal coverage, relaxed conditional coverage.

    Around each test point a centre is drawn from a Gaussian kernel; calibration points are
    weighted by the kernel at that centre, the test point too. Small bandwidths follow the local
    spread of the scores and give more infinite thresholds.

    Args:
        scores: (n,) calibration scores.
        x: (n, d) where they were observed, in comparable units per column.
        x_test: (m, d).
        bandwidth: standard deviation of the kernel, in the units of x.
        alpha: miscoverage, scalar or (A,).
        key: random key or seed.

    Returns:
        (m,) or (m, A) thresholds.

    Raises:
        ArrayError: NaN, shapes that differ, a bandwidth that is not positive.

    Source: Hore & Barber (2025), section 3.
    """
    s = np.asarray(as_float("scores", scores, ndim=1), float)
    a = np.asarray(as_float("x", x, ndim=2, size=s.size), float)
    b = np.asarray(as_float("x_test", x_test, ndim=2), float)
    if a.shape[1] != b.shape[1]:
        raise ArrayError(f"x_test must have {a.shape[1]} columns, got {b.shape[1]}.")
    if not bandwidth > 0:
        raise ArrayError(f"bandwidth must be positive, got {bandwidth}.")
    levels = np.array([float(v) for v in as_levels(alpha)])
    centre = b + float(bandwidth) * _normals(key, b)
    order = np.argsort(s, kind="stable")
    sorted_scores, a = np.append(s[order], np.inf), a[order]
    found = np.empty((len(b), levels.size))
    rows = max(1, BLOCK // max(s.size, 1))
    for start in range(0, len(b), rows):
        block = slice(start, start + rows)
        weights, own = _kernel(centre[block], a, b[block], float(bandwidth))
        total = weights.sum(axis=1) + own
        cumulative = np.cumsum(weights, axis=1)
        for i, level in enumerate(levels):
            target = (1 - level - 1e-12) * total
            found[block, i] = sorted_scores[(cumulative < target[:, None]).sum(axis=1)]
    warn_infinite(found, "no calibration points nearby; use a larger bandwidth.")
    return found[:, 0] if is_single(alpha) else found


def _normals(key: int | Key, rows: np.ndarray) -> np.ndarray:
    """Standard normal numbers of every row's own, like ``rows``."""
    from scipy.special import ndtri

    columns = [row_uniforms(key, rows, salt=j) for j in range(rows.shape[1])]
    return np.asarray(ndtri(np.stack(columns, axis=1)))


def _kernel(centre: Any, a: Any, own: Any, bandwidth: Number) -> tuple[np.ndarray, np.ndarray]:
    """Kernel at the calibration points and at the test points, up to one factor per row.

    Distances by differences: squares of coordinates near 1e7 would leave no digits for them.
    """
    squared = np.zeros((len(centre), len(a)))
    for j in range(a.shape[1]):
        squared += (centre[:, j, None] - a[:, j]) ** 2
    at_own = ((centre - own) ** 2).sum(1)
    least = np.minimum(squared.min(axis=1, initial=np.inf), at_own)
    scale = -0.5 / bandwidth**2
    return np.exp(scale * (squared - least[:, None])), np.exp(scale * (at_own - least))


def nexcp_weights(n: int, *, decay: Number = 0.99) -> np.ndarray:
    """Weights ``decay ** age`` for :func:`weighted_quantile`: data that drift over time.

    Coverage falls short of 1 - alpha by at most the weighted total-variation distance between
    the test point and each calibration point.

    Args:
        n: calibration points in order of time.
        decay: in (0, 1].

    Returns:
        (n,), the last point having weight ``decay``; the test point's weight is 1.

    Source: Barber, Candès, Ramdas & Tibshirani (2023), theorem 2.
    """
    if not 0 < decay <= 1:
        raise ArrayError(f"decay must lie in (0, 1], got {decay}.")
    return np.asarray(float(decay) ** np.arange(n, 0, -1))
