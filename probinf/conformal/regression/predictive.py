"""Conformal predictive systems: a calibrated distribution per test point, and its score."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.calibrate import calibrate
from probinf.conformal.calibration.randomness import row_uniforms, uniforms
from probinf.conformal.calibration.ranks import lower_rank, upper_rank
from probinf.conformal.regression.mondrian import MondrianSystem
from probinf.conformal.sets.intervals import Interval, make_interval
from probinf.conformal.sets.reporting import check_test, too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import Level, as_groups, as_levels
from probinf.core.program import Key
from probinf.core.rounding import beyond
from probinf.errors import ArrayError, LevelError


@dataclasses.dataclass(frozen=True)
class PredictiveSystem:
    """Predictive distributions ``mu(x) + sigma(x) * residuals``, one per test point.

    Attributes:
        residuals: (n,) ascending, standardised by sigma when there is one.
        mean: (m,).
        scale: (m,), ones without sigma.
    """

    residuals: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def cdf(self, y: ArrayLike, *, tau: ArrayLike = 0.5) -> np.ndarray:
        """Q(y, tau): (m,) for y (m,), or (m, g) for a grid y (g,) given as (1, g).

        With tau uniform on [0, 1] and y the outcome, the value is exactly uniform.

        Args:
            y: values at which to evaluate.
            tau: between 0 and 1, scalar or (m,).
        """
        value = np.asarray(as_float("y", y), float)
        tau = np.asarray(as_float("tau", tau), float)
        if ((tau < 0) | (tau > 1)).any():
            raise LevelError("tau must lie between 0 and 1.")
        if value.ndim == 2:
            z = (value - self.mean[:, None]) / self.scale[:, None]
            tau = tau[:, None] if tau.ndim else tau
        else:
            z = (value - self.mean) / self.scale
        below = np.searchsorted(self.residuals, z, "left")
        tied = np.searchsorted(self.residuals, z, "right") - below
        return np.asarray((below + tau * (1 + tied)) / (self.residuals.size + 1))

    def pit(self, y: ArrayLike, *, key: int | Key) -> np.ndarray:
        """(m,) exact probability integral transforms of the outcomes, uniform one by one."""
        value = np.asarray(as_float("y", y, ndim=1, size=self.mean.size), float)
        rows = np.column_stack([self.mean, self.scale, value])
        return self.cdf(value, tau=row_uniforms(key, rows))

    def quantile(self, level: ArrayLike) -> np.ndarray:
        """Quantiles (m,) or (m, L): the least y with ``P(Y <= y) >= level``, +inf past the data."""
        levels = np.atleast_1d(np.asarray(as_float("level", level), float))
        as_levels(levels, "level")
        ranks = upper_rank(self.residuals.size, 1 - levels)
        found = np.concatenate([[-np.inf], self.residuals, [np.inf]])[ranks]
        values = np.asarray(beyond(self.mean[:, None], self.scale[:, None] * found, 1))
        return values if np.ndim(level) else values[:, 0]

    def interval(self, alpha: Level) -> Interval:
        """Central intervals, (m,) or (m, A), with alpha / 2 on either side."""
        shares = [a / 2 for a in as_levels(alpha)]
        n = self.residuals.size
        padded = np.concatenate([[-np.inf], self.residuals, [np.inf]])
        mean, scale = self.mean[:, None], self.scale[:, None]
        low = beyond(mean, scale * padded[lower_rank(n, shares)], -1)
        high = beyond(mean, scale * padded[upper_rank(n, shares)], 1)
        warn_infinite(high, too_few(n, shares))
        promise = ">= 1-alpha marginal, exchangeable data (central interval of a predictive system)"
        return make_interval(low, high, alpha, promise)

    def crps(self, y: ArrayLike) -> np.ndarray:
        """(m,) continuous ranked probability scores, closed form, O((n + m) log n).

        Of the distribution that puts 1/n on every calibrated value. Lower is better; the units
        are those of y.

        Source: Gneiting & Raftery (2007), equation 20.
        """
        a, n = self.residuals, self.residuals.size
        value = np.asarray(as_float("y", y, ndim=1, size=self.mean.size), float)
        z = (value - self.mean) / self.scale
        prefix = np.concatenate([[0.0], np.cumsum(a)])
        k = np.searchsorted(a, z, "right")
        distance = (2 * k - n) * z - 2 * prefix[k] + prefix[-1]
        spread = np.sum((2 * np.arange(1, n + 1) - n - 1) * a)
        return np.asarray(self.scale * (distance / n - spread / n**2))

    def sample(self, key: int | Key, draws: int) -> np.ndarray:
        """(m, draws) draws from the calibrated values."""
        u = uniforms(key, self.mean.size * draws).reshape(self.mean.size, draws)
        pick = self.residuals[(u * self.residuals.size).astype(int)]
        return np.asarray(self.mean[:, None] + self.scale[:, None] * pick)


def predictive_system(
    pred_cal: Any,
    y_cal: ArrayLike,
    pred_test: Any,
    *,
    groups_cal: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
) -> Any:
    """Turn point predictions into calibrated predictive distributions.

    Args:
        pred_cal: mu (n,), or (mu, sigma), at points that the model was not fitted to.
        y_cal: (n,) outcomes.
        pred_test: the same form at m test points.
        groups_cal, groups_test: (n,) and (m,) groups known before the outcome (Mondrian), within
            each of which the distributions are then calibrated; bins of the prediction itself, say
            (:func:`mondrian_bins`).

    Returns:
        A :class:`PredictiveSystem`, or with groups a :class:`MondrianSystem`.

    Raises:
        ArrayError: NaN, shapes that differ, sigma that is not positive, no calibration points, in
            one of the groups of the test points even.

    Source: Vovk, Shen, Manokhin & Xie (2019); Vovk et al. (2020), split version.
    """
    if (groups_cal is None) != (groups_test is None):
        raise ArrayError("groups_cal and groups_test go together: give both or neither.")
    same_index(pred_cal=pred_cal, y_cal=y_cal, groups_cal=groups_cal)
    same_index(pred_test=pred_test, groups_test=groups_test)
    mean_cal, scale_cal = _mean_scale("pred_cal", pred_cal)
    mean, scale = _mean_scale("pred_test", pred_test)
    forms = [isinstance(v, tuple | list) and np.ndim(v[0]) > 0 for v in (pred_cal, pred_test)]
    if forms[0] != forms[1]:
        raise ArrayError(
            "pred_cal and pred_test must have one form, mu or (mu, sigma): residuals in units of "
            "sigma mean nothing without it."
        )
    y = np.asarray(as_float("y_cal", y_cal, ndim=1, size=mean_cal.size), float)
    if y.size == 0:
        raise ArrayError("y_cal is empty: a predictive system needs calibration points.")
    errors = (y - mean_cal) / scale_cal
    if groups_cal is None:
        return PredictiveSystem(calibrate(errors).scores, mean, scale)
    mine, theirs = (
        as_groups("groups_cal", groups_cal, y.size),
        as_groups("groups_test", groups_test),
    )
    check_test("groups_test", theirs.size, mean.size)
    new = [name for name in np.unique(theirs) if not (mine == name).any()]
    if new:
        raise ArrayError(
            f"groups_test holds {new[:5]}, of which there is no calibration point: a distribution "
            "needs at least one. Calibrate with points of every group, or merge groups."
        )
    parts, rows = [], []
    for name in np.unique(theirs):
        rows.append(np.flatnonzero(theirs == name))
        cal = calibrate(errors[mine == name])
        parts.append(PredictiveSystem(cal.scores, mean[rows[-1]], scale[rows[-1]]))
    return MondrianSystem(tuple(parts), tuple(rows))


def _mean_scale(name: str, pred: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(pred, tuple | list) or np.ndim(pred[0]) == 0:
        mean = np.asarray(as_float(name, pred, ndim=1), float)
        return mean, np.ones(mean.size)
    mean = np.asarray(as_float(f"{name}: mu", pred[0], ndim=1), float)
    scale = np.asarray(as_float(f"{name}: sigma", pred[1], ndim=1), float)
    check_test(f"{name}: sigma", scale.size, mean.size)
    if (scale <= 0).any():
        raise ArrayError(f"{name}: sigma must be positive, got {scale.min():.3g}.")
    return mean, scale
