"""Jackknife+ at the price of one fit, for linear smoothers."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.conformal.regression.cross import PLUS, plus_interval, plus_intervals
from probinf.conformal.sets.intervals import Interval
from probinf.core.inputs.arrays import ArrayLike, Level, Number, as_float
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class Smoother:
    """Predictions that are linear in y: ``mu(x) = g(x) y``, with what one more point would do.

    Attributes:
        fitted_residuals: (n,) y_i - mu(x_i).
        complement: (n,) 1 - h_ii, one minus the leverage.
        mean: (m,) predictions at the test points.
        left, right: (m, r) and (r, n); row j of their product is g(x_j), the weights of y, and
            also the hat matrix's cross terms that adding test point j would create, times ``own``.
        own: (m,) the factor that adding the test point brings (1 + c, or s / lambda).
    """

    fitted_residuals: np.ndarray
    complement: np.ndarray
    mean: np.ndarray
    left: np.ndarray
    right: np.ndarray
    own: np.ndarray

    @property
    def left_out(self) -> np.ndarray:
        """(n,) leave-one-out residuals y_i - mu_{-i}(x_i)."""
        return self.fitted_residuals / self.complement


def ridge_smoother(
    X: ArrayLike, y: ArrayLike, X_test: ArrayLike, *, ridge: Number, intercept: bool
) -> Smoother:
    """Ridge regression, ``|y - Xb|^2 + ridge |b|^2``; the intercept is not penalised."""
    x = np.asarray(as_float("X", X, ndim=2), float)
    t = np.asarray(as_float("X_test", X_test, ndim=2), float)
    target = np.asarray(as_float("y", y, ndim=1, size=len(x)), float)
    if t.shape[1] != x.shape[1]:
        raise ArrayError(f"X_test must have {x.shape[1]} columns, got {t.shape[1]}.")
    if not ridge >= 0:
        raise ArrayError(f"ridge must be at least 0, got {ridge}.")
    penalty = np.full(x.shape[1], float(ridge))
    if intercept:
        x, t = (np.column_stack([a, np.ones(len(a))]) for a in (x, t))
        penalty = np.append(penalty, 0.0)
    gram = x.T @ x + np.diag(penalty)
    if np.linalg.cond(gram) > 1e13:
        raise ArrayError("X has collinear columns (or n < d) and ridge is 0; pass ridge > 0.")
    inverse = np.linalg.inv(gram)
    beta = inverse @ (x.T @ target)
    half = t @ inverse
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    own = 1 + np.einsum("ij,ij->i", half, t)
    return _smoother(target - x @ beta, 1 - leverage, t @ beta, half, x.T, own)


def kernel_smoother(
    kernel: ArrayLike,
    y: ArrayLike,
    kernel_test: ArrayLike,
    kernel_diagonal: ArrayLike,
    *,
    noise: Number,
) -> Smoother:
    """Kernel ridge or a Gaussian process's mean with noise variance ``noise``."""
    gram = np.asarray(as_float("kernel", kernel, ndim=2), float)
    target = np.asarray(as_float("y", y, ndim=1, size=len(gram)), float)
    cross = np.asarray(as_float("kernel_test", kernel_test, ndim=2), float)
    diagonal = np.asarray(as_float("kernel_diagonal", kernel_diagonal, ndim=1), float)
    n, m = target.size, diagonal.size
    if gram.shape != (n, n) or cross.shape != (n, m):
        raise ArrayError(
            f"kernel must be ({n}, {n}) and kernel_test ({n}, {m}), got {gram.shape} and "
            f"{cross.shape}."
        )
    if not noise > 0:
        raise ArrayError(f"noise must be positive, got {noise}.")
    inverse = np.linalg.inv(gram + noise * np.eye(n))
    weights = inverse @ cross
    own = (diagonal + noise - np.einsum("ij,ij->j", cross, weights)) / noise
    alpha = inverse @ target
    complement = noise * np.diag(inverse)
    return _smoother(noise * alpha, complement, weights.T @ target, cross.T, inverse, own)


def _smoother(residuals, complement, mean, left, right, own) -> Smoother:  # type: ignore[no-untyped-def]
    if (complement < 1e-10).any():
        raise ArrayError(
            f"{int((complement < 1e-10).sum())} points have leverage one: without them the fit is "
            "undefined. Use a larger ridge, or drop columns that single points own."
        )
    return Smoother(residuals, complement, mean, left, right, own)


def _plus(smoother: Smoother, alpha: Level) -> Interval:
    left_out = smoother.left_out
    scaled = smoother.right * left_out

    def predictions(block: slice) -> np.ndarray:
        return smoother.mean[block, None] - smoother.left[block] @ scaled

    lower, upper = plus_intervals(predictions, abs(left_out), smoother.mean.size, alpha)
    return plus_interval(lower, upper, alpha, PLUS, left_out.size)


def jackknife_plus_ridge(
    X: ArrayLike,
    y: ArrayLike,
    X_test: ArrayLike,
    *,
    ridge: Number = 0.0,
    intercept: bool = True,
    alpha: Level = 0.1,
) -> Interval:
    """Exact jackknife+ intervals of ridge (or ordinary) regression from a single fit.

    Args:
        X: (n, d) covariates.
        y: (n,) outcomes.
        X_test: (m, d).
        ridge: penalty on the squared coefficients, 0 for least squares.
        intercept: add an unpenalised one.
        alpha: miscoverage, scalar or (A,).

    Raises:
        ArrayError: NaN, shapes that differ, collinear columns without ridge.

    Source: Barber et al. (2021), equation 4, with the leave-one-out identity of linear smoothers.
    """
    return _plus(ridge_smoother(X, y, X_test, ridge=ridge, intercept=intercept), alpha)


def jackknife_plus_kernel(
    kernel: ArrayLike,
    y: ArrayLike,
    kernel_test: ArrayLike,
    kernel_diagonal: ArrayLike,
    *,
    noise: Number,
    alpha: Level = 0.1,
) -> Interval:
    """Exact jackknife+ intervals of kernel ridge or a Gaussian process from a single fit.

    Args:
        kernel: (n, n) kernel matrix of the training points.
        y: (n,) outcomes, centred.
        kernel_test: (n, m) between training and test points.
        kernel_diagonal: (m,) k(x, x) at the test points.
        noise: noise variance, or the ridge penalty.
        alpha: miscoverage, scalar or (A,).
    """
    return _plus(kernel_smoother(kernel, y, kernel_test, kernel_diagonal, noise=noise), alpha)
