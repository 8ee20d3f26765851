"""Data at the estimators' door: the model inside decides what it can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils.validation import (
    _num_samples,
    check_X_y,
    has_fit_parameter,
    validate_data,
)

from probinf.core.inputs.arrays import as_weights
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import as_groups
from probinf.errors import ArrayError, MethodError

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


def beside(X: Any, groups: Any = None, sample_weight: Any = None) -> tuple[Any, Any]:
    """Groups and weights of the rows of X, each (n,) or None.

    Raises:
        ArrayError: another number of rows, another index, missing names, negative weights.
    """
    same_index(X=X, groups=groups, sample_weight=sample_weight)
    n = _num_samples(X)
    if groups is not None:
        groups = as_groups("groups", groups, n)
    if sample_weight is not None:
        sample_weight = np.asarray(as_weights("sample_weight", sample_weight), float)
        if sample_weight.shape != (n,):
            raise ArrayError(
                f"sample_weight must hold {n} numbers, one per row, got {sample_weight.shape}."
            )
    return groups, sample_weight


def both_sides(calibrated: Any, groups: Any = None, sample_weight: Any = None) -> dict[str, Any]:
    """Groups and weights of calibration and test points, as ``split`` takes them.

    Raises:
        ArrayError: one side has them and the other has not.
    """
    found: dict[str, Any] = {}
    pairs = (
        ("groups", calibrated.groups_, groups),
        ("sample_weight", calibrated.weights_, sample_weight),
    )
    for name, cal, test in pairs:
        if (cal is None) != (test is None):
            there = "was calibrated without" if cal is None else "was calibrated with"
            raise ArrayError(
                f"{type(calibrated).__name__} {there} {name}=, and the test points have "
                f"{'them' if cal is None else 'none'}: give {name}= when calibrating and when "
                "predicting, or never."
            )
    if groups is not None:
        found |= {"groups_cal": calibrated.groups_, "groups_test": groups}
    if sample_weight is not None:
        found |= {"weights_cal": calibrated.weights_, "weights_test": sample_weight}
    return found


def apart(size: Any, seed: Any, X: Any, *columns: Any, stratify: Any = None) -> tuple[Any, Any]:
    """(X, *columns) to fit with and to calibrate with; the latter None where ``size`` is None."""
    if size is None:
        return (X, *columns), None
    rows = np.arange(_num_samples(X))
    parts = train_test_split(rows, test_size=size, random_state=seed, stratify=stratify)
    fit, held = (
        tuple(None if a is None else _safe_indexing(a, part) for a in (X, *columns))
        for part in parts
    )
    return fit, held


def trained(model: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
    """A copy of ``model`` fitted to these rows, each of which counts ``sample_weight`` times.

    Raises:
        MethodError: the model takes no weights.
    """
    copy = clone(model)
    if sample_weight is None:
        return copy.fit(X, y)
    last = copy.steps[-1][1] if isinstance(copy, Pipeline) else copy
    if not has_fit_parameter(last, "sample_weight"):
        raise MethodError(
            f"sample_weight: {type(last).__name__}.fit takes no weights; choose a model that "
            "does, or fit without. Likelihood ratios of shifted test data belong to conformalize."
        )
    name = f"{copy.steps[-1][0]}__sample_weight" if isinstance(copy, Pipeline) else "sample_weight"
    return copy.fit(X, y, **{name: sample_weight})


def _numbers(X: Any) -> bool:
    """Whether X is an array of numbers rather than a data frame, texts or a list of records."""
    if issparse(X):
        return True
    return not hasattr(X, "columns") and np.asarray(X).dtype.kind not in "OUST"


def tags_like(tags: Any, inner: Any) -> Any:
    """scikit-learn's tags of an estimator that takes what the model inside takes."""
    if not hasattr(inner, "__sklearn_tags__"):  # another framework's: it alone knows
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags
    inside = get_tags(inner).input_tags
    tags.input_tags.sparse, tags.input_tags.allow_nan = inside.sparse, inside.allow_nan
    return tags


def seed_of(random_state: Any) -> int:
    """A seed for randomised scores from scikit-learn's ``random_state``."""
    if isinstance(random_state, int):
        return random_state
    return int(check_random_state(random_state).randint(2**31 - 1))
