"""PFNRegressor: a trained network as a scikit-learn regressor, nothing to tune."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from probinf.amortized.estimators.scaling import SCALES, ScaledLaw
from probinf.amortized.heads.predictive import Predictive
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.amortized.training.weights import load
from probinf.errors import LevelError, MethodError, RangeError


class PFNRegressor(RegressorMixin, BaseEstimator):
    """Posterior predictive of a prior-data fitted network; fitting stores the data.

    Inputs are mapped to [0, 1] and outcomes to mean 0 and variance 1 by the training rows. How
    much of that variance is noise shows in how well each row is predicted from the others: the
    network is asked at several scales of the outcomes, which make its prior of the noise wider or
    narrower, and its answers are mixed by their leave-one-out scores. With more rows than the
    network was trained on, each prediction sees the nearest ones.

    Args:
        network: a name from ``pi.amortized.shipped()``, a file, or a fitted network.
        out_of_range: what to do about rows outside the network's range.

    Raises:
        MethodError: the network predicts labels, or takes another number of columns.
        RangeError: the outcomes do not vary, or a value lies outside the training range and
            ``out_of_range`` is "raise".
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
        precision = np.asarray(y).dtype
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        y = np.asarray(y, float)
        found = self.network if isinstance(self.network, FittedPFN) else load(self.network)
        if not isinstance(found, FittedPFN) or found.config["classes"] is not None:
            raise MethodError("PFNRegressor: the network must be a PFN for real outcomes.")
        if X.shape[1] != found.config["inputs"]:
            raise MethodError(
                f"PFNRegressor: the network takes {found.config['inputs']} columns, X has "
                f"{X.shape[1]}. Choose as many, or train a network on a prior with as many inputs."
            )
        rounding = 16 * np.finfo(precision if precision.kind == "f" else float).eps
        if not np.ptp(y) > rounding * np.max(np.abs(y)):
            raise RangeError(
                f"PFNRegressor: the outcomes of n_samples = {len(y)} rows do not vary (all are "
                f"{y[0]:.6g}), so that neither their scale nor their noise can be learned. Add "
                "rows that differ, or ask the network itself in its own units: "
                "pi.amortized.load(...).predict(x, y, x_new)."
            )
        self.network_ = found
        self.low_ = X.min(0)
        self.width_ = np.where(np.ptp(X, 0) > 0, np.ptp(X, 0), 1.0)
        self.centre_, self.scale_ = float(np.mean(y)), float(np.std(y))
        self.X_, self.y_ = (X - self.low_) / self.width_, (y - self.centre_) / self.scale_
        scores = found.leave_one_out(self.X_, self.y_, SCALES)
        self.weights_ = softmax(scores)
        return self

    def _law(self, X: Any) -> ScaledLaw:
        check_is_fitted(self)
        new = (validate_data(self, X, reset=False, dtype=np.float64) - self.low_) / self.width_
        most = int(self.network_.ranges.limits["context rows"][1])
        nearest = most if len(self.X_) > most else None
        rows = 1 << (len(new) - 1).bit_length()  # few sizes, few compilations
        new = np.concatenate([new, np.repeat(new[:1], rows - len(new), axis=0)])
        outputs = []
        for scale in SCALES:
            policy = self.out_of_range if scale == 1 else "ignore"
            outputs.append(
                self.network_.outputs(
                    self.X_, self.y_ / scale, new, nearest=nearest, out_of_range=policy
                )
            )
        laws = self.network_.head.distribution(jnp.stack(outputs))
        assert isinstance(laws, Predictive)  # a regressor's head
        weights, scales = (jnp.asarray(v, float)[:, None] for v in (self.weights_, SCALES))
        return ScaledLaw(laws, weights, scales)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictive means, and standard deviations where asked for."""
        law, rows = self._law(X), len(X)
        mean = np.asarray(law.mean, float)[:rows] * self.scale_ + self.centre_
        return (mean, np.asarray(law.sd, float)[:rows] * self.scale_) if return_std else mean

    def predict_quantiles(self, X: Any, levels: Any) -> np.ndarray:
        """Predictive quantiles, shape (rows, levels).

        Raises:
            LevelError: a level is outside (0, 1).
        """
        levels = np.atleast_1d(np.asarray(levels, float))
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise LevelError(f"predict_quantiles: levels must lie in (0, 1), got {levels}.")
        found = np.asarray(self._law(X).quantile(jnp.asarray(levels, float)), float)
        return found.T[: len(X)] * self.scale_ + self.centre_

    def predict_interval(self, X: Any, level: float = 0.95) -> np.ndarray:
        """Central predictive intervals, shape (rows, 2)."""
        return self.predict_quantiles(X, [(1 - level) / 2, (1 + level) / 2])
