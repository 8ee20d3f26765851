"""Floating point at the edge of a set: what a score accepts, the interval must hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import is_traced, namespace

UNITS = 2  # roundings of the step: its difference, quotient and product, half a unit each


def together(*arrays: Any) -> Any:
    """The arrays in one place, so that none loses digits to another's type.

    Where one of them lies on the host, all are taken there in double precision; JAX arrays among
    themselves, and whatever is inside ``jit``, stay as they are.
    """
    if is_traced(*arrays) or all(namespace(a) is not np for a in arrays):
        return arrays
    return tuple(np.asarray(a, float) for a in arrays)


def outward(ends: Any, size: Any, side: int) -> Any:
    """Ends moved up (``side`` 1) or down (-1) by the rounding error of what they are made of.

    Args:
        ends: the ends, a sum with a part of this ``size``.
        size: nonnegative; where it is infinite, or zero, the ends are exact.
        side: 1 or -1.
    """
    xp = namespace(ends, size)
    error = np.finfo(ends.dtype).eps * (abs(ends) + UNITS * size)
    return ends + side * xp.where(xp.isfinite(error) & (size > 0), error, 0.0)


def beyond(centre: Any, step: Any, side: int) -> Any:
    """``centre + step``, rounded up for ``side`` 1 and down for -1.

    A score and its inverse round differently: ``1.1 - (1.1 - .1)`` lies above ``.1``, whose score
    was the threshold. An end that is moved by the rounding error holds every outcome whose score
    is at most the threshold.
    """
    centre, step = together(centre, step)
    return outward(centre + step, abs(step), side)
