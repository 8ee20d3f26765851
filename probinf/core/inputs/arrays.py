"""Arrays at the door: one namespace for NumPy and JAX, and refusals that name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ArrayError

Array: TypeAlias = np.ndarray | jax.Array
ArrayLike: TypeAlias = np.ndarray | jax.Array | Sequence | float | int | np.number | Any
Number: TypeAlias = float | int | np.number
"""What users write for a real number."""

_NO_RANK = (
    "drop or impute these points first (a NaN has no rank, and dropping it silently would void "
    "the guarantee)"
)


def namespace(*values: Any) -> Any:
    """``jax.numpy`` when a value is a JAX array, else ``numpy``."""
    return jnp if any(isinstance(v, jax.Array) for v in jax.tree.leaves(values)) else np


def is_traced(*values: Any) -> bool:
    """Whether a value is only known inside a JAX transformation."""
    return any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))


def unmasked(name: str, values: Any) -> Any:
    """``values``, unless some are masked, which arrays would forget."""
    if np.ma.is_masked(values):
        raise ArrayError(f"{name} has masked values; drop those rows (for example a[~a.mask]).")
    return values


def plain(name: str, values: Any) -> Array:
    """An array that lost nothing on the way: no masked entries, text or imaginary parts.

    Raises:
        ArrayError: there are some, or there is no such array.
    """
    xp = namespace(values)
    try:
        array = xp.asarray(unmasked(name, values))
    except (TypeError, ValueError) as error:
        raise _not_numbers(name, error) from None
    if array.dtype.kind in "USO" and any(isinstance(v, str) for v in array.ravel()):
        raise _not_numbers(name, "it holds text")
    if xp.iscomplexobj(array):
        raise ArrayError(f"{name} is complex; give its real part or its modulus.")
    return array


def converted(name: str, array: Array, dtype: Any) -> Array:
    """The array with another type of numbers.

    Raises:
        ArrayError: its entries are no such numbers.
    """
    try:
        return array.astype(dtype)
    except (TypeError, ValueError) as error:
        raise _not_numbers(name, error) from None


def _not_numbers(name: str, why: object) -> ArrayError:
    return ArrayError(f"{name} does not hold numbers: {why}.")


def check_entries(name: str, array: Array, *, finite: bool = False, remedy: str = _NO_RANK) -> None:
    """Raise at NaN, or with ``finite`` at infinite values too; traced arrays are not looked at."""
    if is_traced(array):
        return
    xp = namespace(array)
    bad = ~xp.isfinite(array) if finite else xp.isnan(array)
    if not bool(bad.any()):
        return
    places = np.argwhere(np.asarray(bad))
    what = "NaN or infinite value(s)" if finite else "NaN"
    first = f", the first at [{', '.join(map(str, places[0]))}]" if array.ndim else ""
    raise ArrayError(f"{name} holds {len(places)} {what} of {array.size}{first}; {remedy}.")


def as_float(
    name: str,
    values: Any,
    *,
    ndim: int | tuple[int, ...] | None = None,
    size: int | None = None,
    finite: bool = False,
    remedy: str = _NO_RANK,
) -> Array:
    """A floating array without NaN, of the wanted number of axes and first size.

    Infinite values are refused too with ``finite``; ``remedy`` says what to do about a NaN.

    Raises:
        ArrayError: NaN, not numeric, wrong number of axes, or wrong size.
    """
    array = plain(name, values)
    if not namespace(array).issubdtype(array.dtype, np.floating):
        array = converted(name, array, float)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and array.ndim not in allowed:
        counts = " or ".join(map(str, allowed))
        raise ArrayError(
            f"{name} has shape {array.shape}; it must have {counts} dimension(s), so reshape it "
            "before the call."
        )
    if size is not None and (array.ndim == 0 or array.shape[0] != size):
        raise ArrayError(
            f"{name} must have {size} rows to match the others, got shape {array.shape}."
        )
    check_entries(name, array, finite=finite, remedy=remedy)
    return array


def as_weights(name: str, values: Any, *, size: int | None = None) -> Array:
    """Nonnegative finite weights.

    Raises:
        ArrayError: a weight is negative, infinite or NaN.
    """
    return nonnegative(name, as_float(name, values, size=size))


def nonnegative(name: str, weights: Array) -> Array:
    """``weights``, if they are finite and none is negative, as far as that is known."""
    if not is_traced(weights) and not bool(((weights >= 0) & (weights < np.inf)).all()):
        raise ArrayError(f"{name} must be finite and nonnegative; got minimum {weights.min()}.")
    return weights
