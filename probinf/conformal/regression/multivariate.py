"""Several outcomes at once: boxes, ellipsoids, copula boxes, and balls around samples."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.sets.reporting import check_columns, check_test, too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.core.rounding import beyond
from probinf.errors import ArrayError

JOINT = ">= 1-alpha for all outcomes jointly, exchangeable data"


@dataclasses.dataclass(frozen=True)
class Box:
    """Boxes around multivariate outcomes.

    Attributes:
        lower: (m, p).
        upper: (m, p).
        alpha: miscoverage of the whole box.
        guarantee: what is promised.
    """

    lower: np.ndarray
    upper: np.ndarray
    alpha: float
    guarantee: str = JOINT

    def contains(self, y: ArrayLike) -> np.ndarray:
        """(m,) whether the whole outcome lies in its box."""
        value = np.asarray(as_float("y", y, ndim=2, size=len(self.lower)), float)
        check_columns("y", value, self.lower.shape[1])
        return np.asarray(((self.lower <= value) & (value <= self.upper)).all(axis=1))

    def volume(self) -> np.ndarray:
        """(m,) volumes."""
        return np.asarray(np.maximum(self.upper - self.lower, 0.0).prod(axis=1))


@dataclasses.dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoids ``|whiten(x)(y - mu)| <= radius``.

    Attributes:
        centre: (m, p).
        whiten: (m, p, p), a matrix square root of the inverse covariance.
        radius: threshold of the norm.
        alpha: miscoverage.
        guarantee: what is promised.
    """

    centre: np.ndarray
    whiten: np.ndarray
    radius: float
    alpha: float
    guarantee: str = JOINT

    def contains(self, y: ArrayLike) -> np.ndarray:
        """(m,) whether each outcome lies in its ellipsoid."""
        value = np.asarray(as_float("y", y, ndim=2, size=len(self.centre)), float)
        check_columns("y", value, self.centre.shape[1])
        z = np.einsum("ijk,ik->ij", self.whiten, value - self.centre)
        return np.asarray(np.linalg.norm(z, axis=1) <= self.radius)

    def volume(self) -> np.ndarray:
        """(m,) volumes."""
        from scipy.special import gammaln

        p = self.centre.shape[1]
        unit = p / 2 * np.log(np.pi) - gammaln(p / 2 + 1)
        determinant = np.linalg.slogdet(self.whiten)[1]
        return np.asarray(np.exp(unit + p * np.log(self.radius) - determinant))


@dataclasses.dataclass(frozen=True)
class SampleBalls:
    """Unions of balls around draws: ``min_l |y - y_l(x)| <= radius``.

    Attributes:
        draws: (m, L, p).
        radius: threshold of the distance.
        alpha: miscoverage.
        guarantee: what is promised.
    """

    draws: np.ndarray
    radius: float
    alpha: float
    guarantee: str = JOINT

    def contains(self, y: ArrayLike) -> np.ndarray:
        """(m,) whether each outcome lies near one of its draws."""
        return np.asarray(sample_distance(self.draws, y) <= self.radius)


def _matrix(name: str, values: Any) -> np.ndarray:
    return np.asarray(as_float(name, values, ndim=2), float)


def _threshold(scores: np.ndarray, alpha: Number) -> tuple[float, float]:
    level = fraction("alpha", alpha)
    q = float(order_stat(scores, upper_rank(scores.size, level)))
    warn_infinite(q, too_few(scores.size, level))
    return q, level


def box(
    pred_cal: ArrayLike,
    y_cal: ArrayLike,
    pred_test: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    scale_cal: ArrayLike | None = None,
    scale_test: ArrayLike | None = None,
    alpha: Number = 0.1,
) -> Box:
    """Boxes ``mu_j +- q sigma_j`` from the score ``max_j |y_j - mu_j| / sigma_j``.

    Args:
        pred_cal, y_cal: (n, p) predictions and outcomes.
        pred_test: (m, p).
        scale: (p,) fixed scale of each outcome, from other data; ones by default.
        scale_cal, scale_test: (n, p) and (m, p) scales that vary with x, in place of ``scale``.
        alpha: miscoverage of the whole box.

    Raises:
        ArrayError: NaN, shapes that differ, scales that are not positive or for one side only.

    Source: Diquigiovanni, Fontana & Vantini (2022), in finite dimension.
    """
    mu, t, y = _matrix("pred_cal", pred_cal), _matrix("pred_test", pred_test), _matrix("y", y_cal)
    check_test("y_cal", len(y), len(mu))
    check_columns("pred_test", t, mu.shape[1])
    check_columns("y_cal", y, mu.shape[1])
    s_cal, s_test = _scales(scale, scale_cal, scale_test, mu.shape, t.shape)
    q, level = _threshold((abs(y - mu) / s_cal).max(axis=1), alpha)
    return Box(beyond(t, -q * s_test, -1), beyond(t, q * s_test, 1), level)


def _scales(
    fixed: Any, cal: Any, test: Any, shape: tuple[int, int], shape_test: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Scales (n, p) and (m, p): of the points on both sides, or one per outcome."""
    if (cal is None) != (test is None):
        raise ArrayError(
            "scale_cal and scale_test go together: a threshold in units of one is none of the "
            "other; give both or neither."
        )
    if fixed is not None and cal is not None:
        raise ArrayError("give scale, or scale_cal and scale_test, not both.")
    p = shape[1]
    wanted: tuple[tuple[int, ...], ...]
    if cal is None:
        cal = test = np.ones(p) if fixed is None else np.asarray(as_float("scale", fixed), float)
        names, wanted = ("scale", "scale"), ((p,), (p,))
    else:
        cal, test = _matrix("scale_cal", cal), _matrix("scale_test", test)
        names, wanted = ("scale_cal", "scale_test"), (shape, shape_test)
    for name, value, right in zip(names, (cal, test), wanted, strict=True):
        if value.shape != right:
            raise ArrayError(f"{name} must have shape {right}, got {value.shape}.")
        if value.size and not value.min() > 0:
            raise ArrayError(
                f"scales must be positive; the smallest of {name} is {value.min():.3g}."
            )
    return np.broadcast_to(cal, shape), np.broadcast_to(test, shape_test)


def ellipsoid(
    pred_cal: ArrayLike,
    y_cal: ArrayLike,
    pred_test: ArrayLike,
    covariance_cal: ArrayLike,
    covariance_test: ArrayLike,
    *,
    alpha: Number = 0.1,
) -> Ellipsoid:
    """Ellipsoids from the Mahalanobis distance, with covariances that may vary with x.

    Args:
        pred_cal, y_cal: (n, p).
        pred_test: (m, p).
        covariance_cal, covariance_test: both (p, p), or (n, p, p) and (m, p, p); from other data.
        alpha: miscoverage.

    Source: Johnstone & Cox (2021); Messoudi, Destercke & Rousseau (2022).
    """
    mu, t, y = _matrix("pred_cal", pred_cal), _matrix("pred_test", pred_test), _matrix("y", y_cal)
    p = mu.shape[1]
    check_test("y_cal", len(y), len(mu))
    check_columns("pred_test", t, p)
    check_columns("y_cal", y, p)

    if np.ndim(covariance_cal) != np.ndim(covariance_test):
        raise ArrayError(
            f"covariance_cal has shape {np.shape(covariance_cal)} and covariance_test "
            f"{np.shape(covariance_test)}: the threshold belongs to one kind of covariance, so "
            "give both of one matrix or both of one per point."
        )

    def whiten(name: str, value: Any, rows: int) -> np.ndarray:
        matrix = np.asarray(as_float(name, value), float)
        if matrix.shape not in ((p, p), (rows, p, p)):
            raise ArrayError(
                f"{name} must be ({p}, {p}) or ({rows}, {p}, {p}), got {matrix.shape}."
            )
        try:
            root = np.linalg.inv(np.linalg.cholesky(matrix))
            return np.broadcast_to(root, (rows, p, p))
        except np.linalg.LinAlgError:
            raise ArrayError(f"{name} must be positive definite.") from None

    z = np.einsum("ijk,ik->ij", whiten("covariance_cal", covariance_cal, len(mu)), y - mu)
    q, level = _threshold(np.linalg.norm(z, axis=1), alpha)
    return Ellipsoid(t, whiten("covariance_test", covariance_test, len(t)), q, level)


def copula_box(
    residuals_fit: ArrayLike,
    pred_cal: ArrayLike,
    y_cal: ArrayLike,
    pred_test: ArrayLike,
    *,
    alpha: Number = 0.1,
) -> Box:
    """Boxes whose sides have equal marginal levels, chosen by the dependence of the errors.

    Args:
        residuals_fit: (n0, p) residuals that estimate each side's distribution, other data than
            the calibration points.
        pred_cal, y_cal: (n, p).
        pred_test: (m, p).
        alpha: miscoverage of the whole box.

    Source: Messoudi, Destercke & Rousseau (2021), empirical copula, with a second split.
    """
    r0 = np.sort(abs(_matrix("residuals_fit", residuals_fit)), axis=0)
    mu, t, y = _matrix("pred_cal", pred_cal), _matrix("pred_test", pred_test), _matrix("y", y_cal)
    check_test("y_cal", len(y), len(mu))
    for name, value in (("pred_cal", mu), ("y_cal", y), ("pred_test", t)):
        check_columns(name, value, r0.shape[1])
    columns = range(r0.shape[1])
    levels = np.stack([np.searchsorted(r0[:, j], abs(y - mu)[:, j], "left") for j in columns], 1)
    q, level = _threshold(levels.max(axis=1).astype(float), alpha)
    padded = np.vstack([r0, np.full(r0.shape[1], np.inf)])
    side = padded[int(min(q, len(r0)))]
    warn_infinite(side, "residuals_fit has too few points for these errors.")
    return Box(beyond(t, -side, -1), beyond(t, side, 1), level)


def sample_distance(draws: ArrayLike, y: ArrayLike) -> np.ndarray:
    """(n,) distance of each outcome (n, p) from the nearest of its draws (n, L, p)."""
    d = np.asarray(as_float("draws", draws, ndim=3), float)
    value = np.asarray(as_float("y", y, ndim=2, size=len(d)), float)
    check_columns("y", value, d.shape[2])
    return np.asarray(np.linalg.norm(d - value[:, None], axis=2).min(axis=1))


def sample_balls(
    draws_cal: ArrayLike, y_cal: ArrayLike, draws_test: ArrayLike, *, alpha: Number = 0.1
) -> SampleBalls:
    """Unions of balls around draws of any generative model (PCP): sets of any shape.

    Args:
        draws_cal: (n, L, p) draws of the outcome at each calibration point.
        y_cal: (n, p).
        draws_test: (m, L, p).
        alpha: miscoverage.

    Source: Wang, Gao, Yin, Zhou & Blei (2023), algorithm 1.
    """
    q, level = _threshold(sample_distance(draws_cal, y_cal), alpha)
    return SampleBalls(np.asarray(as_float("draws_test", draws_test, ndim=3), float), q, level)
