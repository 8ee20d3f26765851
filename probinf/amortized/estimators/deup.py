"""DEUP: how far off a predictor is, learned from its losses on rows that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.core.inputs.limits import at_least
from probinf.errors import MethodError

_LEAST = -5.0  # of a logarithm (base 10) of a loss, as a share of the variance of y
_NEIGHBOURS = 5
_TINY = 1e-9
_FORESTS = RandomForestRegressor, RandomForestClassifier, ExtraTreesRegressor, ExtraTreesClassifier
_PENALTIES = np.logspace(-2, 4, 13)


class DEUP(MetaEstimatorMixin, BaseEstimator):
    """Direct epistemic uncertainty prediction: a second model learns the loss of the first.

    The predictor is fitted again without a fold of the rows, and without a cluster of them, so
    that rows of every distance from those it was fitted to are among the unseen ones. A second
    regressor learns the logarithm of their losses from two things that mean the same anywhere:
    the distance from the nearest fitted rows, and the spread of an ensemble of predictors.

    Args:
        estimator: any scikit-learn regressor or classifier; of a forest the trees are the
            ensemble.
        error: a regressor of log10 losses on (log distance, log variance), both losses and variance
            of a regressor as shares of the variance of y; by default a ridge regression, which
            goes on beyond the rows that it has seen.
        noise: the loss that nobody can avoid, in its units, estimated from replicates; None
            for zero, and then all of the loss counts as uncertainty.
        folds: random parts.
        clusters: parts that lie together.
        members: bootstrap refits that make the ensemble of any other.
        random_state: seed of the parts.

    Raises:
        MethodError: an option is out of range, or there are too few rows.

    Source: Lahlou et al. (2023), "DEUP: direct epistemic uncertainty prediction"; clusters
    are ours.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        error: Any = None,
        noise: float | None = None,
        folds: int = 5,
        clusters: int = 8,
        members: int = 8,
        random_state: int = 0,
    ) -> None:
        self.estimator = estimator
        self.error = error
        self.noise = noise
        self.folds = folds
        self.clusters = clusters
        self.members = members
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> DEUP:
        """Fit the predictor, its refits, and the regressor of their losses."""
        at_least(2, folds=self.folds, clusters=self.clusters, members=self.members)
        if self.noise is not None and not (np.isfinite(self.noise) and self.noise >= 0):
            raise MethodError(f"DEUP: noise must be a loss of at least 0, got {self.noise}.")
        X, y = validate_data(self, X, y, dtype=np.float64)
        least = 4 * max(self.folds, self.clusters)
        if len(X) < least:
            raise MethodError(f"DEUP: {len(X)} rows are too few; at least {least} are needed.")
        self.classifies_ = is_classifier(self.estimator)
        if self.classifies_:
            self.classes_ = np.unique(y)
        self.unit_ = 1.0 if self.classifies_ else float(np.var(y)) or 1.0
        inputs, losses = [], []
        for seen, unseen in self._parts(X):
            if self.classifies_ and len(np.unique(y[seen])) < len(self.classes_):
                continue  # a class lies in one cluster
            member = _Member(self, X[seen], y[seen])
            inputs.append(member.inputs(X[unseen]))
            losses.append(self._loss(member.mean(X[unseen]), y[unseen]))
        found, loss = np.concatenate(inputs), np.concatenate(losses)
        target = np.maximum(np.log10(loss / self.unit_ + 10.0 ** (2 * _LEAST)), _LEAST)
        default = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
        self.error_ = clone(default if self.error is None else self.error).fit(found, target)
        self.smear_ = float(loss.mean() / np.mean(10.0 ** self.error_.predict(found)))
        self.whole_ = _Member(self, X, y)
        self.estimator_ = self.whole_.fitted[0]
        self.losses_ = loss
        return self

    def _parts(self, X: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = KFold(self.folds, shuffle=True, random_state=self.random_state).split(X)
        z = StandardScaler().fit_transform(X)
        clusters = KMeans(self.clusters, n_init=3, random_state=self.random_state).fit_predict(z)
        apart = [(np.flatnonzero(clusters != k), np.flatnonzero(clusters == k))
                 for k in np.unique(clusters)]  # fmt: skip
        return [*rows, *(part for part in apart if len(part[0]))]

    def _loss(self, mean: np.ndarray, y: np.ndarray) -> np.ndarray:
        if not self.classifies_:
            return np.square(mean - y)
        chosen = mean[np.arange(len(y)), np.searchsorted(self.classes_, y)]
        return -np.log(np.maximum(chosen, np.finfo(float).tiny))

    def predict(self, X: Any) -> np.ndarray:
        """What the predictor says."""
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict(validate_data(self, X, reset=False)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, of a classifier."""
        check_is_fitted(self)
        if not self.classifies_:
            raise MethodError("DEUP: predict_proba is for classifiers; this is a regressor.")
        return np.asarray(self.estimator_.predict_proba(validate_data(self, X, reset=False)))

    def predict_error(self, X: Any) -> np.ndarray:
        """Expected loss: squared error, or minus the log probability of the right class."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.smear_ * 10.0 ** self.error_.predict(self.whole_.inputs(X)))

    def predict_uncertainty(self, X: Any) -> np.ndarray:
        """Expected loss beyond ``noise``, at least zero: what more data could take away."""
        return np.maximum(self.predict_error(X) - (self.noise or 0.0), 0.0)

    def predict_scale(self, X: Any) -> np.ndarray:
        """Root of the expected squared error, positive: the sigma of ``conformal.Normalised``."""
        check_is_fitted(self)
        if self.classifies_:
            raise MethodError("DEUP: predict_scale is for regressors; this is a classifier.")
        return np.sqrt(self.predict_error(X))


class _Member:
    """A predictor on some rows: its mean, its spread, and where its rows lie."""

    def __init__(self, options: DEUP, X: np.ndarray, y: np.ndarray) -> None:
        fitted = clone(options.estimator).fit(X, y)
        self.classifies = options.classifies_
        self.classes = options.classes_ if self.classifies else None
        self.unit = options.unit_
        self.direct = isinstance(fitted, _FORESTS)
        self.fitted = [fitted]
        if self.direct:
            self.fitted += list(fitted.estimators_)
        else:
            rng = np.random.default_rng(options.random_state)
            for _ in range(options.members):
                rows = rng.integers(0, len(X), len(X))
                if self.classifies:  # within classes, so that a rare one is never lost
                    for label in np.unique(y):
                        own = np.flatnonzero(y == label)
                        rows[own] = rng.choice(own, len(own))
                self.fitted.append(clone(options.estimator).fit(X[rows], y[rows]))
        self.scaler = StandardScaler().fit(X)
        self.tree = cKDTree(self.scaler.transform(X))

    def _of(self, fitted: Any, X: np.ndarray) -> np.ndarray:
        if not self.classifies:
            return np.asarray(fitted.predict(X), float).reshape(len(X))
        assert self.classes is not None
        found = np.zeros((len(X), len(self.classes)))
        known = np.asarray(fitted.classes_)
        numbered = self.direct and fitted is not self.fitted[0]  # as trees of a forest do
        places = known.astype(int) if numbered else np.searchsorted(self.classes, known)
        found[:, places] = fitted.predict_proba(X)
        return found

    def mean(self, X: np.ndarray) -> np.ndarray:
        return self._of(self.fitted[0], X)

    def inputs(self, X: np.ndarray) -> np.ndarray:
        """(n, 2) log distance from the fitted rows, log variance of the ensemble."""
        spread = np.stack([self._of(one, X) for one in self.fitted[1:]]).var(axis=0)
        variance = (spread.sum(axis=1) if self.classifies else spread) / self.unit
        k = min(_NEIGHBOURS, self.tree.n)
        distance = self.tree.query(self.scaler.transform(X), k=k)[0].reshape(len(X), k)
        return np.log(np.stack([distance.mean(axis=1), variance], axis=1) + _TINY)
