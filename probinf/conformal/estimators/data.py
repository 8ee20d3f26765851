"""Data at the estimators' door: the model inside decides what it can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import _num_samples, check_X_y, validate_data

ABSENT: Any = "no_validation"  # scikit-learn's own word; None is a y that was forgotten


def checked(
    estimator: Any,
    X: Any,
    y: Any = ABSENT,
    *,
    reset: bool = False,
    numeric: bool = False,
) -> Any:
    """X, or X and y, as the model inside will get them.

    Missing values, sparse matrices and texts are for the model inside, which takes or refuses
    them. A data frame keeps its columns, and texts stay as they are; only names and number of the
    columns are compared with those of ``fit``.
    """
    if _numbers(X):
        X = validate_data(estimator, X, reset=reset, ensure_all_finite=False, accept_sparse="csr")
    else:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    if y is ABSENT:
        return X
    blank = np.zeros((_num_samples(X), 1))
    return X, check_X_y(blank, y, y_numeric=numeric, estimator=estimator)[1]


def _numbers(X: Any) -> bool:
    """Whether X is an array of numbers rather than a data frame, texts or a list of records."""
    if issparse(X):
        return True
    return not hasattr(X, "columns") and np.asarray(X).dtype.kind not in "OUST"


def tags_like(tags: Any, inner: Any) -> Any:
    """scikit-learn's tags of an estimator that takes what the model inside takes."""
    inside = get_tags(inner).input_tags
    tags.input_tags.sparse, tags.input_tags.allow_nan = inside.sparse, inside.allow_nan
    return tags


def seed_of(random_state: Any) -> int:
    """A seed for randomised scores from scikit-learn's ``random_state``."""
    if isinstance(random_state, int):
        return random_state
    return int(check_random_state(random_state).randint(2**31 - 1))
