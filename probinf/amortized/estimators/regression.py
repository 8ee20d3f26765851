"""PFNRegressor: a trained network as a scikit-learn regressor, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.training.weights import load
from probinf.errors import MethodError


class PFNRegressor(RegressorMixin, BaseEstimator):
    """Posterior predictive of a prior-data fitted network; fitting stores the data.

    Inputs are mapped to [0, 1] and outcomes to mean 0 and variance 1 by the training rows. With
    more rows than the network was trained on, each prediction sees the nearest ones.

    Args:
        network: a name from ``pi.amortized.shipped()``, a file, or a fitted network.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts labels.
        RangeError: the number of columns, or a value, lies outside the training range.
    """

    def __init__(
        self,
        network: Any = "gp-hyper",
        *,
        out_of_range: Literal["raise", "warn", "ignore"] = "warn",
    ) -> None:
        self.network = network
        self.out_of_range = out_of_range

    def fit(self, X: Any, y: Any) -> PFNRegressor:
        """Store the training rows."""
        X, y = validate_data(self, X, y, y_numeric=True)
        found = self.network if isinstance(self.network, FittedPFN) else load(self.network)
        if not isinstance(found, FittedPFN) or found.config["classes"] is not None:
            raise MethodError("PFNRegressor: the network must be a PFN for real outcomes.")
        self.network_ = found
        self.low_ = X.min(0)
        self.width_ = np.where(np.ptp(X, 0) > 0, np.ptp(X, 0), 1.0)
        self.centre_ = float(np.mean(y))
        self.scale_ = float(np.std(y)) or 1.0
        self.X_, self.y_ = (X - self.low_) / self.width_, (y - self.centre_) / self.scale_
        return self

    def _law(self, X: Any) -> Any:
        check_is_fitted(self)
        new = (validate_data(self, X, reset=False) - self.low_) / self.width_
        most = int(self.network_.ranges.limits["context rows"][1])
        nearest = most if len(self.X_) > most else None
        return self.network_.predict(
            self.X_, self.y_, new, nearest=nearest, out_of_range=self.out_of_range
        )

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictive means, and standard deviations where asked for."""
        law = self._law(X)
        mean = np.asarray(law.mean, float) * self.scale_ + self.centre_
        return (mean, np.asarray(law.sd, float) * self.scale_) if return_std else mean

    def predict_quantiles(self, X: Any, levels: Any) -> np.ndarray:
        """Predictive quantiles, shape (rows, levels)."""
        found = np.asarray(self._law(X).quantile(np.atleast_1d(levels)), float)
        return found.T * self.scale_ + self.centre_

    def predict_interval(self, X: Any, level: float = 0.95) -> np.ndarray:
        """Central predictive intervals, shape (rows, 2)."""
        return self.predict_quantiles(X, [(1 - level) / 2, (1 + level) / 2])
