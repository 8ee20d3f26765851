"""PFNClassifier: a trained network as a scikit-learn classifier, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.estimators.contexts import balanced, proportional
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

    A network of balanced tables, as the shipped one, takes no notice of how frequent the classes
    are. It sees as many rows of each class (those of a rare one repeated up to the smallest table
    of its training), and its odds are multiplied by those of the shares in the data, whose prior
    is Dirichlet(1/2, ..., 1/2). Each pass sees other rows, where the network cannot take all.

    Args:
        network: a fitted network with a categorical head, a file of one, or a name from
            ``pi.amortized.shipped``; the shipped one knows two classes.
        orders: number of orders of the columns to average over; more where there are so many
            columns that they would be seen less than twice on average.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts real outcomes, or has fewer classes than the data.
        RangeError: there are fewer rows than in training and ``out_of_range`` is "raise".
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
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        if self.orders < 1:
            raise MethodError(f"PFNClassifier: orders must be positive, got {self.orders}.")
        found = self.network if isinstance(self.network, FittedPFN) else load(self.network)
        if not isinstance(found, FittedPFN) or found.config["classes"] is None:
            raise MethodError("PFNClassifier: the network must be a PFN for labels.")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > found.config["classes"]:
            raise MethodError(
                f"PFNClassifier: the network knows {found.config['classes']} classes, the data "
                f"have {len(self.classes_)}. Train one on a prior with as many classes."
            )
        most = int(found.ranges.limits["context rows"][1])
        found.ranges.check(self.out_of_range, **{"context rows": min(len(X), most)})
        self.network_, self.y_ = found, labels
        self.shares_ = (np.bincount(labels) + 0.5) / (len(labels) + 0.5 * len(self.classes_))
        self.mean_ = X.mean(0)
        self.scale_ = np.where(X.std(0) > 0, X.std(0), 1.0)
        self.X_ = (X - self.mean_) / self.scale_
        self.varying_ = np.flatnonzero(X.std(0) > 0)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, shape (rows, classes)."""
        check_is_fitted(self)
        new = (validate_data(self, X, reset=False, dtype=np.float64) - self.mean_) / self.scale_
        found, inputs = len(self.varying_), self.network_.config["inputs"]
        least, most = (int(v) for v in self.network_.ranges.limits["context rows"])
        rng, labels = np.random.default_rng(0), len(self.classes_)
        pad = ((0, 0), (0, max(inputs - found, 0)))
        passes = max(self.orders, -(-2 * found // inputs))
        total = np.zeros((len(new), labels))
        for k in range(passes):
            order = rng.permutation(self.varying_)[:inputs]
            names = np.roll(np.arange(labels), k)  # every class bears every name
            if self.network_.balanced:
                rows = balanced(rng, self.y_, min(least, len(self.y_)), most)
            else:
                rows = proportional(rng, self.y_, most)
            law = self.network_.predict(
                np.pad(self.X_[rows][:, order], pad), names[self.y_[rows]],
                np.pad(new[:, order], pad), out_of_range="ignore",
            )  # fmt: skip
            assert isinstance(law, CategoricalDistribution)  # a classifier's head
            total += np.asarray(law.probabilities, float)[:, names]
        if self.network_.balanced:
            total = total * self.shares_
        return np.asarray(total / total.sum(1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), 1)])
