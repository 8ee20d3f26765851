"""Estimate: a number with its standard error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
        value: the estimate.
        error: its standard error, in the same units; NaN when it cannot be known.
    """

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"

    def z(self, truth: float) -> float:
        """(value - truth) / error."""
        return (self.value - truth) / self.error


def log_mean_exp(log_values: np.ndarray) -> Estimate:
    """Log of the mean of positive estimates, with its delta-method standard error.

    Args:
        log_values: (n,) logs of independent estimates of the same quantity.
    """
    log_values = np.asarray(log_values, float)
    top = log_values.max()
    if not np.isfinite(top):
        return Estimate(float(top), float("nan"))
    ratios = np.exp(log_values - top)
    mean = ratios.mean()
    error = np.nan if log_values.size < 2 else ratios.std(ddof=1) / mean / np.sqrt(ratios.size)
    return Estimate(float(top + np.log(mean)), float(error))
