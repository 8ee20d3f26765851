"""Options: counts that are large enough, numbers inside an interval, one of several words."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.errors import MethodError


def at_least(least: int, **options: Any) -> None:
    """Counts must be whole numbers and not smaller; None is no count.

    Raises:
        MethodError: one of them is.
    """
    for name, value in options.items():
        if value is None:
            continue
        if not isinstance(value, numbers.Integral):
            raise MethodError(f"{name} must be a whole number, got {value!r}.")
        if value < least:
            raise MethodError(f"{name} must be at least {least}, got {value}.")


def inside(low: Number, high: Number, *, closed: bool = False, **options: Any) -> None:
    """Numbers must lie in an interval, the ends of which count where it is ``closed``.

    Raises:
        MethodError: one of them lies outside, or is NaN or no number.
    """
    for name, value in options.items():
        real = isinstance(value, numbers.Real) or (np.ndim(value) == 0 and hasattr(value, "dtype"))
        if not real or not (low < value < high or (closed and value in (low, high))):
            ends = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
            raise MethodError(f"{name} must lie in {ends}, got {value!r}.")


def positive(**options: Any) -> None:
    """Numbers must be positive and finite; None is no number.

    Raises:
        MethodError: one of them is not.
    """
    for name, value in options.items():
        if value is not None and not (
            isinstance(value, numbers.Real) and 0 < float(value) < np.inf
        ):
            raise MethodError(f"{name} must be positive, got {value!r}.")


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """A word must be one of those allowed.

    Raises:
        MethodError: it is not.
    """
    if value not in allowed:
        raise MethodError(
            f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}."
        )
