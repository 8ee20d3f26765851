"""Levels at the door: error rates, shares and probabilities; and names of groups."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from probinf.core.inputs.arrays import Number, unmasked
from probinf.errors import ArrayError, LevelError

Level: TypeAlias = float | int | Fraction | Sequence | np.ndarray | np.number
"""Miscoverage: a float, an exact ``Fraction``, or several of them."""


def is_single(alpha: Any) -> bool:
    """Whether one level was asked for, so that results have no axis of levels."""
    return np.ndim(alpha) == 0


def as_levels(alpha: Level, name: str = "alpha") -> list[float | Fraction]:
    """The levels as a list of numbers strictly between 0 and 1; Fractions stay exact.

    Raises:
        LevelError: a level is NaN or outside (0, 1).
    """
    raw: list[Any] = [alpha] if is_single(alpha) else list(alpha)  # type: ignore[arg-type]
    if not raw:
        raise LevelError(f"{name} is empty; give at least one level such as 0.1.")
    return [_level(a, name) for a in raw]


def as_level(alpha: Any, name: str = "alpha") -> float:
    """One level, a number strictly between 0 and 1.

    Raises:
        LevelError: there are several, or it is not such a number.
    """
    if not is_single(alpha):
        raise LevelError(f"{name} must be a single number between 0 and 1, got {alpha!r}.")
    return float(_level(alpha, name))


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


def _level(value: Any, name: str) -> float | Fraction:
    level = value if isinstance(value, Fraction) else _number(value, name)
    if not 0 < level < 1:
        raise LevelError(
            f"{name} is the error rate (the miscoverage) and must lie strictly between 0 and 1, "
            f"got {level}; for 90 % coverage pass {name}=0.1."
        )
    return level


def _number(value: Any, name: str) -> float:
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise LevelError(f"{name} must be a number between 0 and 1, got {value!r}.") from None


def as_groups(name: str, values: Any, size: int | None = None) -> np.ndarray:
    """Names of groups (n,), numbers or text, none of them missing.

    Raises:
        ArrayError: an entry is NaN, None, NaT or NA; numbers among texts; wrong size or axes.
    """
    raw = unmasked(name, values)
    listed = not hasattr(raw, "dtype") and not hasattr(raw, "shape")
    groups = np.asarray(list(raw), object) if listed and np.ndim(raw) == 1 else np.asarray(raw)
    if groups.ndim != 1:
        raise ArrayError(f"{name} must be a vector of group names, got shape {groups.shape}.")
    if size is not None and groups.size != size:
        raise ArrayError(f"{name} must have {size} entries, got {groups.size}.")
    missing = _missing(groups)
    if missing.any():
        raise ArrayError(
            f"{name} has {int(missing.sum())} missing name(s) (NaN, None or NA) of {groups.size}, "
            f"the first at [{int(missing.argmax())}]; drop those rows, or give points of unknown "
            "group a name of their own."
        )
    if groups.dtype == object and groups.size:
        text = [isinstance(g, str) for g in groups]
        if any(text) and not all(text):
            raise ArrayError(f"{name} mixes text and numbers; name all groups in one way.")
        plain = np.array(groups.tolist())
        groups = plain if plain.ndim == 1 else groups
    return groups


def _missing(groups: np.ndarray) -> np.ndarray:
    """Entries that are no name: NaN, NaT, None, NA. What is missing does not equal itself."""
    if groups.dtype.kind in "fcmM":
        return np.asarray(groups != groups)
    if groups.dtype.kind != "O":
        return np.zeros(groups.size, bool)
    return np.array([_absent(g) for g in groups], bool)


def _absent(value: Any) -> bool:
    try:
        return value is None or not bool(value == value)
    except TypeError:  # whether NA equals itself is NA, which is neither true nor false
        return True
