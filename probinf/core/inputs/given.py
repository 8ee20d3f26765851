"""Numbers as they were given: kept until it is known which precision a run is in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ArrayError

_INT32 = np.iinfo(np.int32)
_INTEGERS_OF_DOUBLES = 2**53


def as_given(name: str, value: Any) -> Any:
    """An array that JAX can take in either precision, without a digit lost.

    What is NumPy's stays NumPy's (JAX rounds it to the precision that is on when it is used);
    whole numbers become int32, or float64 where 32 bits do not hold them.

    Args:
        name: for messages.
        value: an array, or what ``np.asarray`` makes one of.

    Raises:
        ArrayError: whole numbers that no float64 holds either.
    """
    if isinstance(value, jax.Array):
        short = jnp.issubdtype(value.dtype, jnp.integer) and value.dtype.itemsize < 4
        return value.astype(jnp.int32) if short else value
    kept = np.array(value)
    if kept.dtype.kind in "iu":
        kept = _whole(name, kept)
    elif kept.dtype.kind == "f" and kept.dtype.itemsize > 8:
        kept = kept.astype(float)
    kept = kept.astype(kept.dtype.newbyteorder("="), copy=False)
    kept.flags.writeable = False
    return kept


def number_as_given(name: str, value: Any) -> Any:
    """A Python integer that 32 bits do not hold as a float; everything else as it is.

    Raises:
        ArrayError: no float64 holds it either.
    """
    if type(value) is int and not _INT32.min <= value <= _INT32.max:
        if int(float(value)) != value:
            raise _too_long(name, value)
        return float(value)
    return value


def _whole(name: str, value: np.ndarray) -> np.ndarray:
    low, high = (int(value.min()), int(value.max())) if value.size else (0, 0)
    if low >= _INT32.min and high <= _INT32.max:
        return value.astype(np.int32)
    rounded = value.astype(float)
    if max(-low, high) > _INTEGERS_OF_DOUBLES:
        broken = [v for v in value.ravel() if int(float(v)) != int(v)]
        if broken:
            raise _too_long(name, int(broken[0]))
    return rounded


def _too_long(name: str, value: int) -> ArrayError:
    return ArrayError(
        f"{name} holds the whole number {value}, which neither 32 bits nor a float64 holds exactly "
        "(float64 ends at 2**53). Subtract an origin first (t - t.min(), for time stamps), or "
        "pass it as floats (y.astype(float)) if its last digits do not matter."
    )
