"""PFNClassifier: a trained network as a scikit-learn classifier, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.heads.categorical import CategoricalDistribution
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.training.weights import load
from probinf.errors import MethodError


class PFNClassifier(ClassifierMixin, BaseEstimator):
    """Posterior predictive of labels of a small table; fitting stores the data.

    Columns are scaled by the training rows. Probabilities are averaged over orders of the columns
    and names of the classes, on which a network trained on finitely many tables still depends a
    little; where there are more columns than the network takes, each pass sees other ones.
    The shipped network expects columns that share information: where one of many alone carries
    the label, it hardly sees it, and a sparse regression is the better choice.

    Args:
        network: a fitted network with a categorical head, a file of one, or a name from
            ``pi.amortized.shipped``; the shipped one knows two classes.
        orders: number of orders of the columns to average over; more where there are so many
            columns that they would be seen less than twice on average.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts real outcomes, or has other classes than the data.
        RangeError: there are more or fewer rows than in training.
    """

    def __init__(
        self,
        network: Any = "tabular",
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
        self.X_ = (X - self.mean_) / self.scale_
        self.varying_ = np.flatnonzero(X.std(0) > 0)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, shape (rows, classes)."""
        check_is_fitted(self)
        new = (validate_data(self, X, reset=False) - self.mean_) / self.scale_
        found, inputs = len(self.varying_), self.network_.config["inputs"]
        most = int(self.network_.ranges.limits["context rows"][1])
        rng, labels = np.random.default_rng(0), len(self.classes_)
        pad = ((0, 0), (0, max(inputs - found, 0)))
        passes = max(self.orders, -(-2 * found // inputs))
        total = np.zeros((len(new), labels))
        for k in range(passes):
            order = rng.permutation(self.varying_)[:inputs]
            names = np.roll(np.arange(labels), k)  # every class bears every name
            law = self.network_.predict(
                np.pad(self.X_[:, order], pad), names[self.y_], np.pad(new[:, order], pad),
                nearest=most if len(self.X_) > most else None,
                out_of_range=self.out_of_range,
            )  # fmt: skip
            assert isinstance(law, CategoricalDistribution)  # a classifier's head
            total += np.asarray(law.probabilities, float)[:, names]
        return np.asarray(total / total.sum(1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), 1)])
