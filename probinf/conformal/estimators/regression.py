"""Regressors with prediction intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import QuantileRegressor as LinearQuantile
from sklearn.model_selection import KFold, check_cv, train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from probinf.conformal.calibration.calibrate import calibrate
from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.calibration.split import MARGINAL, split
from probinf.conformal.estimators.data import checked, tags_like
from probinf.conformal.regression.cross import cv_plus, jackknife_minmax
from probinf.conformal.regression.predictive import PredictiveSystem
from probinf.conformal.scores.regression import CQR, Absolute, Normalised
from probinf.conformal.sets.intervals import Interval, make_interval
from probinf.conformal.sets.reporting import too_few, warn_infinite
from probinf.core.inputs.levels import Level
from probinf.errors import MethodError


def stacked(intervals: Interval) -> np.ndarray:
    """(m, 2, A), the layout in which intervals leave the estimators."""
    lower, upper = (
        np.asarray(v if v.ndim == 2 else v[:, None]) for v in (intervals.lower, intervals.upper)
    )
    return np.stack([lower, upper], axis=1)


class _Conformal(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """What the regressors share: the split, and the order of the verbs."""

    def _model(self) -> Any:
        """The regressor to be fitted; linear regression by default."""
        return LinearRegression() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        return tags_like(super().__sklearn_tags__(), self._model())

    def _divide(self, X: Any, y: Any) -> Any:
        size = self.calibration_size
        if size is None:
            return X, None, y, None
        seed = self.random_state
        return train_test_split(X, y, test_size=size, random_state=seed)

    def _need(self, attribute: str) -> None:
        check_is_fitted(self)
        if not hasattr(self, attribute):
            raise NotFittedError(
                f"{type(self).__name__} is fitted but not calibrated: call conformalize(X, y) with "
                "held-out data, or set calibration_size=0.25."
            )

    def predict(self, X: Any) -> np.ndarray:
        """Point predictions (m,)."""
        check_is_fitted(self)
        X = checked(self, X)
        return np.asarray(self.estimator_.predict(X))


class SplitRegressor(_Conformal):
    """Split conformal intervals around any regressor, of one width or of a difficulty's.

    Args:
        estimator: a regressor; linear regression by default.
        difficulty: a regressor of absolute residuals, for intervals whose width follows it; it is
            fitted to the residuals of the training data.
        conformity_score: a score of mu, or of (mu, sigma) when there is a difficulty;
            ``Absolute()`` and ``Normalised()`` by default.
        calibration_size: fraction (or number) of the data set aside by ``fit``; with None call
            ``conformalize`` with data of your own.
        random_state: seed of that split.

    Source: Lei et al. (2018), algorithm 2 and section 5.2.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        difficulty: Any = None,
        conformity_score: Any = None,
        calibration_size: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.difficulty = difficulty
        self.conformity_score = conformity_score
        self.calibration_size = calibration_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Any:
        """Fit the regressor, and calibrate when ``calibration_size`` is set."""
        base = self._model()
        X, y = checked(self, X, y, reset=True, numeric=True)
        fit_x, cal_x, fit_y, cal_y = self._divide(X, y)
        self.estimator_ = clone(base).fit(fit_x, fit_y)
        self.difficulty_ = None
        if self.difficulty is not None:
            rest = abs(fit_y - self.estimator_.predict(fit_x))
            self.floor_ = max(1e-3 * float(np.mean(rest)), 1e-12)
            self.difficulty_ = clone(self.difficulty).fit(fit_x, rest)
        if cal_x is not None:
            self._calibrate(cal_x, cal_y)
        return self

    def _scale(self, X: Any) -> np.ndarray:
        if self.difficulty_ is None:
            return np.ones(_num_samples(X))
        return np.maximum(np.asarray(self.difficulty_.predict(X), float), self.floor_)

    def _score(self) -> Any:
        if self.conformity_score is not None:
            return self.conformity_score
        return Absolute() if self.difficulty_ is None else Normalised()

    def _calibrate(self, X: Any, y: Any) -> None:
        mu, scale = self.estimator_.predict(X), self._scale(X)
        self.predictions_ = mu if self.difficulty_ is None else (mu, scale)
        self.outcomes_ = y
        self.errors_ = np.sort((y - mu) / scale)

    def conformalize(self, X: Any, y: Any) -> Any:
        """Calibrate on data that ``fit`` has not seen."""
        check_is_fitted(self)
        X, y = checked(self, X, y, numeric=True)
        self._calibrate(X, y)
        return self

    def predict_interval(self, X: Any, alpha: Level = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A), each with coverage at least 1 - alpha."""
        self._need("errors_")
        X = checked(self, X)
        mu = np.asarray(self.estimator_.predict(X), float)
        pred = mu if self.difficulty_ is None else (mu, self._scale(X))
        return mu, stacked(
            split(self._score(), self.predictions_, self.outcomes_, pred, alpha=alpha)
        )

    def predict_distribution(self, X: Any) -> PredictiveSystem:
        """A calibrated predictive distribution per row: cdf, quantiles, CRPS."""
        self._need("errors_")
        X = checked(self, X)
        mu = np.asarray(self.estimator_.predict(X), float)
        return PredictiveSystem(self.errors_, mu, self._scale(X))


class QuantileRegressor(_Conformal):
    """Conformalised quantile regression: intervals that follow the spread of the data.

    Args:
        lower, upper: regressors of a low and a high quantile (gradient boosting with
            ``loss="quantile"``, say); linear quantile regressions at 0.05 and 0.95 by default.
        calibration_size: fraction (or number) of the data set aside by ``fit``.
        random_state: seed of that split.

    Source: Romano, Patterson & Candès (2019), algorithm 1.
    """

    def __init__(
        self,
        lower: Any = None,
        upper: Any = None,
        *,
        calibration_size: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.lower = lower
        self.upper = upper
        self.calibration_size = calibration_size
        self.random_state = random_state

    def _model(self) -> Any:
        return LinearQuantile(quantile=0.05, alpha=0.0) if self.lower is None else self.lower

    def fit(self, X: Any, y: Any) -> Any:
        """Fit both quantiles, and calibrate when ``calibration_size`` is set."""
        low = self._model()
        high = LinearQuantile(quantile=0.95, alpha=0.0) if self.upper is None else self.upper
        X, y = checked(self, X, y, reset=True, numeric=True)
        fit_x, cal_x, fit_y, cal_y = self._divide(X, y)
        self.lower_, self.upper_ = (clone(e).fit(fit_x, fit_y) for e in (low, high))
        if cal_x is not None:
            self.calibration_ = calibrate(CQR()(self._quantiles(cal_x), cal_y))
        return self

    def _quantiles(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.lower_.predict(X), self.upper_.predict(X)
        return np.asarray(low, float), np.asarray(high, float)

    def conformalize(self, X: Any, y: Any) -> Any:
        """Calibrate on data that ``fit`` has not seen."""
        check_is_fitted(self)
        X, y = checked(self, X, y, numeric=True)
        self.calibration_ = calibrate(CQR()(self._quantiles(X), y))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(m,) midpoints of the two quantiles."""
        check_is_fitted(self)
        low, high = self._quantiles(checked(self, X))
        return (low + high) / 2

    def predict_interval(self, X: Any, alpha: Level = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A), each with coverage at least 1 - alpha."""
        self._need("calibration_")
        low, high = self._quantiles(checked(self, X))
        q = np.atleast_1d(self.calibration_.quantile(alpha))
        warn_infinite(q, too_few(self.calibration_.size, alpha))
        ends = CQR().interval((low, high), q)
        return (low + high) / 2, stacked(Interval(*ends, None, MARGINAL))


class CrossRegressor(_Conformal):
    """CV+ intervals: every point trains and calibrates, K fits.

    Args:
        estimator: a regressor; linear regression by default.
        cv: number of folds or a splitter whose test folds part the data.
        method: ``"plus"``, ``"minmax"`` (the full 1 - alpha, wider) or ``"base"`` (around the
            model of all data; no guarantee).

    Source: Barber, Candès, Ramdas & Tibshirani (2021).
    """

    def __init__(self, estimator: Any = None, *, cv: Any = 5, method: Any = "plus") -> None:
        self.estimator = estimator
        self.cv = cv
        self.method = method

    def fit(self, X: Any, y: Any) -> Any:
        """Fit one model per fold and one to all data."""
        if self.method not in ("plus", "minmax", "base"):
            raise MethodError(f"method must be plus, minmax or base, got {self.method!r}.")
        base = self._model()
        X, y = checked(self, X, y, reset=True, numeric=True)
        self.estimator_ = clone(base).fit(X, y)
        if len(y) < 2:
            raise MethodError("CV+ needs at least two points; got n_samples=1.")
        splitter = KFold(min(self.cv, len(y))) if isinstance(self.cv, int) else check_cv(self.cv)
        self.models_ = []
        self.folds_ = np.full(len(y), -1)
        self.residuals_ = np.empty(len(y))
        for k, (train, test) in enumerate(splitter.split(X, y)):
            model = clone(base).fit(_safe_indexing(X, train), y[train])
            self.models_.append(model)
            self.folds_[test] = k
            self.residuals_[test] = abs(y[test] - model.predict(_safe_indexing(X, test)))
        if (self.folds_ < 0).any():
            raise MethodError("cv must put every point into one test fold (KFold, not a shuffle).")
        return self

    def predict_interval(self, X: Any, alpha: Level = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A)."""
        check_is_fitted(self)
        X = checked(self, X)
        mu = np.asarray(self.estimator_.predict(X), float)
        if self.method == "base":
            levels = np.atleast_1d(np.asarray(alpha))
            q = order_stat(self.residuals_, upper_rank(self.residuals_.size, levels))
            ends = Absolute().interval(mu, q)
            return mu, stacked(make_interval(*ends, levels, "none (cross-conformal base)"))
        folds = np.stack([np.asarray(m.predict(X), float) for m in self.models_], axis=1)
        if self.method == "plus":
            out = cv_plus(folds, self.residuals_, self.folds_, alpha=alpha)
        else:
            out = jackknife_minmax(folds, self.residuals_, alpha=alpha)
        return mu, stacked(out)
