"""Classifiers with prediction sets, or with calibrated probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from probinf.conformal.calibration.split import split
from probinf.conformal.estimators.data import (
    apart,
    beside,
    both_sides,
    checked,
    seed_of,
    tags_like,
    trained,
)
from probinf.conformal.estimators.prefitted import Prefitted
from probinf.conformal.labels.class_conditional import class_conditional
from probinf.conformal.labels.venn_abers import venn_abers_multiclass
from probinf.conformal.scores.classification import APS, LAC, RAPS, SAPS, LabelScore, Margin, TopK
from probinf.core.inputs.levels import Level, is_single
from probinf.errors import ArrayError, MethodError

SCORES: dict[str, type[LabelScore]] = {
    "lac": LAC, "margin": Margin, "aps": APS, "raps": RAPS, "saps": SAPS, "topk": TopK,
}  # fmt: skip


def score_of(score: Any) -> Any:
    """A score object, by its name or as it is.

    Raises:
        MethodError: no score has this name.
    """
    if not isinstance(score, str):
        return score
    if score not in SCORES:
        raise MethodError(f"conformity_score must be one of {sorted(SCORES)}, got {score!r}.")
    return SCORES[score]()


class _Conformal(Prefitted, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """What the classifiers share: fitting, the split, labels as integers."""

    _calibration = ("labels_", "probabilities_", "weights_", "groups_")

    def _model(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        return tags_like(super().__sklearn_tags__(), self._model())

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit the classifier, and calibrate when ``calibration_size`` is set.

        Args:
            X, y: training rows and their labels.
            sample_weight: (n,) weights of the rows in the training of the classifier.
            groups: (n,) groups within each of which the promise shall hold; used only when a part
                of these rows is set aside to calibrate with.
        """
        self._forget()
        base = self._model()
        groups, sample_weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=True)
        check_classification_targets(y)
        (fit_x, fit_y, weight, _), held = apart(
            self.calibration_size, self.random_state, X, y, sample_weight, groups, stratify=y
        )
        self._take(trained(base, fit_x, fit_y, weight), np.unique(fit_y))
        if held is not None:
            self._calibrate(held[0], held[1], groups=held[3])
        return self

    def _take(self, model: Any, labels: Any) -> None:
        """Predict by this model; a frozen one keeps its own classes, whatever labels data hold."""
        self.estimator_ = model
        self.classes_ = np.asarray(getattr(model, "classes_", labels))

    def _calibrate(self, X: Any, y: Any, weights: Any = None, groups: Any = None) -> None:
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ArrayError(
                f"calibration labels {unknown[:5]} were not in the training data of the model, "
                f"whose classes are {self.classes_[:20]}."
            )
        order, probabilities = np.argsort(self.classes_), self._probabilities(X)
        self.labels_ = order[np.searchsorted(self.classes_, y, sorter=order)]
        self.probabilities_ = probabilities
        self.weights_, self.groups_ = weights, groups

    def _probabilities(self, X: Any) -> np.ndarray:
        """(m, K) probabilities of the model, one column per class."""
        p = np.asarray(self.estimator_.predict_proba(X), float)
        if p.ndim != 2 or p.shape[1] != self.classes_.size:
            raise ArrayError(
                f"predict_proba returned shape {p.shape} for {self.classes_.size} classes."
            )
        return p

    def conformalize(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Any:
        """Calibrate on data that the model has not seen.

        A model that was fitted beforehand is taken as it is, when ``fit`` was not called.

        Args:
            X, y: calibration rows and their labels.
            sample_weight: (n,) likelihood ratios of the law of the test points to that of these
                rows, known up to one constant.
            groups: (n,) groups within each of which the promise shall hold (Mondrian).
        """
        adopted = self._adopts()
        groups, sample_weight = beside(X, groups, sample_weight)
        X, y = checked(self, X, y, reset=adopted)
        if adopted:
            self._take(self.estimator, np.unique(y))
        self._calibrate(X, y, sample_weight, groups)
        return self

    def _proba(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._probabilities(checked(self, X))

    def _need(self) -> None:
        check_is_fitted(self)
        if not hasattr(self, "labels_"):
            raise NotFittedError(
                f"{type(self).__name__} is fitted but not calibrated: call conformalize(X, y) with "
                "held-out data, or set calibration_size=0.25."
            )


class SplitClassifier(_Conformal):
    """Prediction sets around any classifier with ``predict_proba``.

    Args:
        estimator: a classifier; logistic regression by default.
        conformity_score: ``"lac"``, ``"aps"``, ``"raps"``, ``"saps"``, ``"topk"``, ``"margin"``,
            or a score object.
        class_conditional: hold the promise for every true label, not only on average.
        allow_empty: False adds the likeliest label to empty sets.
        calibration_size: fraction (or number) of the data set aside by ``fit``.
        random_state: seed of that split and of randomised scores.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        conformity_score: Any = "lac",
        class_conditional: Any = False,
        allow_empty: Any = True,
        calibration_size: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.conformity_score = conformity_score
        self.class_conditional = class_conditional
        self.allow_empty = allow_empty
        self.calibration_size = calibration_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit the classifier, and calibrate when ``calibration_size`` is set.

        Args:
            X, y: training rows and their labels.
            sample_weight: (n,) weights of the rows in the training of the classifier.
            groups: (n,) groups within each of which the promise shall hold; used only when a part
                of these rows is set aside to calibrate with.

        Raises:
            MethodError: the score is unknown; the classifier takes no weights.
        """
        score_of(self.conformity_score)
        return super().fit(X, y, sample_weight, groups)

    def predict(self, X: Any) -> np.ndarray:
        """(m,) labels of the classifier itself."""
        check_is_fitted(self)
        X = checked(self, X)
        return np.asarray(self.estimator_.predict(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """(m, K) probabilities of the classifier itself."""
        return self._proba(X)

    def predict_set(
        self, X: Any, alpha: Level = 0.1, *, groups: Any = None, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels (m,) and sets (m, K, A) that hold the label with probability 1 - alpha.

        Args:
            X: test rows.
            alpha: miscoverage, scalar or (A,).
            groups: (m,) groups, if and only if calibration had some.
            sample_weight: (m,) likelihood ratios, if and only if calibration had some.
        """
        self._need()
        groups, sample_weight = beside(X, groups, sample_weight)
        more = both_sides(self, groups, sample_weight)
        if more and self.class_conditional:
            raise MethodError(
                "class_conditional=True promises within every label; with groups= or "
                "sample_weight= set it to False."
            )
        p = self._proba(X)
        score = score_of(self.conformity_score)
        levels: Any = [alpha] if is_single(alpha) else alpha
        cal, key = (self.probabilities_, self.labels_), seed_of(self.random_state)
        if self.class_conditional:
            out = class_conditional(
                score, *cal, p, alpha=levels, key=key, allow_empty=self.allow_empty
            )
        else:
            out = split(score, *cal, p, alpha=levels, key=key, allow_empty=self.allow_empty, **more)
        return self.predict(X), np.asarray(out.mask)


class VennAbersClassifier(_Conformal):
    """Calibrated probabilities by Venn-Abers on held-out data.

    Args:
        estimator: a classifier with ``predict_proba``; logistic regression by default.
        calibration_size: fraction (or number) of the data set aside by ``fit``.
        random_state: seed of that split.

    Source: Vovk, Petej & Fedorova (2015).
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        calibration_size: Any = None,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.calibration_size = calibration_size
        self.random_state = random_state

    def _calibrate(self, X: Any, y: Any, weights: Any = None, groups: Any = None) -> None:
        if weights is not None or groups is not None:
            raise MethodError(
                "VennAbersClassifier calibrates by isotonic fits to all points alike, without "
                "sample_weight or groups; calibrate one estimator per group."
            )
        lacking = np.setdiff1d(self.classes_, y)
        if lacking.size:
            raise ArrayError(
                f"calibration labels lack {lacking[:5]} of the model's {self.classes_.size} "
                "classes; Venn-Abers needs points of every class."
            )
        super()._calibrate(X, y)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(m, K) calibrated probabilities; those of the classifier itself before calibration."""
        p = self._proba(X)
        if not hasattr(self, "labels_"):
            return p
        return venn_abers_multiclass(self.probabilities_, self.labels_, p)

    def predict(self, X: Any) -> np.ndarray:
        """(m,) likeliest labels."""
        p = self.predict_proba(X)
        return np.asarray(self.classes_[p.argmax(axis=1)])
