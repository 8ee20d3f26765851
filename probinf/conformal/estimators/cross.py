"""Estimators without a split: every point trains and calibrates, one fit per fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, PredefinedSplit, StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from probinf.conformal.calibration.randomness import ROUGH, row_uniforms
from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.estimators.classification import score_of
from probinf.conformal.estimators.data import (
    beside,
    both_sides,
    checked,
    seed_of,
    tags_like,
    trained,
)
from probinf.conformal.estimators.regression import stacked
from probinf.conformal.labels.cross import cv_plus_labels
from probinf.conformal.regression.cross import cv_plus, jackknife_minmax
from probinf.conformal.scores.regression import Absolute
from probinf.conformal.sets.intervals import make_interval
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.levels import Level, as_levels
from probinf.errors import MethodError


class _Cross(MetaEstimatorMixin, BaseEstimator):
    """What both share: one model per fold, and one of all data."""

    weights_ = None  # of calibration points: all count alike

    def _model(self) -> Any:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        return tags_like(super().__sklearn_tags__(), self._model())

    def _fold_model(self, y: Any) -> Any:
        """The model to be fitted to a fold's training rows, whose outcomes are y."""
        return self._model()

    def _fit(self, X: Any, y: Any, weight: Any, splitter: Any) -> list[np.ndarray]:
        """Fit all models; the rows that each fold holds out."""
        base = self._model()
        if len(y) < 2:
            raise MethodError("CV+ needs at least two points; got n_samples=1.")
        self.estimator_ = trained(base, X, y, weight)
        self.models_, self.folds_, held = [], np.full(len(y), -1), []
        for k, (train, test) in enumerate(splitter.split(X, y)):
            part = None if weight is None else weight[train]
            model = self._fold_model(y[train])
            self.models_.append(trained(model, _safe_indexing(X, train), y[train], part))
            if (self.folds_[test] >= 0).any():
                break
            self.folds_[test] = k
            held.append(test)
        if (self.folds_ < 0).any() or len(held) < len(self.models_):
            raise MethodError("cv must put every point into one test fold (KFold, not a shuffle).")
        return held

    def _groupwise(self, groups: Any, rows: int) -> Any:
        """Test and calibration rows of each group; all of them where there are no groups."""
        both_sides(self, groups)
        if groups is None:
            yield np.arange(rows), np.arange(self.folds_.size)
            return
        new = np.setdiff1d(groups, self.groups_)
        if new.size:
            warn_infinite(
                [np.inf], f"no point of the groups {new[:5]} was there to calibrate with."
            )
        for name in np.unique(groups):
            yield np.flatnonzero(groups == name), np.flatnonzero(self.groups_ == name)


class CrossRegressor(RegressorMixin, _Cross):
    """CV+ intervals: every point trains and calibrates, K fits.

    Args:
        estimator: a regressor; linear regression by default.
        cv: number of folds, a splitter or an iterable of splits whose test folds part the data.
            Where rows belong together (patients, documents), keep them in one fold:
            ``cv=list(GroupKFold(5).split(X, y, patient))``.
        method: ``"plus"``, ``"minmax"`` (the full 1 - alpha, wider) or ``"base"`` (around the
            model of all data; no guarantee).

    Source: Barber, Candès, Ramdas & Tibshirani (2021).
    """

    def __init__(self, estimator: Any = None, *, cv: Any = 5, method: Any = "plus") -> None:
        self.estimator = estimator
        self.cv = cv
        self.method = method

    def _model(self) -> Any:
        return LinearRegression() if self.estimator is None else self.estimator

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit one model per fold and one to all data.

        Args:
            X, y: rows and their outcomes.
            sample_weight: (n,) weights of the rows in the training of the models.
            groups: (n,) groups within each of which the promise shall hold (Mondrian).
        """
        if self.method not in ("plus", "minmax", "base"):
            raise MethodError(f"method must be plus, minmax or base, got {self.method!r}.")
        self.groups_, weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=True, numeric=True)
        whole = isinstance(self.cv, int)
        splitter = KFold(max(min(self.cv, len(y)), 2)) if whole else check_cv(self.cv)
        held = self._fit(X, y, weight, splitter)
        self.residuals_ = np.empty(len(y))
        for model, test in zip(self.models_, held, strict=True):
            self.residuals_[test] = abs(y[test] - model.predict(_safe_indexing(X, test)))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Point predictions (m,) of the model of all data."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict(checked(self, X)))

    def predict_interval(
        self, X: Any, alpha: Level = 0.1, *, groups: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (m,) and intervals (m, 2, A).

        Args:
            X: test rows.
            alpha: miscoverage, scalar or (A,).
            groups: (m,) groups, if and only if ``fit`` had some.
        """
        check_is_fitted(self)
        groups, _ = beside(X, groups)
        X = checked(self, X)
        mu = np.asarray(self.estimator_.predict(X), float)
        folds = np.stack([np.asarray(m.predict(X), float) for m in self.models_], axis=1)
        ends = np.full((mu.size, 2, len(as_levels(alpha))), np.inf)
        ends[:, 0] = -np.inf  # of groups that were never seen
        for test, cal in self._groupwise(groups, mu.size):
            if cal.size:
                ends[test] = self._ends(mu[test], folds[test], cal, alpha)
        return mu, ends

    def _ends(self, mu: np.ndarray, folds: np.ndarray, cal: np.ndarray, alpha: Level) -> np.ndarray:
        residuals = self.residuals_[cal]
        if self.method == "base":
            levels = np.atleast_1d(np.asarray(alpha))
            q = order_stat(residuals, upper_rank(residuals.size, levels))
            ends = Absolute().interval(mu, q)
            return stacked(make_interval(*ends, levels, "none (cross-conformal base)"))
        if self.method == "minmax":
            return stacked(jackknife_minmax(folds, residuals, alpha=alpha))
        return stacked(cv_plus(folds, residuals, self.folds_[cal], alpha=alpha))


class CrossClassifier(ClassifierMixin, _Cross):
    """CV+ sets of labels: every point trains and calibrates, K fits.

    A label stays in the set unless too many points of the other folds conform better, each
    compared under the model that has not seen it. A fold whose training rows lack a class gives
    that class probability 0 there; one whose training rows hold a single class gives it
    probability 1.

    Args:
        estimator: a classifier with ``predict_proba``; logistic regression by default.
        conformity_score: ``"lac"``, ``"aps"``, ``"raps"``, ``"saps"``, ``"topk"``, ``"margin"``,
            or a score object.
        cv: number of folds (stratified as far as classes go round), a splitter or an iterable of
            splits whose test folds part the data.
        allow_empty: False adds the likeliest label to empty sets.
        random_state: seed of randomised scores.

    Source: Romano, Sesia & Candès (2020), section 2.3.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        conformity_score: Any = "lac",
        cv: Any = 5,
        allow_empty: Any = True,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.conformity_score = conformity_score
        self.cv = cv
        self.allow_empty = allow_empty
        self.random_state = random_state

    def _model(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def _fold_model(self, y: Any) -> Any:
        """The classifier; where there is a single class, of several, one that predicts it."""
        return DummyClassifier() if np.unique(y).size == 1 < self.classes_.size else self._model()

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit one model per fold and one to all data.

        Args:
            X, y: rows and their labels.
            sample_weight: (n,) weights of the rows in the training of the models.
            groups: (n,) groups within each of which the promise shall hold (Mondrian).

        Raises:
            MethodError: the score is unknown; the classifier takes no weights.
        """
        score_of(self.conformity_score)
        self.groups_, weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        splitter = self.cv
        if isinstance(splitter, int):
            folds = max(min(splitter, len(y)), 2)
            splitter = StratifiedKFold(folds)
            if np.bincount(labels).min() < folds:  # a class does not go round: deal them in turn
                dealt = np.argsort(np.argsort(labels, kind="stable")) % folds
                splitter = PredefinedSplit(dealt)
        held = self._fit(X, y, weight, check_cv(splitter))
        self.labels_ = labels
        self.probabilities_ = np.empty((len(y), self.classes_.size))
        for model, test in zip(self.models_, held, strict=True):
            self.probabilities_[test] = self._aligned(model, _safe_indexing(X, test))
        return self

    def _aligned(self, model: Any, X: Any) -> np.ndarray:
        """(m, K) probabilities, one column per class, 0 for those that the model never saw."""
        found = np.zeros((len(p := np.asarray(model.predict_proba(X), float)), self.classes_.size))
        own = getattr(model, "classes_", self.classes_)
        found[:, np.searchsorted(self.classes_, own)] = p
        return found

    def predict(self, X: Any) -> np.ndarray:
        """(m,) labels of the classifier of all data."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict(checked(self, X)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """(m, K) probabilities of the classifier of all data."""
        check_is_fitted(self)
        return self._aligned(self.estimator_, checked(self, X))

    def predict_set(
        self, X: Any, alpha: Level = 0.1, *, groups: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels (m,) and sets (m, K, A).

        Args:
            X: test rows.
            alpha: miscoverage, scalar or (A,).
            groups: (m,) groups, if and only if ``fit`` had some.
        """
        check_is_fitted(self)
        groups, _ = beside(X, groups)
        score, p = score_of(self.conformity_score), self.predict_proba(X)
        folds = np.stack([self._aligned(m, checked(self, X)) for m in self.models_])
        u_cal: Any = None
        u_test: Any = None
        if getattr(score, "randomised", False):
            key = seed_of(self.random_state)
            u_cal = row_uniforms(key, self.probabilities_, salt=1, bits=ROUGH)
            u_test = row_uniforms(key, p, bits=ROUGH)
        scores = np.asarray(score(self.probabilities_, self.labels_, u_cal), float)
        each = np.stack([score.labels(f, u_test) for f in folds])
        mask = np.ones((len(p), self.classes_.size, len(as_levels(alpha))), bool)
        for rows, mine in self._groupwise(groups, len(p)):
            if mine.size:
                out = cv_plus_labels(
                    scores[mine], each[:, rows], self.folds_[mine], alpha=as_levels(alpha)
                )
                mask[rows] = out.mask
        if not self.allow_empty:
            best = (p == p.max(axis=1, keepdims=True))[:, :, None]
            mask |= best & ~mask.any(axis=1, keepdims=True)
        return self.predict(X), mask
