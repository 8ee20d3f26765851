"""Cross-fitting: predictions of labelled rows by models that have not seen their labels."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas, same_index
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, TooFewLabelsError
from probinf.ppi.estimators.learners import check_learner, expectations
from probinf.ppi.inference.checks import numeric, table, untraced
from probinf.ppi.inference.columns import same_columns
from probinf.ppi.inference.ids import as_ids


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


def folds_of(n: int, folds: int, rng: np.random.Generator, groups: Any = None) -> np.ndarray:
    """A random fold (n,) per row; rows of one group share theirs."""
    at_least(2, folds=folds)
    ids = np.arange(n)
    if groups is not None:
        ids = np.unique(as_ids("groups", groups, n), return_inverse=True)[1]
    count = int(ids.max()) + 1
    if count < folds:
        raise TooFewLabelsError(f"{count} labelled rows or groups cannot fill {folds} folds.")
    return (rng.permutation(count) % folds)[ids]


def _fresh(learner: Any) -> Any:
    if hasattr(learner, "get_params"):
        from sklearn.base import clone

        return clone(learner)
    return copy.deepcopy(learner)


def as_features(name: str, a: Any) -> Any:
    """Features (rows, p) as a learner is to see them: DataFrames and sparse matrices stay such.

    Raises:
        ArrayError: not one row per case.
    """
    untraced(name, a)
    if hasattr(a, "tocsr"):
        return a.tocsr()
    found: Any = a if is_pandas(a) else np.asarray(a)
    if found.ndim == 1:
        return found.to_frame() if is_pandas(a) else found[:, None]
    if found.ndim != 2:
        raise ArrayError(f"{name} has shape {found.shape}; it must have one row per case.")
    return found


def _rows(x: Any, chosen: np.ndarray) -> Any:
    return x.iloc[np.flatnonzero(chosen)] if is_pandas(x) else x[chosen]


def _fitted(learner: Any, x: Any, y: np.ndarray, test: Any, other: Any) -> Any:
    """Predictions of a fresh copy of a learner with ``fit`` and ``predict``."""
    model = _fresh(learner)
    try:
        model = model.fit(x, y) or model
    except ValueError as error:
        few = f"; all {len(y)} have the label {y[0]:g}" if y.ndim == 1 and np.ptp(y) == 0 else ""
        raise ArrayError(
            f"{type(learner).__name__} could not learn from the {len(y)} rows outside a fold{few}: "
            f"{error}"
        ) from error
    return expectations(model, test, y), expectations(model, other, y)


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
            and pipelines (classifiers predict expected class values); or a function ``(x, y,
            x_new) -> predictions`` of arrays; None is `Ridge`.
        features: (n, p) of labelled rows. A learner with ``fit`` gets them as they are, so that
            it may choose columns of a DataFrame by name, impute, or take text; `Ridge` and
            functions get finite numbers.
        y: (n,) or (n, k) labels.
        features_unlabeled: (N, p) of unlabelled rows; columns of DataFrames are matched by name.
        folds: how many models.
        groups: (n,) cluster labels that must not be torn apart.
        key: seed or key of the folds.

    Raises:
        ArrayError: rows or columns that do not fit, missing groups, predictions that are no
            finite numbers, a learner that fails on a fold.
        MethodError: what is no learner.
        TooFewLabelsError: fewer rows or groups than folds.

    Source: cross-prediction (arXiv 2309.16598).
    """
    check_learner("learner", learner)
    same_index(features=features, y=y, groups=groups)
    features_unlabeled = same_columns(
        "features", features, "features_unlabeled", features_unlabeled
    )
    x = as_features("features", features)
    z = as_features("features_unlabeled", features_unlabeled)
    decides = hasattr(learner, "fit")
    if not decides:
        x, z = table("features", x), table("features_unlabeled", z)
    target = numeric("y", y, ndim=(1, 2))
    n = len(target)
    if x.shape[0] != n:
        raise ArrayError(f"features has {x.shape[0]} rows, y {n}.")
    if x.shape[1] != z.shape[1]:
        raise ArrayError(f"features has {x.shape[1]} columns, features_unlabeled {z.shape[1]}.")
    fold = folds_of(n, folds, as_generator(key), groups)
    f = np.zeros(target.shape)
    by_fold = []
    for k in range(folds):
        train = fold != k
        parts = _rows(x, train), target[train], _rows(x, ~train), z
        if decides or learner is None:
            test, other = _fitted(Ridge() if learner is None else learner, *parts)
        else:
            new = np.vstack(parts[2:])
            found = np.asarray(learner(*parts[:2], new), float)
            test, other = found[: len(parts[2])], found[len(parts[2]) :]
        if test.shape != f[~train].shape or other.shape != (z.shape[0], *target.shape[1:]):
            raise ArrayError(
                f"the learner predicted arrays of shapes {test.shape} and {other.shape} in fold "
                f"{k}; one prediction per row is {f[~train].shape} and "
                f"{(z.shape[0], *target.shape[1:])}."
            )
        if not (np.isfinite(test).all() and np.isfinite(other).all()):
            raise ArrayError(f"the learner predicted NaN or infinite values in fold {k}.")
        f[~train] = test
        by_fold.append(other)
    stacked = np.stack(by_fold)
    return CrossFit(f, stacked.mean(axis=0), fold, stacked)
