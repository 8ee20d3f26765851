"""Means of few and skewed labels: leave-one-out errors and intervals that are not symmetric."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from probinf.errors import TooFewLabelsError
from probinf.ppi.inference.moments import welch
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.skewness import third_cumulant

ROWS = 20_000  # unlabelled rows that the leave-one-out fits look at: enough for their differences
MANY = 400  # labelled rows beyond which none has leverage to speak of


def unskewed(
    result: Result,
    solve: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    y: np.ndarray,
    f: np.ndarray,
    fu: np.ndarray,
    *,
    free: tuple[float, float],
) -> Result:
    """A result with jackknife estimates and errors, and intervals corrected for their skewness.

    Tuning by few labels correlates with what it weighs: rows of extreme predictions have leverage,
    which hides part of their error and biases the estimate. Leaving out each row in turn shows
    both. The third cumulant of the leave-one-out values then bends the t interval.

    Args:
        result: of the mean, uncorrected.
        solve: ``(y, f, fu) -> theta``, the estimate of other rows.
        y, f, fu: labels (n, d), predictions (n, q) and (N, q).
        free: degrees of freedom of the labelled and unlabelled variances.

    Raises:
        TooFewLabelsError: fewer than four labels, which have no skewness.

    Source: Hall (1992); Efron (1982) for jackknife values.
    """
    n = len(y)
    if n < 4:
        raise TooFewLabelsError(f"small_sample='skew' needs four labels or more, got {n}.")
    mine, theirs = result.influence
    values, theta = mine * n, result.theta
    if n <= MANY:
        some = fu[:: max(1, len(fu) // ROWS)]
        keep = ~np.eye(n, dtype=bool)
        whole = solve(y, f, some)
        without = np.stack([solve(y[k], f[k], some) for k in keep])
        values = whole - (n - 1) * (without - whole)
        theta = theta + values.mean(axis=0) - whole
    centred = values - values.mean(axis=0)
    own = centred.T @ centred / (n - 1) / n
    other = theirs.T @ theirs
    variance = np.diag(own + other)
    third = third_cumulant(values) / n**2 + (theirs**3).sum(axis=0)
    varies = variance > 0
    skewness = np.where(varies, third / np.where(varies, variance, 1.0) ** 1.5, 0.0)
    return dataclasses.replace(
        result,
        theta=theta,
        cov=own + other,
        df=np.asarray(welch(np.diag(own), np.diag(other), *free)),
        skewness=skewness,
        cov_type="jackknife, skew" if n <= MANY else "skew",
    )
