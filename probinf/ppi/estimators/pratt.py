"""Confidence regions of a normal mean that are short where a prior expects it (Pratt, 1961)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import dawsn, ndtri, ndtri_exp

from probinf.core.inputs.arrays import check_entries
from probinf.core.inputs.levels import as_level
from probinf.errors import ConvergenceError, MethodError

_FAR = 10.0  # beyond this many standard errors the horseshoe leaves the observation alone


def horseshoe_log_density(y: Any) -> Any:
    """Log marginal density of y = b + N(0, 1) noise, b horseshoe with unit scale.

    Source: Cortinovis & Caron (arXiv 2502.02363), section 4.
    """
    x = np.abs(np.asarray(y, float))
    safe = np.maximum(x, 1e-8)
    return np.log(2 / np.pi**1.5) + np.where(
        x > 1e-8, np.log(dawsn(safe / np.sqrt(2))) - np.log(safe), -0.5 * np.log(2)
    )


def horseshoe_slope(y: Any) -> Any:
    """Derivative of `horseshoe_log_density`; the posterior mean of b is y plus it."""
    y = np.asarray(y, float)
    x = np.where(np.abs(y) > 1e-4, y, 1e-4)
    exact = (1 - np.sqrt(2) * x * dawsn(x / np.sqrt(2))) / (np.sqrt(2) * dawsn(x / np.sqrt(2)))
    return np.where(np.abs(y) > 1e-4, exact - 1 / x, -2 * y / 3)


def normal_log_density(y: Any, tau: float) -> Any:
    """Log marginal density of y = b + N(0, 1) noise, b normal with standard deviation tau."""
    variance = 1 + tau**2
    return -0.5 * (np.log(2 * np.pi * variance) + np.asarray(y, float) ** 2 / variance)


def acceptance(
    b: np.ndarray, log_density: Callable[[Any], Any], alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Per mean b the interval of observations, of probability 1 - alpha, that a prior finds likely.

    ``[b - z(1 - alpha w), b + z(1 - alpha (1 - w))]`` with w such that the ratio of marginal to
    likelihood is equal at both ends; w by bisection on the log-odds scale.
    """

    def ends(log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low = ndtri_exp(np.log(alpha) - np.logaddexp(0, -log_odds))
        high = -ndtri_exp(np.log(alpha) - np.logaddexp(0, log_odds))
        return b + low, b + high

    def excess(log_odds: np.ndarray) -> np.ndarray:
        low, high = ends(log_odds)
        return (log_density(low) + (low - b) ** 2 / 2) - (log_density(high) + (high - b) ** 2 / 2)

    left, right = np.full(b.shape, -700.0), np.full(b.shape, 700.0)
    for _ in range(70):
        middle = (left + right) / 2
        positive = excess(middle) > 0  # the lower end is too cheap: give the lower tail more
        left, right = np.where(positive, middle, left), np.where(positive, right, middle)
    return ends((left + right) / 2)


def _prior(prior: str | tuple[Any, ...]) -> Callable[[Any], Any]:
    if prior == "horseshoe":
        return horseshoe_log_density
    if isinstance(prior, tuple) and prior[0] == "normal" and len(prior) == 2 and prior[1] > 0:
        tau = float(prior[1])
        return lambda y: normal_log_density(y, tau)
    raise MethodError(f"prior {prior!r} is not known; give 'horseshoe' or ('normal', tau).")


@lru_cache(maxsize=32)
def _table(prior: str | tuple[Any, ...], alpha: float, reach: float) -> tuple[np.ndarray, ...]:
    b = np.linspace(-reach, reach, 2 * int(min(4000 * max(reach / 14, 1.0), 200_000)) + 1)
    return (b, *acceptance(b, _prior(prior), alpha))


def region(y: Any, prior: str | tuple[Any, ...], alpha: Any) -> np.ndarray:
    """Pieces (k, 2) of the confidence region of b, given y = b + N(0, 1) noise.

    Args:
        y: observation in units of its standard error.
        prior: ``"horseshoe"`` or ``("normal", tau)``.
        alpha: error rate, exact at every b.

    Raises:
        MethodError: an unknown prior.
        ConvergenceError: a region that does not end within a million standard errors.
    """
    _prior(prior)
    alpha = as_level(alpha)
    check_entries("y", np.asarray(y, float), finite=True)
    if prior == "horseshoe" and abs(y) > _FAR:
        z = -ndtri(alpha / 2)
        return np.array([[y - z, y + z]])
    spread = 14.0 if prior == "horseshoe" else float(2 ** np.ceil(np.log2(2 * abs(y) + 12)))
    while True:
        b, low, high = _table(prior, float(alpha), spread)
        inside = np.minimum(y - low, high - y)  # positive inside
        if max(inside[0], inside[-1]) < 0:
            break
        if spread > 1e6:
            raise ConvergenceError(
                f"the region of y={y:g} with prior {prior!r} at alpha={alpha:g} does not end: the "
                "observation contradicts the prior. Use the horseshoe, or a wider prior."
            )
        spread *= 2  # the smaller alpha, the farther away it ends
    edges = np.flatnonzero((inside[:-1] >= 0) != (inside[1:] >= 0))
    weight = inside[edges] / (inside[edges] - inside[edges + 1])
    points = b[edges] + weight * (b[edges + 1] - b[edges])
    return points.reshape(-1, 2)
