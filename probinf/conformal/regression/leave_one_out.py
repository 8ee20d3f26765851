"""Jackknife+ at the price of one fit, for linear smoothers."""

from __future__ import annotations

import dataclasses

import numpy as np

from probinf.conformal.calibration.columns import columns_of
from probinf.conformal.regression.cross import PLUS, plus_interval, plus_intervals
from probinf.conformal.sets.intervals import Interval
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import Level
from probinf.errors import ArrayError

_COLLINEAR = 1e-11  # smallest singular value of columns in units of their own, beside the largest


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
    def error(self) -> float:
        """How far rounding may move an end of an interval, in the units of y."""
        return float(1e-10 * abs(self.left_out).max(initial=0.0))

    @property
    def left_out(self) -> np.ndarray:
        """(n,) leave-one-out residuals y_i - mu_{-i}(x_i)."""
        return self.fitted_residuals / self.complement


def ridge_smoother(
    X: ArrayLike, y: ArrayLike, X_test: ArrayLike, *, ridge: Number, intercept: bool
) -> Smoother:
    """Ridge regression, ``|y - Xb|^2 + ridge |b|^2``; the intercept is not penalised.

    The columns are centred (beside an intercept) and scaled, the penalty with them, and a QR
    factorisation replaces the normal equations.
    """
    x = np.asarray(as_float("X", X, ndim=2), float)
    t = np.asarray(as_float("X_test", X_test, ndim=2), float)
    target = np.asarray(as_float("y", y, ndim=1, size=len(x)), float)
    if t.shape[1] != x.shape[1]:
        raise ArrayError(f"X_test must have {x.shape[1]} columns, got {t.shape[1]}.")
    if not ridge >= 0:
        raise ArrayError(f"ridge must be at least 0, got {ridge}.")
    units = columns_of(x, centred=intercept)
    x, t = units(x), units(t)
    penalty = np.sqrt(float(ridge)) / units.scale
    level = 0.0
    if intercept and target.size:
        x, t = (np.column_stack([a, np.ones(len(a))]) for a in (x, t))
        penalty = np.append(penalty, 0.0)
        level = float(target.mean())
    root = np.linalg.qr(np.vstack([x, np.diag(penalty)]), mode="r")
    sizes = np.linalg.svd(root, compute_uv=False)
    if len(x) + (ridge > 0) * len(penalty) < x.shape[1] or sizes[-1] <= _COLLINEAR * sizes[0]:
        raise ArrayError(_why_collinear(x, float(ridge), intercept))
    inverse = np.linalg.inv(root)
    left, right = t @ inverse, (x @ inverse).T
    half = right @ (target - level)
    residuals, mean = target - level - right.T @ half, left @ half
    own = 1 + (left**2).sum(axis=1)
    return _smoother(residuals, 1 - (right**2).sum(axis=0), level + mean, left, right, own)


def _why_collinear(x: np.ndarray, ridge: float, intercept: bool) -> str:
    d = x.shape[1] - intercept
    if ridge > 0:
        return f"X has collinear columns, and ridge = {ridge:g} is too small to tell; enlarge it."
    if len(x) < x.shape[1]:
        return f"X has {d} columns and only {len(x)} rows, and ridge is 0; pass ridge > 0."
    constant = np.flatnonzero(abs(x[:, :d]).max(axis=0) <= _COLLINEAR)
    if intercept and constant.size:
        return (
            f"X has collinear columns: column {int(constant[0])} is constant, as the intercept is, "
            "and ridge is 0; drop it, or pass ridge > 0."
        )
    return "X has collinear columns and ridge is 0; drop one, or pass ridge > 0."


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
    lower, upper = lower - smoother.error, upper + smoother.error
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
