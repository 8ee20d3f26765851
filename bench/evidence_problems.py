"""Likelihoods with known evidence, for JAX and for NumPy alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.scipy.special
import numpy as np
import scipy.special
from scipy.stats import multivariate_normal


class Problem(NamedTuple):
    """A likelihood on a box with a uniform prior, and its log evidence.

    ``log_likelihood(x, xp)`` takes points (..., size) of the array module ``xp``.
    """

    log_likelihood: Callable[..., Any]
    low: float
    high: float
    size: int
    log_evidence: float


def eggbox(x: Any, xp: Any = jnp) -> Any:
    return (2 + xp.cos(x[..., 0] / 2) * xp.cos(x[..., 1] / 2)) ** 5


def _first(x: Any, places: int, value: float) -> np.ndarray:
    middle = np.zeros(x.shape[-1], np.float32 if x.dtype == np.float32 else np.float64)
    middle[:places] = value
    return middle


def shells(x: Any, xp: Any = jnp) -> Any:
    def one(sign: float) -> Any:
        radius = xp.sqrt(((x - _first(x, 1, 3.5 * sign)) ** 2).sum(-1))
        return -0.5 * ((radius - 2) / 0.1) ** 2 - np.log(0.1 * np.sqrt(2 * np.pi))

    return xp.logaddexp(one(1.0), one(-1.0))


def correlated(x: Any, xp: Any = jnp) -> Any:
    d = x.shape[-1]
    # covariance 0.05 I + 0.95: inverse and determinant in closed form
    square = ((x**2).sum(-1) - 0.95 * x.sum(-1) ** 2 / (0.05 + 0.95 * d)) / 0.05
    log_det = (d - 1) * np.log(0.05) + np.log(0.05 + 0.95 * d)
    return -0.5 * (square + log_det + d * np.log(2 * np.pi))


def spike_slab(x: Any, xp: Any = jnp) -> Any:
    d = x.shape[-1]

    def one(place: float, variance: float) -> Any:
        square = ((x - _first(x, 2, place)) ** 2).sum(-1) / variance
        return -0.5 * (square + d * np.log(2 * np.pi * variance))

    return xp.logaddexp(one(6.0, 0.08), one(2.5, 0.8))


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return (x / x.std(0)).astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)


_X, _Y = _diabetes()
_NOISE = 0.7


def regression(u: Any, xp: Any = jnp) -> Any:
    """Diabetes on its ten columns, coefficients N(0, 1) a priori: the quantiles ``u``."""
    quantile = scipy.special.ndtri if xp is np else jax.scipy.special.ndtri
    rest = (_Y - quantile(u) @ _X.T) / _NOISE
    return -0.5 * (rest**2).sum(-1) - _Y.size * np.log(_NOISE * np.sqrt(2 * np.pi))


def _regression_evidence() -> float:
    covariance = _NOISE**2 * np.eye(_Y.size) + _X.astype(float) @ _X.T.astype(float)
    return float(multivariate_normal.logpdf(_Y.astype(float), np.zeros(_Y.size), covariance))


PROBLEMS = {
    "eggbox 2": Problem(eggbox, 0.0, 10 * np.pi, 2, 235.8559),
    "shells 2": Problem(shells, -6.0, 6.0, 2, -1.7456),
    "shells 5": Problem(shells, -6.0, 6.0, 5, -5.6736),
    "shells 10": Problem(shells, -6.0, 6.0, 10, -14.5905),
    "correlated 5": Problem(correlated, -10.0, 10.0, 5, -5 * np.log(20)),
    "correlated 10": Problem(correlated, -10.0, 10.0, 10, -10 * np.log(20)),
    "correlated 20": Problem(correlated, -10.0, 10.0, 20, -20 * np.log(20)),
    "spike-slab 10": Problem(spike_slab, -4.0, 8.0, 10, -24.1559),
    "regression 10": Problem(regression, 0.0, 1.0, 10, _regression_evidence()),
}
