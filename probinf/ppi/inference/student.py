"""Tails and quantiles of Student's t, which is the normal at infinite degrees of freedom."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit


def tail(t: Any, df: Any) -> Any:
    """Probability of exceeding ``t``."""
    t, df = np.asarray(t, float), np.asarray(df, float)
    finite = np.where(np.isfinite(df), df, 1.0)
    return np.where(np.isfinite(df), stdtr(finite, -t), ndtr(-t))


def critical(alpha: Any, df: Any, side: str = "two-sided") -> Any:
    """The value that the statistic exceeds with probability ``alpha``, on one side or on both."""
    df = np.asarray(df, float)
    p = alpha / 2 if side == "two-sided" else alpha
    finite = np.where(np.isfinite(df), df, 1.0)
    return np.where(np.isfinite(df), -stdtrit(finite, p), -ndtri(p))


def p_value(t: Any, df: Any, side: str) -> Any:
    """P-value of the statistic ``t`` against an alternative."""
    if side == "two-sided":
        return 2 * tail(np.abs(t), df)
    return tail(t if side == "larger" else -np.asarray(t), df)
