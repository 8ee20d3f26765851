"""Options of engines: counts that are large enough, numbers inside an interval."""

from __future__ import annotations

import numpy as np

from probinf.errors import MethodError

Number = float | int | np.number


def at_least(least: int, **options: int | np.integer | None) -> None:
    """Counts must not be smaller; None is no count.

    Raises:
        MethodError: one of them is.
    """
    for name, value in options.items():
        if value is not None and value < least:
            raise MethodError(f"{name} must be at least {least}, got {value}.")


def inside(low: Number, high: Number, *, closed: bool = False, **options: Number) -> None:
    """Numbers must lie in an interval, the ends of which count where it is ``closed``.

    Raises:
        MethodError: one of them lies outside, or is NaN.
    """
    for name, value in options.items():
        if not (low < value < high or (closed and value in (low, high))):
            ends = f"[{low:g}, {high:g}]" if closed else f"({low:g}, {high:g})"
            raise MethodError(f"{name} must lie in {ends}, got {value}.")
