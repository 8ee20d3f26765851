"""Fractional Brownian motion by quadrature and by a Cholesky root: exact, for a few times."""

from __future__ import annotations

import numpy as np
from scipy import integrate
from scipy.special import gamma
from scipy.stats import multivariate_normal


def covariance(times: np.ndarray, hurst: float, *, increments: bool = False) -> np.ndarray:
    """Of the Riemann-Liouville process at ``times``, or of its increments between them."""
    a = hurst + 0.5

    def shared(one: float, two: float) -> float:
        early, late = min(one, two), max(one, two)
        # u = (early - s)^a takes the singularity away
        inner = lambda u: (late - early + u ** (1 / a)) ** (a - 1) / a  # noqa: E731
        return float(integrate.quad(inner, 0, early**a, epsabs=1e-12, limit=200)[0])

    found = np.array([[shared(s, t) for t in times] for s in times]) / gamma(a) ** 2
    if not increments:
        return found
    apart = np.diff(np.eye(len(times)), axis=0)
    return np.asarray(apart @ found @ apart.T)


def log_density(y: np.ndarray, cov: np.ndarray, *, loc: float, scale: float, error: float) -> float:
    """Of ``loc + scale * process + error * noise``."""
    own = scale**2 * cov + error**2 * np.eye(len(cov))
    return float(multivariate_normal(np.full(len(y), loc), own).logpdf(y))
