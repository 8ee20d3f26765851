"""Intervals for the next value of one or many time series, around any regressor of lags."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from probinf.conformal.online.errors_ahead import ForeseenErrors, RecentErrors, TrackedErrors
from probinf.conformal.online.spci import lagged
from probinf.conformal.online.track import OnlineMethod
from probinf.conformal.sets.intervals import Interval
from probinf.core.inputs.arrays import as_float
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least, inside
from probinf.core.rounding import beyond
from probinf.errors import ArrayError, CalibrationError, MethodError


class SeriesRegressor(MetaEstimatorMixin, BaseEstimator):
    """Intervals for the next value of time series, which learn from every value that comes.

    A regressor of the last ``lags`` values (and of features known beforehand) is fitted to the
    first part of each series. Its errors one step ahead in the rest, which it has not seen, start
    the calibration; every later value that `update` tells moves it on. What is promised depends on
    the method: `Interval.guarantee` says it.

    Args:
        estimator: a regressor; linear regression by default.
        lags: values before each step from which it is predicted.
        method: ``"spci"``, the shortest interval of the next error as a forest foresees it from the
            last ones; ``"enbpi"``, the shortest interval of recent errors; or an online method such
            as ``ACI()``, which adapts a symmetric interval so that its long-run coverage holds on
            any sequence.
        alpha: miscoverage.
        calibration_size: share of the training period set aside for the first errors.
        window: errors that are remembered; all of the first errors where it is None.
        pooled: one regressor of all series, or one of each. Errors are never pooled.
        error_lags: errors from which ``"spci"`` foresees the next one.
        refit: steps after which ``"spci"`` grows its forest anew.
        random_state: seed of the forests.

    After ``fit``: ``estimators_``, one of all or of each series, and ``residuals_`` (S, w), the
    signed errors in order of time that calibration began with.

    Source: Xu & Xie (2021, 2023) for ``"enbpi"`` and ``"spci"``; Gibbs & Candès (2021) for `ACI`.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        lags: Any = 12,
        method: Any = "spci",
        alpha: Any = 0.1,
        calibration_size: Any = 0.4,
        window: Any = None,
        pooled: Any = True,
        error_lags: Any = 10,
        refit: Any = 10,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.lags = lags
        self.method = method
        self.alpha = alpha
        self.calibration_size = calibration_size
        self.window = window
        self.pooled = pooled
        self.error_lags = error_lags
        self.refit = refit
        self.random_state = random_state

    def fit(self, y: Any, X: Any = None) -> SeriesRegressor:
        """Fit the regressor to the first part of the series, and calibrate on the rest.

        Args:
            y: (T,) or (S, T) values in order of time, of one or several series.
            X: (T, p) or (S, T, p) features of each step that are known before its value.

        Raises:
            ArrayError: missing values, shapes that differ.
            CalibrationError: series too short to learn from and to calibrate on.
            LevelError: alpha outside (0, 1).
            MethodError: no such method.
        """
        self._check()
        self.__dict__.pop("errors_", None)  # of an earlier fit, which had features of its own
        values, features = self._read(y, X)
        T = values.shape[1]
        count = T - int(self.lags)
        held = round(float(self.calibration_size) * count)
        if held < 2 or count - held < 2:
            raise CalibrationError(
                f"series of {T} values with lags={self.lags} leave {max(count - held, 0)} to learn "
                f"from and {max(held, 0)} to calibrate on; give longer series or fewer lags."
            )
        rows = self._rows(values[:, :-1], None if features is None else features[:, self.lags :])
        targets = values[:, self.lags :]
        base = LinearRegression() if self.estimator is None else self.estimator
        past = count - held
        if self.pooled:
            learned = rows[:, :past].reshape(-1, rows.shape[2]), targets[:, :past].ravel()
            self.estimators_ = [clone(base).fit(*learned)]
        else:
            self.estimators_ = [
                clone(base).fit(x[:past], t[:past]) for x, t in zip(rows, targets, strict=True)
            ]
        later = [self._predicted(rows[:, past + t]) for t in range(held)]
        self.residuals_ = targets[:, past:] - np.stack(later, axis=1)
        self._extra = 0 if features is None else features.shape[2]
        self._recent = values[:, T - int(self.lags) :]
        self.errors_ = self._calibrated(self.residuals_)
        return self

    def _calibrated(self, errors: np.ndarray) -> Any:
        level = fraction("alpha", self.alpha)
        if self.window is not None:
            errors = errors[:, -int(self.window) :]
        if isinstance(self.method, OnlineMethod):
            return TrackedErrors(errors, level, self.method)
        if self.method == "enbpi":
            return RecentErrors(errors, level)
        lags, refit = int(self.error_lags), int(self.refit)
        return ForeseenErrors(errors, level, lags=lags, refit=refit, seed=self.random_state)

    def predict(self, X: Any = None) -> np.ndarray:
        """(S,) predictions of the next value of every series.

        Args:
            X: (p,) or (S, p) features of the next step, if and only if ``fit`` had some.
        """
        self._need()
        return self._predicted(self._rows(self._recent, self._next(X))[:, -1])

    def predict_interval(self, X: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (S,) of the next value, and intervals (S, 2, 1), one of each series.

        Args:
            X: as in :meth:`predict`.
        """
        mu = self.predict(X)
        low, high = self.errors_.ends().T
        return mu, np.stack([beyond(mu, low, -1), beyond(mu, high, 1)], axis=1)[:, :, None]

    def update(self, y: Any, X: Any = None) -> SeriesRegressor:
        """Take in the values that came, and move on to the next step.

        Args:
            y: a number, or (S,) one value of every series.
            X: (p,) or (S, p) features of that step, as given to `predict_interval`.
        """
        now = np.asarray(as_float("y", np.atleast_1d(y), ndim=1, size=self._need(), finite=True))
        error = now - self.predict(X)
        self.errors_.update(error)
        self._recent = np.column_stack([self._recent, now])[:, 1:]
        return self

    def follow(self, y: Any, X: Any = None) -> Interval:
        """Intervals of a stretch of values, each made before its value is told.

        The same as `predict_interval` and `update`, step by step, and like these it moves on.

        Args:
            y: (T,) or (S, T) the values that came after those of ``fit`` (and `update`).
            X: (T, p) or (S, T, p) their features, if and only if ``fit`` had some.

        Returns:
            Intervals, shaped as ``y``.
        """
        count = self._need()
        values, features = self._read(y, X)
        if len(values) != count:
            raise ArrayError(f"y holds {len(values)} series; {count} were fitted.")
        found = np.empty((*values.shape, 2))
        for t in range(values.shape[1]):
            now = None if features is None else features[:, t]
            found[:, t] = self.predict_interval(now)[1][:, :, 0]
            self.update(values[:, t], now)
        low, high = (found[..., j].reshape(np.shape(y)) for j in (0, 1))
        return Interval(low, high, float(self.alpha), self.errors_.promise())

    def _check(self) -> None:
        at_least(1, lags=self.lags, refit=self.refit)
        fraction("alpha", self.alpha)
        inside(0, 1, calibration_size=self.calibration_size)
        if self.window is not None:
            at_least(2, window=self.window)
        if not (isinstance(self.method, OnlineMethod) or self.method in ("spci", "enbpi")):
            raise MethodError(
                f"method must be 'spci', 'enbpi' or an object such as ACI(), got {self.method!r}."
            )

    def _need(self) -> int:
        """How many series were fitted."""
        if not hasattr(self, "errors_"):
            raise NotFittedError("SeriesRegressor is not fitted: call fit(y) with past values.")
        return len(self._recent)

    def _read(self, y: Any, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (S, T) and features (S, T, p), checked."""
        values = np.asarray(as_float("y", y, ndim=(1, 2), finite=True), float)
        if X is None:
            self._same(0)
            return np.atleast_2d(values), None
        features = np.asarray(as_float("X", X, ndim=values.ndim + 1, finite=True), float)
        if features.shape[:-1] != values.shape:
            raise ArrayError(f"y has shape {values.shape}, so X must be {(*values.shape, 'p')}.")
        features = features.reshape(-1, values.shape[-1], features.shape[-1])
        self._same(features.shape[-1])
        return np.atleast_2d(values), features

    def _same(self, count: int) -> None:
        """Refuse another number of features than fit had."""
        if hasattr(self, "errors_") and count != self._extra:
            raise ArrayError(f"X has {count} feature(s) for each step; fit had {self._extra}.")

    def _next(self, X: Any) -> np.ndarray | None:
        """(S, 1, p) features of the next step."""
        if X is None:
            self._same(0)
            return None
        features = np.asarray(as_float("X", X, ndim=(1, 2), finite=True), float)
        count = self._need()
        if features.ndim == 1:
            features = np.tile(features, (count, 1))
        if len(features) != count:
            raise ArrayError(f"X has {len(features)} rows for {count} series.")
        self._same(features.shape[1])
        return features[:, None]

    def _rows(self, values: np.ndarray, features: np.ndarray | None) -> np.ndarray:
        """(S, steps, lags + p) what each step is predicted from; lags in order of time."""
        lags = np.stack([lagged(series, int(self.lags)) for series in values])
        return lags if features is None else np.concatenate([lags, features], axis=2)

    def _predicted(self, rows: np.ndarray) -> np.ndarray:
        """(S,) predictions of one step from rows (S, lags + p)."""
        if self.pooled:
            return np.asarray(self.estimators_[0].predict(rows), float)
        found = [m.predict(r[None])[0] for m, r in zip(self.estimators_, rows, strict=True)]
        return np.asarray(found, float)
