"""Cross-fitting: predictions of labelled rows by models that have not seen their labels."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_rows
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, TooFewLabelsError
from probinf.ppi.inference.checks import numeric


class CrossFit(NamedTuple):
    """Out-of-fold predictions.

    Attributes:
        f: (n, ...) predictions of labelled rows, each by the model trained without its fold.
        f_unlabeled: (N, ...) mean prediction of all fold models.
        fold: (n,) fold of every labelled row.
        by_fold: (folds, N, ...) predictions of every model.
    """

    f: np.ndarray
    f_unlabeled: np.ndarray
    fold: np.ndarray
    by_fold: np.ndarray


@dataclasses.dataclass
class Ridge:
    """Ridge regression on standardised features and their squares, the learner by default.

    Attributes:
        penalty: of the squared coefficients, per row.
        squares: whether squares of the features are used, too.
    """

    penalty: Number = 1e-2
    squares: bool = True

    def _expand(self, x: np.ndarray) -> np.ndarray:
        z = (x - self._centre) / self._scale
        return np.hstack([z, z**2]) if self.squares else z

    def fit(self, x: np.ndarray, y: np.ndarray) -> Ridge:
        """Fit to features (n, p) and outcomes (n,) or (n, k)."""
        self._centre, scale = x.mean(axis=0), x.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        z = self._expand(x)
        self._mean_z, self._mean_y = z.mean(axis=0), y.mean(axis=0)
        z = z - self._mean_z
        gram = z.T @ z + self.penalty * len(z) * np.eye(z.shape[1])
        self._beta = np.linalg.solve(gram, z.T @ (y - self._mean_y))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predictions for features (n, p)."""
        return self._mean_y + (self._expand(x) - self._mean_z) @ self._beta


def folds_of(
    n: int, folds: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """A random fold (n,) per row; rows of one group share theirs."""
    at_least(2, folds=folds)
    ids = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(ids.max()) + 1
    if count < folds:
        raise TooFewLabelsError(f"{count} labelled rows or groups cannot fill {folds} folds.")
    return (rng.permutation(count) % folds)[ids]


def _fresh(learner: Any) -> Any:
    if hasattr(learner, "get_params"):
        from sklearn.base import clone

        return clone(learner)
    return copy.deepcopy(learner)


def _predictions(model: Any, x: np.ndarray) -> np.ndarray:
    if hasattr(model, "predict_proba") and hasattr(model, "classes_"):
        classes = model.classes_
        if len(classes) == 2:
            p = model.predict_proba(x)[:, 1]
            return np.asarray(classes[0] * (1 - p) + classes[1] * p, float)
        return np.asarray(model.predict_proba(x) @ np.asarray(classes, float))
    return np.asarray(model.predict(x), float)


def cross_fit(
    learner: Any,
    features: Any,
    y: Any,
    features_unlabeled: Any,
    *,
    folds: int = 5,
    groups: Any = None,
    key: Any = 0,
) -> CrossFit:
    """Train on all folds but one, predict the one left out: cross-prediction.

    Give ``f`` and ``f_unlabeled`` to any estimator of this package whose loss is linear in the
    outcome (means, regressions): that is cross-PPI, and no label is wasted on training.

    Args:
        learner: anything with ``fit(x, y)`` and ``predict(x)``, such as scikit-learn's models
            (classifiers predict expected class values); or a function ``(x, y, x_new) ->
            predictions``; None is `Ridge`.
        features: (n, p) of labelled rows.
        y: (n,) or (n, k) labels.
        features_unlabeled: (N, p) of unlabelled rows.
        folds: how many models.
        groups: (n,) cluster labels that must not be torn apart.
        key: seed or key of the folds.

    Source: cross-prediction (arXiv 2309.16598).
    """
    x, z = (
        numeric("features", features, ndim=(2,)),
        numeric("features_unlabeled", features_unlabeled, ndim=(2,)),
    )
    target = numeric("y", y, ndim=(1, 2))
    n = same_rows(features=x, y=target)
    if x.shape[1] != z.shape[1]:
        raise ArrayError(f"features has {x.shape[1]} columns, features_unlabeled {z.shape[1]}.")
    fold = folds_of(n, folds, as_generator(key), None if groups is None else np.asarray(groups))
    f = np.zeros(target.shape)
    by_fold = []
    for k in range(folds):
        train = fold != k
        new = np.vstack([x[~train], z])
        if learner is not None and not hasattr(learner, "fit") and callable(learner):
            found = np.asarray(learner(x[train], target[train], new), float)
        else:
            model = _fresh(Ridge() if learner is None else learner)
            found = _predictions(model.fit(x[train], target[train]) or model, new)
        if not np.isfinite(found).all():
            raise ArrayError(f"the learner predicted NaN or infinite values in fold {k}.")
        f[~train] = found[: (~train).sum()]
        by_fold.append(found[(~train).sum() :])
    stacked = np.stack(by_fold)
    return CrossFit(f, stacked.mean(axis=0), fold, stacked)
