"""One map, many trials: undo the shrinkage of predictions before they serve as outcomes."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.keys import as_generator
from probinf.errors import ConvergenceError, PredictionWarning
from probinf.ppi.inference.checks import check_counts, numeric, positive
from probinf.ppi.inference.result import Result


@dataclasses.dataclass(frozen=True)
class Unshrink:
    """Corrections of predictions that regress to the mean, learned on calibration rows.

    Attributes:
        cal_pred: (m,) predictions on calibration rows.
        cal_true: (m,) their true outcomes.

    Both corrections assume that the relation of predictions and outcomes on the calibration rows
    holds in the trial, and that the error does not depend on the treatment given the prediction.
    Neither can be tested without outcomes from the trial.

    Source: Pettersson et al. (arXiv 2508.01341).
    """

    cal_pred: np.ndarray
    cal_true: np.ndarray

    @property
    def slope(self) -> float:
        """Slope k of the predictions on the outcomes; 1 is no shrinkage."""
        centred = self.cal_true - self.cal_true.mean()
        return float(centred @ self.cal_pred / (centred @ centred))

    @property
    def noise(self) -> float:
        """Standard deviation of outcome minus prediction."""
        return float((self.cal_true - self.cal_pred).std())

    def linear(self, pred: Any) -> np.ndarray:
        """Predictions (rows,) with the regression line inverted: ``(pred - m) / k``.

        Raises:
            ConvergenceError: a slope that is not positive.
        """
        k = self.slope
        if k <= 1e-8:
            raise ConvergenceError(
                f"the predictions do not increase with the outcomes (slope {k:.3g}); there is "
                "nothing to unshrink."
            )
        start = self.cal_pred.mean() - k * self.cal_true.mean()
        return (numeric("pred", pred) - start) / k

    def score(self, pred: Any) -> np.ndarray:
        """Derivative (rows,) of the log density of predictions.

        Gaussian kernels of Scott's width around centres that are pulled together, so that the
        estimated density has the variance of the data (Jones, 1991): without that the correction
        would be too small by the kernels' share of the variance.
        """
        x, rows = self.cal_pred, numeric("pred", pred)
        # The score is smooth: beyond 1,000 rows a grid and interpolation do.
        dense = len(rows) > 1000
        at = np.linspace(rows.min(), rows.max(), 1000) if dense else rows
        relative = len(x) ** -0.2
        h = x.std(ddof=1) * relative
        x = x.mean() + (x - x.mean()) * np.sqrt(1 - relative**2)
        found = np.empty(len(at))
        for start in range(0, len(at), 2048):
            gap = (x[None, :] - at[start : start + 2048, None]) / h
            log_kernel = -0.5 * gap**2
            weight = np.exp(log_kernel - log_kernel.max(axis=1, keepdims=True))
            found[start : start + 2048] = (weight * gap).sum(axis=1) / weight.sum(axis=1) / h
        return np.interp(rows, at, found) if dense else found

    def tweedie(self, pred: Any) -> np.ndarray:
        """Predictions (rows,) moved against the score: ``pred - noise**2 * score(pred)``.

        Under ``outcome = prediction + independent noise`` its mean given the outcome is the
        outcome itself, whatever the shape of the distribution.
        """
        at = numeric("pred", pred)
        return at - self.noise**2 * self.score(at)

    def effect(
        self,
        pred_treated: Any,
        pred_control: Any,
        *,
        method: str = "tweedie",
        weights: tuple[Any, Any] | None = None,
        draws: int = 200,
        key: Any = 0,
        alpha: Number = 0.1,
    ) -> Result:
        """Average treatment effect in a trial whose outcomes are predicted.

        Args:
            pred_treated: (n1,) predictions in the treated arm.
            pred_control: (n0,) predictions in the control arm.
            method: ``"tweedie"``, ``"linear"`` or ``"naive"`` (no correction).
            weights: pair of row weights, for inverse propensities.
            draws: bootstrap samples of calibration and trial rows, for the standard error.
            key: seed or key.
            alpha: error rate of intervals.
        """
        check_choice("method", method, ("tweedie", "linear", "naive"))
        alpha = as_level(alpha)
        arms = [numeric("pred_treated", pred_treated), numeric("pred_control", pred_control)]
        at_least(20, draws=draws)
        check_counts(min(map(len, arms)), len(self.cal_pred), 2, "an effect")
        w = [np.ones(len(a)) for a in arms]
        if weights is not None:
            w = [positive("weights", v, len(a)) for v, a in zip(weights, arms, strict=True)]

        def estimate(model: Unshrink, rows: list[np.ndarray]) -> float:
            means = []
            for arm, weight, index in zip(arms, w, rows, strict=True):
                value = arm[index]
                if method != "naive":
                    value = model.linear(value) if method == "linear" else model.tweedie(value)
                means.append(np.average(value, weights=weight[index]))
            return float(means[0] - means[1])

        point = estimate(self, [np.arange(len(a)) for a in arms])
        rng = as_generator(key)
        found = np.empty(draws)
        for b in range(draws):
            cal = rng.integers(len(self.cal_pred), size=len(self.cal_pred))
            model = Unshrink(self.cal_pred[cal], self.cal_true[cal])
            found[b] = estimate(model, [rng.integers(len(a), size=len(a)) for a in arms])
        n = min(map(len, arms))
        return Result(
            estimand="average treatment effect",
            method=f"{method} on predictions",
            names=("effect",),
            theta=np.array([point]),
            cov=np.array([[found.var(ddof=1)]]),
            df=np.array([np.inf]),
            lam=1.0,
            n=len(self.cal_pred),
            N=sum(map(len, arms)),
            cov_labeled=np.array([[np.nan]]),
            rho=np.array([np.nan]),
            cov_type="bootstrap",
            alpha=alpha,
            notes=(
                "valid if the calibration carries over to the trial and the error is independent "
                f"of treatment (smaller arm: {n} rows)",
            ),
        )


def unshrink(cal_pred: Any, cal_true: Any) -> Unshrink:
    """Learn how far predictions shrink, on rows (m,) where the outcome is known.

    Args:
        cal_pred: (m,) predictions, from a model that has not seen these outcomes.
        cal_true: (m,) outcomes.

    Raises:
        TooFewLabelsError: fewer than 10 calibration rows.
    """
    same_index(cal_pred=cal_pred, cal_true=cal_true)
    p, t = numeric("cal_pred", cal_pred), numeric("cal_true", cal_true)
    check_counts(same_rows(cal_pred=p, cal_true=t), 2, 10, "a calibration")
    if t.std() == 0 or p.std() == 0:
        raise ConvergenceError("constant outcomes or predictions cannot calibrate anything.")
    found = Unshrink(p, t)
    if found.slope < 0.2:
        warnings.warn(
            f"predictions have slope {found.slope:.2g} on outcomes: corrections blow errors up",
            PredictionWarning,
            stacklevel=2,
        )
    return found
