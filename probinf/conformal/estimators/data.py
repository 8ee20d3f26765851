"""Data at the estimators' door: arrays are checked here, data frames by the model inside."""

from __future__ import annotations

from typing import Any

from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_X_y, validate_data

ABSENT: Any = "no_validation"  # scikit-learn's own word; None is a y that was forgotten


def checked(
    estimator: Any,
    X: Any,
    y: Any = ABSENT,
    *,
    inner: Any,
    reset: bool = False,
    numeric: bool = False,
) -> Any:
    """X, or X and y, as the model inside will get them.

    A data frame keeps its columns (names, texts, missing values), which a pipeline inside may
    need; only their names and number are compared with those of ``fit``.
    """
    nan = "allow-nan" if get_tags(inner).input_tags.allow_nan else True
    if not hasattr(X, "columns"):
        if y is ABSENT:
            return validate_data(estimator, X, reset=reset, ensure_all_finite=nan)
        return validate_data(estimator, X, y, reset=reset, ensure_all_finite=nan, y_numeric=numeric)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if y is ABSENT:
        return X
    target = check_X_y([[0.0]] * len(X), y, y_numeric=numeric, estimator=estimator)[1]
    return X, target


def seed_of(random_state: Any) -> int:
    """A seed for randomised scores from scikit-learn's ``random_state``."""
    if isinstance(random_state, int):
        return random_state
    return int(check_random_state(random_state).randint(2**31 - 1))
