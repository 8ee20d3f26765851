"""Regressors with prediction intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import QuantileRegressor as LinearQuantile
from sklearn.utils.validation import _num_samples, check_is_fitted

from probinf.conformal.calibration.split import split
from probinf.conformal.estimators.data import (
    apart,
    beside,
    both_sides,
    checked,
    tags_like,
    trained,
)
from probinf.conformal.estimators.prefitted import Prefitted
from probinf.conformal.regression.predictive import predictive_system
from probinf.conformal.scores.regression import CQR, Absolute, Normalised
from probinf.conformal.sets.intervals import Interval
from probinf.core.inputs.levels import Level
from probinf.errors import ArrayError, MethodError


def stacked(intervals: Interval) -> np.ndarray:
    """(m, 2, A), the layout in which intervals leave the estimators."""
    lower, upper = (
        np.asarray(v if v.ndim == 2 else v[:, None]) for v in (intervals.lower, intervals.upper)
    )
    return np.stack([lower, upper], axis=1)


class _Conformal(Prefitted, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """What the regressors share: the split, and the order of the verbs."""

    _calibration = ("predictions_", "quantiles_", "outcomes_", "weights_", "groups_")

    def _model(self) -> Any:
        """The regressor to be fitted; linear regression by default."""
        return LinearRegression() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        return tags_like(super().__sklearn_tags__(), self._model())

    def _prepared(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Any:
        """(X, y, weights, groups) to fit with and to calibrate with, the latter None or so."""
        self._forget()
        groups, sample_weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=True, numeric=True)
        return apart(self.calibration_size, self.random_state, X, y, sample_weight, groups)

    def _calibrate(self, X: Any, y: Any, weights: Any = None, groups: Any = None) -> None:
        raise NotImplementedError

    def _take(self) -> None:
        """Use the models inside as they are."""
        raise NotImplementedError

    def conformalize(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Any:
        """Calibrate on data that the model has not seen.

        A model that was fitted beforehand is taken as it is, when ``fit`` was not called.

        Args:
            X, y: calibration rows and their outcomes.
            sample_weight: (n,) likelihood ratios of the law of the test points to that of these
                rows, known up to one constant.
            groups: (n,) groups within each of which the promise shall hold (Mondrian).
        """
        adopted = self._adopts()
        groups, sample_weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=adopted, numeric=True)
        if adopted:
            self._take()
        self._calibrate(X, y, sample_weight, groups)
        return self

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

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit the regressor, and calibrate when ``calibration_size`` is set.

        Args:
            X, y: training rows and their outcomes.
            sample_weight: (n,) weights of the rows in the training of the regressor.
            groups: (n,) groups within each of which the promise shall hold; used only when a part
                of these rows is set aside to calibrate with.

        Raises:
            MethodError: the score is a name; the regressor takes no weights.
        """
        base = self._model()
        if isinstance(self.conformity_score, str):
            raise MethodError(
                f"conformity_score must be a score object such as Absolute(), got "
                f"{self.conformity_score!r}; names are for classifiers."
            )
        (fit_x, fit_y, weight, _), held = self._prepared(X, y, sample_weight, groups)
        self.estimator_ = trained(base, fit_x, fit_y, weight)
        self.difficulty_ = None
        if self.difficulty is not None:
            rest = abs(fit_y - self.estimator_.predict(fit_x))
            self.floor_ = max(1e-3 * float(np.mean(rest)), 1e-12)
            self.difficulty_ = trained(self.difficulty, fit_x, rest, weight)
        if held is not None:
            self._calibrate(held[0], held[1], groups=held[3])
        return self

    @property
    def _inside(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("estimator",) if self.difficulty is None else ("estimator", "difficulty")

    def _take(self) -> None:
        self.estimator_, self.difficulty_ = self.estimator, self.difficulty
        self.floor_ = 0.0

    def _scale(self, X: Any) -> np.ndarray:
        if self.difficulty_ is None:
            return np.ones(_num_samples(X))
        scale = np.maximum(np.asarray(self.difficulty_.predict(X), float), self.floor_)
        if (scale <= 0).any():
            raise ArrayError(
                f"difficulty predicts {scale.min():.3g} for some rows; one that was fitted "
                "beforehand must predict positive scales, a forest of absolute residuals say."
            )
        return scale

    def _score(self) -> Any:
        if self.conformity_score is not None:
            return self.conformity_score
        return Absolute() if self.difficulty_ is None else Normalised()

    def _predictions(self, X: Any) -> Any:
        mu = np.asarray(self.estimator_.predict(X), float)
        return mu if self.difficulty_ is None else (mu, self._scale(X))

    def _calibrate(self, X: Any, y: Any, weights: Any = None, groups: Any = None) -> None:
        self.predictions_, self.outcomes_ = self._predictions(X), y
        self.weights_, self.groups_ = weights, groups

    def predict_interval(
        self, X: Any, alpha: Level = 0.1, *, groups: Any = None, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A), each with coverage at least 1 - alpha.

        Args:
            X: test rows.
            alpha: miscoverage, scalar or (A,).
            groups: (m,) groups, if and only if calibration had some.
            sample_weight: (m,) likelihood ratios, if and only if calibration had some.
        """
        self._need("outcomes_")
        groups, sample_weight = beside(X, groups, sample_weight)
        more = both_sides(self, groups, sample_weight)
        pred = self._predictions(checked(self, X))
        found = split(self._score(), self.predictions_, self.outcomes_, pred, alpha=alpha, **more)
        return pred if self.difficulty_ is None else pred[0], stacked(found)

    def predict_distribution(self, X: Any, *, groups: Any = None) -> Any:
        """A calibrated predictive distribution per row: cdf, quantiles, CRPS.

        Args:
            X: test rows.
            groups: (m,) groups, if and only if calibration had some; the distributions are then
                calibrated within each.
        """
        self._need("outcomes_")
        groups, _ = beside(X, groups)
        if self.weights_ is not None:
            raise MethodError("predictive distributions of weighted calibration are not offered.")
        more = both_sides(self, groups)
        pred = self._predictions(checked(self, X))
        return predictive_system(self.predictions_, self.outcomes_, pred, **more)


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

    _inside = ("lower", "upper")

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit both quantiles, and calibrate when ``calibration_size`` is set.

        Arguments as in :meth:`SplitRegressor.fit`.
        """
        low = self._model()
        high = LinearQuantile(quantile=0.95, alpha=0.0) if self.upper is None else self.upper
        (fit_x, fit_y, weight, _), held = self._prepared(X, y, sample_weight, groups)
        self.lower_, self.upper_ = (trained(e, fit_x, fit_y, weight) for e in (low, high))
        if held is not None:
            self._calibrate(held[0], held[1], groups=held[3])
        return self

    def _take(self) -> None:
        self.lower_, self.upper_ = self.lower, self.upper

    def _quantiles(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.lower_.predict(X), self.upper_.predict(X)
        return np.asarray(low, float), np.asarray(high, float)

    def _calibrate(self, X: Any, y: Any, weights: Any = None, groups: Any = None) -> None:
        self.quantiles_, self.outcomes_ = self._quantiles(X), y
        self.weights_, self.groups_ = weights, groups

    def predict(self, X: Any) -> np.ndarray:
        """(m,) midpoints of the two quantiles."""
        check_is_fitted(self)
        low, high = self._quantiles(checked(self, X))
        return (low + high) / 2

    def predict_interval(
        self, X: Any, alpha: Level = 0.1, *, groups: Any = None, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A), each with coverage at least 1 - alpha.

        Arguments as in :meth:`SplitRegressor.predict_interval`.
        """
        self._need("outcomes_")
        groups, sample_weight = beside(X, groups, sample_weight)
        more = both_sides(self, groups, sample_weight)
        low, high = self._quantiles(checked(self, X))
        out = split(CQR(), self.quantiles_, self.outcomes_, (low, high), alpha=alpha, **more)
        return (low + high) / 2, stacked(out)
