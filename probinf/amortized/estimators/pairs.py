"""PairCalibrated: what a classifier does not know, from its guess after one look at the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.errors import ArrayError, LevelError, MethodError


class PairCalibrated(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier trained on pairs of independent responses to the same inputs.

    It learns the first response, and the second given the first. Who knows the probabilities has
    nothing to learn from a first response; how much a guess moves is the variance of the true
    probability around the stated one, ``V(y, y' | x) = p(y, y' | x) - p(y | x) p(y' | x)``. That
    holds on average over all inputs with the same answer, however little the classifier
    sees in the inputs, if it is calibrated on pairs.

    Args:
        estimator: any scikit-learn classifier with ``predict_proba`` that can combine its
            columns (trees, boosting, networks); three kinds of columns are appended to the
            inputs: whether a response is told, and which one.

    Raises:
        MethodError: the estimator has no probabilities.

    Source: Johnson et al. (2024), "Experts don't cheat: learning what you don't know by
    predicting pairs".
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> PairCalibrated:
        """Fit to inputs (n, d) and pairs of responses (n, 2).

        Raises:
            ArrayError: responses are not pairs, one is NaN, or there is one class only.
        """
        if not hasattr(self.estimator, "predict_proba"):
            raise MethodError("PairCalibrated: the estimator must have predict_proba.")
        pairs = np.asarray(y)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ArrayError(
                f"PairCalibrated: y must be (n, 2), two independent responses to each row of X, "
                f"got shape {pairs.shape}. Repeat the measurement at some inputs, and pass these."
            )
        missing = (pairs != pairs).any(axis=1)  # NaN, of objects too
        if missing.any():
            raise ArrayError(
                f"PairCalibrated: a response is NaN in {int(missing.sum())} of {len(pairs)} rows "
                f"of y (the first: {int(np.flatnonzero(missing)[0])}). Drop these rows of X and y."
            )
        X, _ = validate_data(self, X, pairs[:, 0], dtype=np.float64)
        self.classes_, codes = np.unique(pairs, return_inverse=True)
        if len(self.classes_) < 2:
            raise ArrayError("PairCalibrated: y holds one class; there is nothing to learn.")
        first, second = codes.reshape(pairs.shape).T
        untold = self._columns(X, None)
        inputs = [untold, untold, self._columns(X, first), self._columns(X, second)]
        outputs = np.concatenate([first, second, second, first])
        self.estimator_ = clone(self.estimator).fit(np.concatenate(inputs), outputs)
        return self

    def _columns(self, X: np.ndarray, told: np.ndarray | None) -> np.ndarray:
        marks = np.zeros((len(X), len(self.classes_) + 1))
        if told is not None:
            marks[:, 0], marks[np.arange(len(X)), 1 + told] = 1.0, 1.0
        return np.concatenate([X, marks], axis=1)

    def _proba(self, X: np.ndarray, told: np.ndarray | None) -> np.ndarray:
        found = np.zeros((len(X), len(self.classes_)))
        found[:, self.estimator_.classes_] = self.estimator_.predict_proba(self._columns(X, told))
        return found

    def predict_pairs(self, X: Any) -> np.ndarray:
        """Probability of both responses, (n, classes, classes), symmetric."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        first = self._proba(X, None)
        given = [self._proba(X, np.full(len(X), k)) for k in range(len(self.classes_))]
        joint = first[:, :, None] * np.stack(given, axis=1)
        return 0.5 * (joint + joint.transpose(0, 2, 1))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, (n, classes): the margins of the pairs."""
        return np.asarray(self.predict_pairs(X).sum(axis=2))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class."""
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), axis=1)])

    def predict_covariance(self, X: Any) -> np.ndarray:
        """Epistemic covariance of the class probabilities, (n, classes, classes).

        As estimated: noise of the estimator can make a variance negative.
        """
        joint = self.predict_pairs(X)
        p = joint.sum(axis=2)
        return np.asarray(joint - p[:, :, None] * p[:, None, :])

    def predict_interval(self, X: Any, beta: float = 0.05) -> np.ndarray:
        """Where the true probability of each class lies, (n, classes, 2).

        Of inputs with the same answer, a share of at most ``beta`` has a true probability outside,
        by Chebyshev's inequality, if the estimator is calibrated on pairs. A negative estimate of
        a variance counts as zero.

        Raises:
            LevelError: beta is not in (0, 1).
        """
        if not 0 < beta < 1:
            raise LevelError(f"predict_interval: beta must lie in (0, 1), got {beta}.")
        p = self.predict_proba(X)
        variance = np.einsum("nkk->nk", self.predict_covariance(X))
        width = np.sqrt(np.maximum(variance, 0.0) / beta)
        return np.stack([np.maximum(p - width, 0.0), np.minimum(p + width, 1.0)], axis=2)
