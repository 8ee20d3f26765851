"""Floating point at the edge of a set: what a score accepts, the interval must hold."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import is_traced, namespace
from probinf.errors import ArrayError

LOST = 1e-2  # share of a column's standard deviation that rounding may take
UNITS = 2  # roundings of the step: its difference, quotient and product, half a unit each


def together(*arrays: Any) -> Any:
    """The arrays in one place, so that none loses digits to another's type.

    Where one of them lies on the host, all are taken there in double precision; JAX arrays among
    themselves, and whatever is inside ``jit``, stay as they are.
    """
    if is_traced(*arrays):
        for a in arrays:
            if namespace(a) is np and np.ndim(a) == 1:
                must_survive_single(**{"an argument beside traced ones": a})
        return arrays
    if all(namespace(a) is not np for a in arrays):
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
    error = jnp.finfo(ends.dtype).eps * (abs(ends) + UNITS * size)
    return ends + side * xp.where(xp.isfinite(error) & (size > 0), error, 0.0)


def beyond(centre: Any, step: Any, side: int) -> Any:
    """``centre + step``, rounded up for ``side`` 1 and down for -1.

    A score and its inverse round differently: ``1.1 - (1.1 - .1)`` lies above ``.1``, whose score
    was the threshold. An end that is moved by the rounding error holds every outcome whose score
    is at most the threshold.
    """
    centre, step = together(centre, step)
    return outward(centre + step, abs(step), side)


def must_survive_single(**columns: Any) -> None:
    """Refuse what compiled code is about to round away.

    Raises:
        ArrayError: JAX's floats are single, and rounding an argument to them moves a value by more
            than a hundredth of its column's standard deviation.
    """
    if jnp.result_type(float) == np.float64 or is_traced(columns):
        return
    for name, given in columns.items():
        values = np.asarray(given, float)
        values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        moved = abs(values - values.astype(np.float32)).max(axis=0, initial=0.0)
        spread = (values - values[:1]).std(axis=0) if len(values) else moved
        lost = np.flatnonzero((moved > LOST * spread) & (spread > 0))
        if lost.size:
            j = int(lost[0])
            where = f", column {j}" if values.shape[1] > 1 else ""
            raise ArrayError(
                f"{name}{where} needs more digits than single precision has: values near "
                f"{values[0, j]:.6g} with a standard deviation of {spread[j]:.3g} would move by up "
                f"to {moved[j]:.3g}. Subtract a constant first (the mean, say), from predictions "
                "and outcomes alike, or call inside jax.enable_x64(True)."
            )
