"""Arrays at the door: one namespace for NumPy and JAX, and refusals that name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ArrayError, LevelError

Array: TypeAlias = np.ndarray | jax.Array
ArrayLike: TypeAlias = np.ndarray | jax.Array | Sequence | float | int | np.number | Any
Number: TypeAlias = float | int | np.number
Level: TypeAlias = float | int | Fraction | Sequence | np.ndarray | np.number
"""Miscoverage: a float, an exact ``Fraction``, or several of them."""


def namespace(*values: Any) -> Any:
    """``jax.numpy`` when a value is a JAX array, else ``numpy``."""
    return jnp if any(isinstance(v, jax.Array) for v in jax.tree.leaves(values)) else np


def is_traced(*values: Any) -> bool:
    """Whether a value is only known inside a JAX transformation."""
    return any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))


def as_float(name: str, values: Any, *, ndim: int | None = None, size: int | None = None) -> Array:
    """A floating array without NaN, of the wanted number of axes and first size.

    Raises:
        ArrayError: NaN, not numeric, wrong number of axes, or wrong size.
    """
    xp = namespace(values)
    if np.ma.is_masked(values):
        raise ArrayError(f"{name} has masked entries; drop them first (values.compressed()).")
    try:
        array = xp.asarray(values)
        if xp.iscomplexobj(array):
            raise TypeError("it is complex")
        if array.dtype.kind in "USO" and any(isinstance(v, str) for v in array.ravel()):
            raise TypeError("it holds text")
        if not xp.issubdtype(array.dtype, np.floating):
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise ArrayError(f"{name} must be numeric, got {type(values).__name__}: {error}.") from None
    if ndim is not None and array.ndim != ndim:
        raise ArrayError(
            f"{name} must have {ndim} axes, got shape {array.shape}; reshape it before the call."
        )
    if size is not None and (array.ndim == 0 or array.shape[0] != size):
        raise ArrayError(f"{name} must have {size} rows to match the others, got {array.shape}.")
    if not is_traced(array) and bool(xp.isnan(array).any()):
        count = int(xp.isnan(array).sum())
        raise ArrayError(
            f"{name} has {count} NaN of {array.size}; drop or impute these points first "
            "(a NaN has no rank, and dropping it silently would void the guarantee)."
        )
    return array


def as_weights(name: str, values: Any, *, size: int | None = None) -> Array:
    """Nonnegative finite weights.

    Raises:
        ArrayError: a weight is negative, infinite or NaN.
    """
    weights = as_float(name, values, size=size)
    if not is_traced(weights) and not bool(((weights >= 0) & (weights < np.inf)).all()):
        raise ArrayError(f"{name} must be finite and nonnegative; got minimum {weights.min()}.")
    return weights


def as_labels(name: str, values: Any, classes: int, *, size: int | None = None) -> Array:
    """Integer class labels from 0 to ``classes - 1``.

    Raises:
        ArrayError: a label is not such an integer.
    """
    xp = namespace(values)
    labels = xp.asarray(values)
    labels = labels.astype(int) if labels.dtype == bool else labels
    if labels.ndim != 1 or not xp.issubdtype(labels.dtype, np.integer):
        raise ArrayError(
            f"{name} must be a vector of integer labels 0..{classes - 1}, got {labels.dtype} of "
            f"shape {labels.shape}; encode names first (sklearn's LabelEncoder, say)."
        )
    if size is not None and labels.shape[0] != size:
        raise ArrayError(f"{name} must have {size} entries, got {labels.shape[0]}.")
    if (
        not is_traced(labels)
        and labels.size
        and not bool(((labels >= 0) & (labels < classes)).all())
    ):
        raise ArrayError(
            f"{name} must lie in 0..{classes - 1} (one per column of the probabilities), got "
            f"{int(labels.min())}..{int(labels.max())}."
        )
    return labels


def as_probabilities(name: str, values: Any) -> Array:
    """(n, K) class probabilities: nonnegative rows that sum to one.

    Raises:
        ArrayError: a row is not a probability vector.
    """
    p = as_float(name, values, ndim=2)
    if is_traced(p) or p.size == 0:
        return p
    off = float(abs(p.sum(axis=1) - 1).max())
    if float(p.min()) < 0 or off > 1e-3:
        raise ArrayError(
            f"{name}: every row must be a probability vector; the smallest entry is "
            f"{float(p.min()):.3g} and a row sum is off by {off:.3g}. "
            "Apply a softmax to logits first."
        )
    return p


def is_single(alpha: Any) -> bool:
    """Whether one level was asked for, so that results have no axis of levels."""
    return np.ndim(alpha) == 0


def as_levels(alpha: Level, name: str = "alpha") -> list[float | Fraction]:
    """The levels as a list of numbers strictly between 0 and 1; Fractions stay exact.

    Raises:
        LevelError: a level is NaN or outside (0, 1).
    """
    raw: list[Any] = [alpha] if is_single(alpha) else list(alpha)  # type: ignore[arg-type]
    levels = [a if isinstance(a, Fraction) else _number(a, name) for a in raw]
    if not levels:
        raise LevelError(f"{name} is empty; give at least one level such as 0.1.")
    for a in levels:
        if not 0 < a < 1:
            raise LevelError(
                f"{name} is the miscoverage and must lie strictly between 0 and 1, got {a}; "
                "for 90 % coverage pass 0.1."
            )
    return levels


def _number(value: Any, name: str) -> float:
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise LevelError(f"{name} must be a number between 0 and 1, got {value!r}.") from None


def fraction(name: str, value: Number, *, closed: bool = False) -> float:
    """A number in (0, 1), or in [0, 1] when ``closed``.

    Raises:
        LevelError: it is not.
    """
    number = _number(value, name)
    inside = 0 <= number <= 1 if closed else 0 < number < 1
    if not inside:
        raise LevelError(f"{name} must lie between 0 and 1, got {value}.")
    return number
