"""PFNClassifier: a trained network as a scikit-learn classifier, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.categorical import CategoricalDistribution
from probinf.amortized.fitted_pfn import FittedPFN
from probinf.amortized.weights import load
from probinf.errors import MethodError


class PFNClassifier(ClassifierMixin, BaseEstimator):
    """Posterior predictive of labels of a small table; fitting stores the data.

    Columns are scaled by the training rows; more columns than the network takes are replaced by
    their leading principal components. Probabilities are averaged over orders of the columns,
    on which a network trained on finitely many tables still depends a little.

    Args:
        network: a fitted network with a categorical head, or a file of one.
        orders: number of orders of the columns to average over.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts real outcomes, or has other classes than the data.
        RangeError: there are more or fewer rows than in training.
    """

    def __init__(
        self,
        network: Any,
        *,
        orders: int = 8,
        out_of_range: Literal["raise", "warn", "ignore"] = "warn",
    ) -> None:
        self.network = network
        self.orders = orders
        self.out_of_range = out_of_range

    def fit(self, X: Any, y: Any) -> PFNClassifier:
        """Store the training rows."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        found = self.network if isinstance(self.network, FittedPFN) else load(self.network)
        if not isinstance(found, FittedPFN) or found.config["classes"] is None:
            raise MethodError("PFNClassifier: the network must be a PFN for labels.")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > found.config["classes"] or self.orders < 1:
            raise MethodError(
                f"PFNClassifier: the network knows {found.config['classes']} classes, the data "
                f"have {len(self.classes_)}; orders={self.orders} must be positive."
            )
        self.network_, self.y_ = found, labels
        self.mean_ = X.mean(0)
        self.scale_ = np.where(X.std(0) > 0, X.std(0), 1.0)
        z, most = (X - self.mean_) / self.scale_, found.config["inputs"]
        self.axes_ = np.linalg.svd(z, full_matrices=False)[2][:most] if X.shape[1] > most else None
        self.X_ = self._columns(X)
        return self

    def _columns(self, X: np.ndarray) -> np.ndarray:
        z = (X - self.mean_) / self.scale_
        return z if self.axes_ is None else z @ self.axes_.T

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, shape (rows, classes)."""
        check_is_fitted(self)
        new = self._columns(validate_data(self, X, reset=False))
        used, inputs = self.X_.shape[1], self.network_.config["inputs"]
        most = int(self.network_.ranges.limits["context rows"][1])
        rng, total = np.random.default_rng(0), np.zeros((len(new), self.network_.config["classes"]))
        for k in range(self.orders):
            order = np.arange(used) if k == 0 else rng.permutation(used)
            pad = ((0, 0), (0, inputs - used))
            law = self.network_.predict(
                np.pad(self.X_[:, order], pad), self.y_, np.pad(new[:, order], pad),
                nearest=most if len(self.X_) > most else None,
                out_of_range=self.out_of_range,
            )  # fmt: skip
            assert isinstance(law, CategoricalDistribution)  # a classifier's head
            total += np.asarray(law.probabilities, float)
        p = total[:, : len(self.classes_)]
        return np.asarray(p / p.sum(1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), 1)])
