"""What users of PPI hand in, checked and turned into finite float64 NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import as_float, is_traced, nonnegative
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.frames import column_names, is_pandas
from probinf.errors import ArrayError, LevelError, TooFewLabelsError

REMEDY = "drop those rows, or move rows without a label to the unlabelled arguments"


class Column(NamedTuple):
    """A checked array and the names of its columns."""

    values: np.ndarray
    names: tuple[str, ...]
    pandas: bool


def untraced(name: str, a: Any) -> Any:
    """``a``, unless it is only known inside a JAX transformation."""
    if is_traced(a):
        raise ArrayError(f"{name} is traced by JAX; inside jit or vmap use probinf.ppi.core.")
    return a


def numeric(
    name: str, a: Any, *, ndim: tuple[int, ...] = (1,), size: int | None = None
) -> np.ndarray:
    """``a`` as a finite float64 array with one of the allowed numbers of axes."""
    values = as_float(name, untraced(name, a), ndim=ndim, size=size, finite=True, remedy=REMEDY)
    return np.asarray(values, np.float64)


def table(name: str, a: Any) -> np.ndarray:
    """``a`` as a finite matrix; a vector is its only column."""
    values = numeric(name, a, ndim=(1, 2))
    return values[:, None] if values.ndim == 1 else values


def column(name: str, a: Any, *, ndim: tuple[int, ...] = (1,)) -> Column:
    """A checked array with the names that its columns have, or are given."""
    values = numeric(name, a, ndim=ndim)
    return Column(values, column_names(a, values.ndim), is_pandas(a))


def positive(name: str, a: Any, rows: int) -> np.ndarray:
    """Finite, nonnegative weights with a positive sum."""
    values = numeric(name, a, size=rows)
    nonnegative(name, values)
    if values.sum() <= 0:
        raise ArrayError(f"{name} must have a positive sum, but all are zero.")
    return values


def shares(name: str, a: Any, *, ndim: tuple[int, ...] = (1,)) -> np.ndarray:
    """Probabilities, each between 0 and 1."""
    values = numeric(name, a, ndim=ndim)
    if (values < 0).any() or (values > 1).any():
        raise LevelError(
            f"{name} must lie in [0, 1]; it ranges from {values.min():g} to {values.max():g}."
        )
    return values


def class_numbers(name: str, values: np.ndarray, classes: int) -> np.ndarray:
    """Class labels from 0 to ``classes - 1``, from whole numbers of any type."""
    if (values != np.round(values)).any():
        raise ArrayError(f"{name} must hold class numbers 0 ... {classes - 1}, but has fractions.")
    return np.asarray(as_labels(name, values.astype(int), classes))


def check_counts(n: int, total: int, needed: int, what: str) -> None:
    """Raise when the labelled or unlabelled sample is too small for a variance."""
    if n < needed:
        raise TooFewLabelsError(
            f"{n} labelled row(s) are too few for {what}: at least {needed} are needed. "
            "Label more rows, or estimate fewer parameters."
        )
    if total < 2:
        raise TooFewLabelsError(
            f"{total} unlabelled row(s): at least 2 are needed. Without unlabelled rows, use "
            "method='classical'."
        )
