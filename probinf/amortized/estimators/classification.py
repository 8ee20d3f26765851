"""PFNClassifier: a trained network as a scikit-learn classifier, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.estimators.columns import Columns
from probinf.amortized.estimators.contexts import balanced, natural, proportional
from probinf.amortized.heads.categorical import CategoricalDistribution
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.training.weights import load
from probinf.errors import ArrayError, MethodError


class PFNClassifier(ClassifierMixin, BaseEstimator):
    """Posterior predictive of labels of a small table; fitting stores the data.

    Columns are scaled by the training rows; a category counts a column for each level that three
    rows bear. What exceeds the rows or columns of the network's training is sampled anew in each of
    several passes, whose probabilities are averaged. Networks learned from tables whose columns
    share information: where one of many alone carries the label, they hardly see it, and a sparse
    regression is the better choice.

    The shipped network `tables`, a ``PFN(fits=True)`` for tables of 10 to 100 rows, takes up to ten
    classes and missing entries (NaN, None). It does not depend on the order of rows and columns, on
    the names of classes and levels, or on a column without entries.

    Of a network with columns in fixed places, as the older `tabular` for two classes, passes also
    average over orders of the columns and names of the classes, on which a network trained on
    finitely many tables still depends a little. One of balanced tables takes no notice of how
    frequent the classes are: its odds are multiplied by those of the shares in the data, whose
    prior is Dirichlet(1/2, ..., 1/2). Where the shares are further from equal than chance explains
    it sees as many rows of each class, those of a rare one repeated up to the smallest table of
    its training.

    Args:
        network: a fitted network with a categorical head, a file of one, or a name from
            ``pi.amortized.shipped``.
        orders: number of passes, where one does not do: over samples of the rows, or orders of
            the columns; more where there are so many columns that they would be seen less than
            twice on average.
        categorical: places or names of columns that hold categories, or a mask; columns of a data
            frame with categories, texts or truth values are such by themselves.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts real outcomes, or has fewer classes than the data.
        ArrayError: a column is neither numeric nor declared a category, or has gaps that the
            network does not take.
        RangeError: there are fewer rows than in training and ``out_of_range`` is "raise".
    """

    def __init__(
        self,
        network: Any = "tables",
        *,
        orders: int = 8,
        categorical: Any = None,
        out_of_range: Literal["raise", "warn", "ignore"] = "warn",
    ) -> None:
        self.network = network
        self.orders = orders
        self.categorical = categorical
        self.out_of_range = out_of_range

    def fit(self, X: Any, y: Any) -> PFNClassifier:
        """Store the training rows."""
        X, y = self._table(X), column_or_1d(y, warn=True)
        check_consistent_length(X, y)
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
                f"have {len(self.classes_)}. Merge rare ones, or train a network on a prior with "
                "as many classes."
            )
        _, most = (int(v) for v in found.ranges.limits["context rows"])
        found.ranges.check(self.out_of_range, **{"context rows": min(len(labels), most)})
        self.network_, self.y_ = found, labels
        names = getattr(self, "feature_names_in_", None)
        self.columns_ = Columns.learn(X, self.categorical, names)
        numbers = self._numbers(X)
        self.shares_ = (np.bincount(labels) + 0.5) / (len(labels) + 0.5 * len(self.classes_))
        seen = ~np.isnan(numbers)
        count = np.maximum(seen.sum(0), 1)
        self.mean_ = np.where(seen, numbers, 0).sum(0) / count
        spread = np.sqrt((np.where(seen, numbers - self.mean_, 0) ** 2).sum(0) / count)
        gaps = seen.any(0) & ~seen.all(0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        self.X_ = (numbers - self.mean_) / self.scale_
        self.varying_ = np.flatnonzero((spread > 0) | gaps)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, shape (rows, classes)."""
        check_is_fitted(self)
        new = (self._numbers(self._table(X, reset=False)) - self.mean_) / self.scale_
        _, most = (int(v) for v in self.network_.ranges.limits["context rows"])
        rng, labels = np.random.default_rng(0), len(self.classes_)
        total = np.zeros((len(new), labels))
        for k in range(self._passes(most)):
            order = self._order(rng)
            rows = self._rows(rng, most)
            context, asked = self.X_[rows][:, order], new[:, order]
            names = np.arange(labels)
            if not self.network_.any_columns:
                names = np.roll(names, k)  # every class bears every name
                pad = ((0, 0), (0, self.network_.config["inputs"] - len(order)))
                context, asked = np.pad(context, pad), np.pad(asked, pad)
            elif not len(order):  # nothing varies
                context, asked = np.zeros((len(rows), 1)), np.zeros((len(new), 1))
            law = self.network_.predict(context, names[self.y_[rows]], asked, out_of_range="ignore")
            assert isinstance(law, CategoricalDistribution)  # a classifier's head
            total += np.asarray(law.probabilities, float)[:, names]
        if self.network_.balanced:
            total = total * self.shares_
        return np.asarray(total / total.sum(1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class."""
        check_is_fitted(self)
        return np.asarray(self.classes_[np.argmax(self.predict_proba(X), 1)])

    def _table(self, X: Any, reset: bool = True) -> Any:
        """The table as it came, two axes and at least one row; its columns are remembered."""
        if not hasattr(X, "iloc"):
            X = check_array(X, dtype=None, ensure_all_finite=False)
        elif X.shape[0] < 1 or X.shape[1] < 1:
            raise ArrayError(f"PFNClassifier: X must have rows and columns, got shape {X.shape}.")
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _numbers(self, X: Any) -> np.ndarray:
        numbers = self.columns_.numbers(X)
        if np.isnan(numbers).any() and not self.network_.any_columns:
            raise ArrayError(
                "PFNClassifier: X holds NaN, which this network does not take; impute them, or "
                "train a network with PFN(fits=True)."
            )
        return numbers

    def _passes(self, most: int) -> int:
        """One where the network sees all there is, in no order."""
        found, inputs = len(self.varying_), self.network_.config["inputs"]
        if self.network_.any_columns and len(self.y_) <= most and found <= inputs:
            return 1
        return int(max(self.orders, -(-2 * found // inputs)))

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        inputs = self.network_.config["inputs"]
        if self.network_.any_columns and len(self.varying_) <= inputs:
            return self.varying_
        return rng.permutation(self.varying_)[:inputs]

    def _rows(self, rng: np.random.Generator, most: int) -> np.ndarray:
        if self.network_.balanced and not natural(self.y_, most):
            least = int(self.network_.ranges.limits["context rows"][0])
            return balanced(rng, self.y_, min(least, len(self.y_)), most)
        return proportional(rng, self.y_, most)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
