"""Scores for a selection without a split, by any learner: labelled and test points fitted alike."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import is_pandas, same_index
from probinf.core.inputs.limits import at_least, positive
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError, MethodError


def joint_out_of_fold(
    key: int | Key,
    X: Any,
    large: ArrayLike,
    X_test: Any,
    learner: Any,
    *,
    folds: int = 10,
    scores_scale: Number = 1000.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores for OptCS-Full without a split, for any learner.

    The binary label "outcome above its threshold" (0 for all test points) is learned on all but one
    fold of labelled and test points together, and predicted on that fold; folds and the order of
    rows are random, so that no learner can tell labelled from test points by their place. Under the
    null all n + m points are then treated alike, and plain BH is valid with one learner.

    Args:
        key: random key or seed of folds and order.
        X: (n, d) covariates of labelled points, or a DataFrame.
        large: (n,) booleans y > c.
        X_test: (m, d), or a DataFrame with the same columns.
        learner: anything with ``fit`` and ``predict_proba`` or ``predict`` (scikit-learn's
            classifiers, regressors and pipelines), a function ``(x, label, x_new) -> predictions``,
            or a sequence of K of them.
        folds: how many.
        scores_scale: M in ``M 1{y > c} - mu``.

    Returns:
        (K, n) and (K, m) scores.

    Raises:
        ArrayError: shapes or columns that differ, predictions that are no finite numbers.
        MethodError: a learner without ``fit``, more folds than points.

    Source: Bai & Jin (2024), OptCS-Full, with folds in place of single points.
    """
    same_index(X=X, large=large)
    at_least(2, folds=folds)
    positive(scores_scale=scores_scale)
    both = _stacked(X, X_test)
    label = np.asarray(large).astype(bool)
    n, total = label.size, len(both)
    if label.shape != (total - len(X_test),):
        raise ArrayError(f"large must hold {total - len(X_test)} booleans, got {label.shape}.")
    if folds > total:
        raise MethodError(f"folds={folds} exceeds the {total} points.")
    target = np.append(label, np.zeros(total - n, bool)).astype(int)
    random = as_generator(key)
    order = random.permutation(total)
    fold = np.empty(total, int)
    fold[order] = np.arange(total) % folds
    learners = list(learner) if isinstance(learner, Sequence) else [learner]
    scores = []
    for one in learners:
        mu = np.empty(total)
        for k in range(folds):
            train = order[fold[order] != k]
            test = order[fold[order] == k]
            mu[test] = _predicted(one, _rows(both, train), target[train], _rows(both, test))
        if not np.isfinite(mu).all():
            raise ArrayError(f"{one!r} predicted NaN or infinite values.")
        if abs(mu).max() * 2 >= scores_scale:
            raise ArrayError(
                f"predictions reach {abs(mu).max():g}, beyond half of scores_scale="
                f"{scores_scale:g}: give a larger one."
            )
        scores.append(np.where(target == 1, float(scores_scale), 0.0) - mu)
    found = np.stack(scores)
    return found[:, :n], found[:, n:]


def _stacked(X: Any, X_test: Any) -> Any:
    if is_pandas(X) != is_pandas(X_test):
        raise ArrayError("X and X_test must both be DataFrames or both be arrays.")
    if not is_pandas(X):
        x, t = (np.asarray(as_float(k, v, ndim=2)) for k, v in (("X", X), ("X_test", X_test)))
        if x.shape[1] != t.shape[1]:
            raise ArrayError(f"X has {x.shape[1]} columns, X_test {t.shape[1]}.")
        return np.vstack([x, t])
    import pandas as pd

    if sorted(map(str, X.columns)) != sorted(map(str, X_test.columns)):
        raise ArrayError("X and X_test have different columns.")
    return pd.concat([X, X_test[list(X.columns)]], ignore_index=True)


def _rows(x: Any, rows: np.ndarray) -> Any:
    return x.iloc[rows] if is_pandas(x) else x[rows]


def _predicted(learner: Any, x: Any, label: np.ndarray, new: Any) -> np.ndarray:
    """(rows,) predictions of the label by a fresh copy of the learner."""
    if not hasattr(learner, "fit"):
        if not callable(learner):
            raise MethodError(f"learner {learner!r} has no fit(x, label) and is no function.")
        return np.asarray(learner(x, label, new), float)
    if label.min() == label.max():  # a classifier of one class has nothing to learn
        return np.full(len(new), float(label[0]))
    if hasattr(learner, "get_params"):
        from sklearn.base import clone

        model = clone(learner)
    else:
        model = copy.deepcopy(learner)
    model = model.fit(x, label) or model
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(new)[:, 1], float)
    return np.asarray(model.predict(new), float)
