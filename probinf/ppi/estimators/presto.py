"""PRESTO: ordinal regression whose slopes differ between thresholds only where the data insist."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.limits import at_least, inside
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, ConvergenceError, MethodError, TooFewLabelsError
from probinf.ppi.estimators.ordinal import numbered
from probinf.ppi.inference.checks import positive, table
from probinf.ppi.inference.cumulative import Cumulative, class_probabilities, runs_away
from probinf.ppi.inference.lasso import kkt_gap, signed_minimum

TOLERANCE = 1e-8  # of the optimality conditions, per row and for regressors of unit scale


def penalised(model: Cumulative, penalty: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The minimum (q,) of the loss plus ``penalty @ |theta|``: Newton steps on exact quadratics.

    Raises:
        ConvergenceError: no finite minimum.

    Source: proximal Newton with backtracking, Lee, Sun & Saunders (2014), algorithm 1.
    """
    theta, first = start, model.at(model.start()).H
    for _ in range(200):
        at = model.at(theta)
        if not np.isfinite(at.H).all() or runs_away(first, at.H):
            break
        if kkt_gap(at.slope, theta, penalty).max() <= TOLERANCE:
            return theta
        ridge = 1e-10 * np.trace(at.H) / len(theta) * np.eye(len(theta))
        H = at.H + ridge
        step = signed_minimum(H, at.slope - H @ theta, penalty, theta) - theta
        before = at.value + penalty @ np.abs(theta)
        fall = at.slope @ step + penalty @ (np.abs(theta + step) - np.abs(theta))
        scale = 1.0
        while scale > 1e-12:
            new = theta + scale * step
            if model.value(new) + penalty @ np.abs(new) <= before + 1e-4 * scale * fall + 1e-15:
                break
            scale /= 2
        theta = theta + scale * step
    raise ConvergenceError(
        "ordinal regression: no finite estimate at this penalty. A regressor separates the classes "
        "perfectly, or regressors are collinear. Remedies: a larger penalty, more labels of the "
        "rarest class, or fewer regressors."
    )


@dataclasses.dataclass
class Presto:
    """Ordinal regression that shrinks towards proportional odds: probabilities of rare classes.

    The model is ``logit P(class <= k) = a_k + x @ b_k``. Slopes that are equal at all thresholds
    (proportional odds) let common classes tell how a rare one depends on x; slopes of their own (a
    logistic regression per threshold) let it differ. The penalty ``penalty * (level * sum |b_1| +
    sum |b_k - b_(k-1)|)`` fuses slopes where the data do not object.

    Shrunken slopes have no valid standard errors, and none are given: for intervals use
    `ppi.ordinal`, whose equations have no penalty. Probabilities estimated here may serve there, or
    in any other estimator, as predictions, and as ``learner=`` of `ppi.dsl` and `ppi.dml`.

    Attributes:
        penalty: per row and for regressors of unit variance; None chooses it by the likelihood of
            held-out rows.
        level: share of the penalty on the slopes at the first threshold, 1 in the paper; with 0
            only differences are shrunk, and the fit tends to proportional odds.
        folds: parts of the rows, each held out once; every class is in all of them where it can.
        path: penalties tried, evenly spaced in logarithms.
        shortest: the least of them over the greatest, at which all that is shrunk is zero.
        key: seed or key of the folds.

    After ``fit``: ``classes_`` (K,), ``thresholds_`` (K - 1,), ``coef_`` (K - 1, p), ``fused_``
    (K - 2, p) where neighbouring slopes are equal, ``penalty_``, and of the path ``penalties_`` and
    the mean minus log probability of held-out classes ``losses_``.

    Raises:
        ArrayError: classes without an order, fewer than three, weights that are negative.
        TooFewLabelsError: a class with a single row, where the penalty is to be chosen.
        ConvergenceError: no finite estimate.

    Source: Faletto & Bien (2023, arXiv 2305.18700).
    """

    penalty: Number | None = None
    level: Number = 1.0
    folds: int = 5
    path: int = 20
    shortest: Number = 1e-3
    key: Any = 0

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Presto:
        """Fit to regressors (n, p), without an intercept, and ordered classes (n,)."""
        at_least(2, folds=self.folds, path=self.path)
        inside(0, np.inf, closed=True, level=self.level)
        inside(0, 1, shortest=self.shortest)
        if self.penalty is not None:
            inside(0, np.inf, closed=True, penalty=self.penalty)
        X = table("x", x)
        self.classes_, number = numbered("y", y, len(X))
        if len(self.classes_) < 3:
            raise ArrayError(
                f"y holds {len(self.classes_)} class(es); three or more are ordered. For two use "
                "a logistic regression."
            )
        w = (
            np.ones(len(X))
            if sample_weight is None
            else positive("sample_weight", sample_weight, len(X))
        )
        self._centre = w @ X / w.sum()
        scale = np.sqrt(w @ (X - self._centre) ** 2 / w.sum())
        self._scale = np.where(scale > 0, scale, 1.0)
        X = (X - self._centre) / self._scale
        if self.penalty is None:
            self._choose(X, number, w)
        else:
            self.penalty_ = float(self.penalty)
        model = self._model(X, number, w)
        unit = self._unit(model)
        theta = model.start()
        for penalty in self._down_to(model, self.penalty_):
            theta = penalised(model, penalty * unit, theta)
        self._store(model, theta)
        return self

    def _model(self, x: np.ndarray, number: np.ndarray, w: np.ndarray) -> Cumulative:
        count = int(number.max())
        return Cumulative(x, number, w / w.sum(), np.tril(np.ones((count, count))))

    def _unit(self, model: Cumulative) -> np.ndarray:
        """(q,) share of the penalty on each parameter."""
        m, p = model.thresholds, model.x.shape[1]
        return np.concatenate([np.zeros(m), np.full(p, float(self.level)), np.ones((m - 1) * p)])

    def _greatest(self, model: Cumulative) -> tuple[float, np.ndarray]:
        """The least penalty at which all that is shrunk is zero, and the fit there."""
        unit = self._unit(model)
        theta = penalised(model, 1e12 * unit, model.start())
        shrunk = unit > 0
        return float((np.abs(model.at(theta).slope)[shrunk] / unit[shrunk]).max()), theta

    def _down_to(self, model: Cumulative, penalty: float) -> np.ndarray:
        """Penalties on the way to one that is asked for: each fit starts the next."""
        top = self._greatest(model)[0]
        if penalty >= top or penalty == 0:
            return np.array([penalty])
        return np.geomspace(top, penalty, 2 + int(np.log2(top / penalty)))

    def _choose(self, x: np.ndarray, number: np.ndarray, w: np.ndarray) -> None:
        counts = np.bincount(number)
        if counts.min() < 2:
            raise TooFewLabelsError(
                f"the class {self.classes_[counts.argmin()]} has one row, which cannot be held out "
                "and be learned from; label more, merge classes, or give penalty=."
            )
        rng = as_generator(self.key)
        fold = np.empty(len(number), int)
        for k in range(len(counts)):
            rows = rng.permutation(np.flatnonzero(number == k))
            fold[rows] = (np.arange(len(rows)) + k) % self.folds
        top = self._greatest(self._model(x, number, w))[0]
        self.penalties_ = np.geomspace(top, float(self.shortest) * top, self.path)
        lost = np.zeros(self.path)
        for held in range(self.folds):
            test, train = fold == held, fold != held
            model = self._model(x[train], number[train], w[train])
            theta = self._greatest(model)[1]
            for j, penalty in enumerate(self.penalties_):
                theta = penalised(model, penalty * self._unit(model), theta)
                p = class_probabilities(*model.unpack(theta), x[test])
                told = np.maximum(p[np.arange(len(p)), number[test]], 1e-12)
                lost[j] -= w[test] @ np.log(told)
        self.losses_ = lost / w.sum()
        self.penalty_ = float(self.penalties_[np.argmin(self.losses_)])

    def _store(self, model: Cumulative, theta: np.ndarray) -> None:
        a, b = model.unpack(theta)
        steps = theta[model.thresholds :].reshape(b.shape)
        self.fused_ = steps[1:] == 0
        self.coef_ = b / self._scale
        self.thresholds_ = a - self.coef_ @ self._centre

    def predict_proba(self, x: Any) -> np.ndarray:
        """(m, K) probabilities of the classes; where thresholds cross they are put in order."""
        if not hasattr(self, "coef_"):
            raise MethodError("this Presto() is not fitted; call fit(x, y) first.")
        X = table("x", x)
        if X.shape[1] != self.coef_.shape[1]:
            raise ArrayError(f"x has {X.shape[1]} columns; {self.coef_.shape[1]} were fitted.")
        return class_probabilities(self.thresholds_, self.coef_, X)

    def predict(self, x: Any) -> np.ndarray:
        """(m,) the most probable class."""
        return np.asarray(self.classes_[self.predict_proba(x).argmax(axis=1)])
