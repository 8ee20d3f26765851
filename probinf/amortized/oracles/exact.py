"""Predictives in closed form: processes, conjugate regression, the Kalman filter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.stats import norm
from scipy.stats import t as student

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.limits import positive
from probinf.errors import ArrayError, MethodError

_REMEDY = "leave these rows out"


class Exact(NamedTuple):
    """Independent predictive laws, Student-t or (with infinite degrees) normal.

    Attributes:
        mean: location of each.
        scale: scale of each.
        degrees: of freedom.
    """

    mean: np.ndarray
    scale: np.ndarray
    degrees: float = np.inf

    def log_density(self, y: ArrayLike) -> np.ndarray:
        """Log density at y."""
        z = (np.asarray(y, float) - self.mean) / self.scale
        law = norm if np.isinf(self.degrees) else student(self.degrees)
        return np.asarray(law.logpdf(z) - np.log(self.scale))

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Central interval."""
        law = norm if np.isinf(self.degrees) else student(self.degrees)
        half = self.scale * law.ppf((1 + level) / 2)
        return self.mean - half, self.mean + half


_KERNELS = ("rbf", "matern52", "linear", "arccosine")


def _kernel(
    name: str,
    a: np.ndarray,
    b: np.ndarray,
    lengthscale: float,
    outputscale: float,
    layers: int = 1,
) -> np.ndarray:
    if name == "arccosine":
        a, b = a / lengthscale, b / lengthscale
        norm = np.sqrt(np.outer(1 + np.sum(a**2, -1), 1 + np.sum(b**2, -1)))
        cosine = (1 + a @ b.T) / norm
        for _ in range(layers):
            angle = np.arccos(np.clip(cosine, -1, 1))
            cosine = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
        return outputscale * norm * cosine
    if name == "linear":
        return outputscale * a @ b.T
    square = np.sum((a[:, None] - b[None]) ** 2, -1) / lengthscale**2
    if name == "rbf":
        return outputscale * np.exp(-0.5 * square)
    r = np.sqrt(5 * square)
    return outputscale * (1 + r + r**2 / 3) * np.exp(-r)


def _column(name: str, values: ArrayLike, size: int | None = None) -> np.ndarray:
    """Finite numbers (rows,)."""
    return np.asarray(as_float(name, values, ndim=1, size=size, finite=True, remedy=_REMEDY), float)


def _table(name: str, values: ArrayLike, size: int | None = None) -> np.ndarray:
    """Finite numbers (rows, columns); a vector is the only column."""
    found = as_float(name, values, ndim=(1, 2), size=size, finite=True, remedy=_REMEDY)
    table = np.asarray(found, float)
    return table[:, None] if table.ndim == 1 else table


def _alike(**tables: np.ndarray) -> None:
    """Raise where tables differ in their columns."""
    counts = {name: table.shape[1] for name, table in tables.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ArrayError(f"tables differ in their columns: {told}.")


def check_inverse_gamma(pair: tuple[float, float] | None) -> None:
    """Shape and rate must be positive; None is no law.

    Raises:
        MethodError: they are not, or are not two.
    """
    if pair is None:
        return
    if np.shape(pair) != (2,):
        raise MethodError(f"inverse_gamma must be a pair (shape, rate), got {pair!r}.")
    positive(**{"inverse_gamma's shape": float(pair[0]), "inverse_gamma's rate": float(pair[1])})


def conditioned(
    x: ArrayLike,
    x_new: ArrayLike,
    rows: int,
    kernel: str,
    lengthscale: float,
    outputscale: float,
    noise: float,
    layers: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a process at ``x`` says of it at ``x_new``, noise included in both.

    Returns:
        the Cholesky factor L of the covariance at x; M, of one column per new row, whose mean
        given the values ``L z`` is ``M' z``; and the variances that are left.

    Raises:
        ArrayError: the kernel is unknown, there is no layer, inputs are not finite or differ in
            their rows or columns, or the covariance is singular.
        MethodError: a length or variance is not positive, or the noise negative.
    """
    if kernel not in _KERNELS or layers < 1:
        raise ArrayError(
            f"kernel must be one of {_KERNELS} and layers positive, got {kernel!r}, {layers}."
        )
    positive(lengthscale=float(lengthscale), outputscale=float(outputscale))
    if noise != 0:
        positive(noise=float(noise))
    x, x_new = _table("x", x, rows), _table("x_new", x_new)
    if rows:
        _alike(x=x, x_new=x_new)
    else:
        x = np.zeros((0, x_new.shape[1]))
    options = lengthscale, outputscale, layers
    own = np.array([_kernel(kernel, row, row, *options)[0, 0] for row in x_new[:, None]])
    covariance = _kernel(kernel, x, x, *options) + noise * np.eye(rows)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ArrayError("the covariance of x is singular; increase noise.") from None
    cross = _kernel(kernel, x, x_new, *options)
    explained = scipy.linalg.solve_triangular(factor, cross, lower=True)
    return factor, explained, own + noise - np.sum(explained**2, 0)


def gaussian_process(
    x: ArrayLike,
    y: ArrayLike,
    x_new: ArrayLike,
    *,
    kernel: str = "rbf",
    lengthscale: float = 0.2,
    outputscale: float = 1.0,
    noise: float = 0.01,
    inverse_gamma: tuple[float, float] | None = None,
    layers: int = 1,
) -> Exact:
    """Exact predictive of a Gaussian or Student-t process.

    Args:
        x: inputs, n rows; n may be 0.
        y: outcomes.
        x_new: inputs to predict at.
        kernel: "rbf", "matern52", "linear" or "arccosine", that of an infinitely wide random ReLU
            network with standard normal weights of ``x / lengthscale`` and of a bias.
        lengthscale: in units of x.
        outputscale: variance of the process; of "arccosine" where x is zero.
        noise: variance of the noise.
        inverse_gamma: ``(a, b)`` where process and noise share a variance ~ InverseGamma(a, b):
            the predictive is then a Student-t with 2a + n degrees of freedom.
        layers: hidden layers of the network, for "arccosine".

    Raises:
        ArrayError: the kernel is unknown, there is no layer, data are not finite or differ in
            their rows or columns, or the covariance is singular.
        MethodError: a length, a variance or a parameter of the inverse gamma is not positive, or
            the noise is negative.

    Source: Cho & Saul (2009) for the arc-cosine kernel; Lee, Yun, Yang & Lee (2022), "Scale
    mixtures of neural network Gaussian processes", for the Student-t process over it.
    """
    y = _column("y", y)
    check_inverse_gamma(inverse_gamma)
    factor, explained, variance = conditioned(
        x, x_new, len(y), kernel, lengthscale, outputscale, noise, layers
    )
    white = scipy.linalg.solve_triangular(factor, y, lower=True)
    mean = explained.T @ white
    if inverse_gamma is None:
        return Exact(mean, np.sqrt(variance))
    a, b = inverse_gamma
    n = len(y)
    scale = (b + 0.5 * white @ white) / (a + n / 2)
    return Exact(mean, np.sqrt(scale * variance), 2 * a + n)


def conjugate_regression(
    x: ArrayLike,
    y: ArrayLike,
    x_new: ArrayLike,
    *,
    prior_mean: ArrayLike,
    prior_covariance: ArrayLike,
    a: float,
    b: float,
) -> Exact:
    """Exact predictive of linear regression with a normal-inverse-gamma prior.

    ``beta | s ~ N(m0, s V0)``, ``s ~ InverseGamma(a, b)``, ``y ~ N(x beta, s)``: a Student-t with
    ``2 a_n`` degrees of freedom, location ``x m_n`` and squared scale
    ``b_n / a_n (1 + x V_n x)``.

    Args:
        x: inputs, n rows.
        y: outcomes.
        x_new: inputs to predict at.
        prior_mean: m0.
        prior_covariance: V0.
        a: shape of the variance's prior.
        b: rate of the variance's prior.

    Raises:
        ArrayError: data are not finite, or differ in their rows or columns.
        MethodError: a or b is not positive.
    """
    positive(a=float(a), b=float(b))
    y = _column("y", y)
    x, x_new = _table("x", x, len(y)), _table("x_new", x_new)
    _alike(x=x, x_new=x_new)
    m0, precision = (
        np.asarray(prior_mean, float),
        np.linalg.inv(np.asarray(prior_covariance, float)),
    )
    posterior = np.linalg.inv(precision + x.T @ x)
    mean = posterior @ (precision @ m0 + x.T @ y)
    a_n = a + len(y) / 2
    quadratic = y @ y + m0 @ precision @ m0 - mean @ np.linalg.solve(posterior, mean)
    b_n = b + 0.5 * quadratic
    leverage = np.einsum("ij,jk,ik->i", x_new, posterior, x_new)
    return Exact(x_new @ mean, np.sqrt(b_n / a_n * (1 + leverage)), 2 * a_n)


def kalman_filter(
    y: ArrayLike,
    *,
    transition: ArrayLike,
    process_noise: ArrayLike,
    matrix: ArrayLike,
    noise: ArrayLike,
    mean: ArrayLike,
    covariance: ArrayLike,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Exact filtering means, covariances and log likelihood of a linear Gaussian state space.

    The state law given is that of the first state, before its observation.

    Args:
        y: observations, shape (T, columns).
        transition: F in ``x' = F x + e``.
        process_noise: covariance of e.
        matrix: H in ``y = H x + v``.
        noise: covariance of v.
        mean: of the first state.
        covariance: of the first state.

    Raises:
        ArrayError: an observation is not finite, or has not as many entries as ``matrix`` rows.
    """
    F, Q, H, R = (
        np.atleast_2d(np.asarray(v, float)) for v in (transition, process_noise, matrix, noise)
    )
    m, P = np.asarray(mean, float), np.asarray(covariance, float)
    means, covariances, log_likelihood = [], [], 0.0
    observed = _table("y", y)
    if observed.shape[1] != H.shape[0]:
        raise ArrayError(f"y has {observed.shape[1]} columns, and matrix {H.shape[0]} rows.")
    for k, value in enumerate(observed):
        if k:
            m, P = F @ m, F @ P @ F.T + Q
        S = H @ P @ H.T + R
        gain = np.linalg.solve(S, H @ P).T
        residual = value - H @ m
        log_likelihood += -0.5 * (
            residual @ np.linalg.solve(S, residual) + np.linalg.slogdet(2 * np.pi * S)[1]
        )
        m, P = m + gain @ residual, P - gain @ S @ gain.T
        means.append(m)
        covariances.append(P)
    return np.array(means), np.array(covariances), float(log_likelihood)
