"""Conformal e-values: averages over splits stay valid, and e-BH needs no independence."""

from __future__ import annotations

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError


def conformal_evalues(scores_cal: ArrayLike, scores_test: ArrayLike) -> np.ndarray:
    """``(n + 1) s / (sum of the n + 1 scores)``: expectation at most one under exchangeability.

    Args:
        scores_cal: (n,) nonnegative scores, large for strange points.
        scores_test: (m,).

    Returns:
        (m,) e-values; 1 / e is a p-value, and their average over splits is an e-value again.

    Raises:
        ArrayError: a score is negative, infinite or NaN.

    Source: Bashari, Epstein, Romano & Sesia (2023); Vovk (2025).
    """
    s = np.asarray(as_float("scores_cal", scores_cal, ndim=1), float)
    t = np.asarray(as_float("scores_test", scores_test, ndim=1), float)
    if min(s.min(initial=0.0), t.min(initial=0.0)) < 0:
        raise ArrayError("scores must be nonnegative for e-values; shift or exponentiate them.")
    if np.isinf(s).any() or np.isinf(t).any():
        raise ArrayError("scores must be finite for e-values, which divide by their sum.")
    total = s.sum() + t
    return np.asarray(np.where(total > 0, (s.size + 1) * t / np.where(total > 0, total, 1), 1.0))


def e_bh(e_values: ArrayLike, *, q: Number) -> np.ndarray:
    """Indices selected by e-BH: false discovery rate at most q under any dependence.

    Source: Wang & Ramdas (2022), definition 4.
    """
    e = np.asarray(as_float("e_values", e_values, ndim=1), float)
    level = fraction("q", q)
    if e.min(initial=0.0) < 0:
        raise ArrayError("e-values must be nonnegative.")
    ordered = np.sort(e)[::-1]
    need = e.size / (level * np.arange(1, e.size + 1))
    passed = np.flatnonzero(ordered >= need * (1 - 1e-12))
    if not passed.size:
        return np.array([], int)
    return np.flatnonzero(e >= ordered[passed[-1]])
