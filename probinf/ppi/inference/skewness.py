"""Skew estimates: a monotone transformation that makes their t statistic symmetric, and back."""

from __future__ import annotations

from typing import Any

import numpy as np


def symmetric(t: Any, skewness: Any) -> Any:
    """A t statistic of an estimate of this skewness as one of a symmetric estimate.

    Args:
        t: (d,) estimate less parameter, over the standard error.
        skewness: (d,) of the estimate, or None.

    Source: Hall (1992), "On the removal of skewness by transformation", equation for g-hat.
    """
    if skewness is None:
        return t
    a = np.asarray(skewness, float)
    return t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6


def skewed(t: Any, skewness: Any) -> Any:
    """The inverse of `symmetric`."""
    if skewness is None:
        return t
    a = np.asarray(skewness, float)
    tiny = np.abs(a) < 1e-7
    safe = np.where(tiny, 1.0, a)
    return np.where(tiny, t, 3 * (np.cbrt(1 + safe * (t - safe / 6)) - 1) / safe)


def third_cumulant(values: np.ndarray) -> np.ndarray:
    """Unbiased third cumulants (d,) of independent rows (n, d)."""
    n = len(values)
    centred = values - values.mean(axis=0)
    return np.asarray((centred**3).sum(axis=0) * n / ((n - 1) * (n - 2)))
