"""Order statistics inside compiled code, without a sort.

XLA sorts a long axis on a CPU about a hundred times slower than NumPy. A float's bits, read as a
signed integer (the negative ones flipped), keep its order, so bisection on the bits finds an order
statistic in 32 counting passes, bit for bit what a sort would return.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from probinf.core.batches import mapped

_EXACT = 1 << 24  # counts up to here are exact in single precision
_CACHE = 1 << 20  # bytes; beyond, a CPU goes through its rows in turn, so that they stay in cache
_ROWS = 8


def _keys(values: jax.Array) -> jax.Array:
    """Signed integers in the order of the floats; their own inverse under the same flip."""
    kind, flip = _kind(values.dtype)
    bits = lax.bitcast_convert_type(jnp.where(values == 0, jnp.zeros_like(values), values), kind)
    return jnp.where(bits >= 0, bits, bits ^ flip)


def _kind(dtype: np.dtype) -> tuple[type, np.integer]:
    if dtype == jnp.float64:
        return jnp.int64, np.int64(0x7FFFFFFFFFFFFFFF)
    return jnp.int32, np.int32(0x7FFFFFFF)


def _bisect(keys: jax.Array, mass: jax.Array | None, target: jax.Array) -> jax.Array:
    """Smallest key k along the last axis with ``sum(mass * (keys <= k)) >= target``."""
    limits = np.iinfo(keys.dtype)
    count = jnp.float32 if keys.shape[-1] < _EXACT else None  # floats add up faster
    shape = jnp.broadcast_shapes(keys.shape[:-1], jnp.shape(target))
    lo = jnp.full(shape, limits.min, keys.dtype)
    hi = jnp.full(shape, limits.max, keys.dtype)

    def below(key: jax.Array) -> jax.Array:
        inside = keys <= key[..., None]
        return inside.sum(-1, dtype=count) if mass is None else jnp.where(inside, mass, 0).sum(-1)

    def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        lo, hi = ends
        mid = (lo & hi) + ((lo ^ hi) >> 1)  # their mean, without overflow
        enough = below(mid) >= target
        return jnp.where(enough, lo, mid + 1), jnp.where(enough, mid, hi)

    return lax.fori_loop(0, limits.bits, halve, (lo, hi))[0]


@jax.jit  # so that calls outside jit do not compile their loop anew
def bisect_bits(values: jax.Array, mass: jax.Array | None, target: jax.Array) -> jax.Array:
    """Smallest value t along the last axis with ``sum(mass * (values <= t)) >= target``.

    Args:
        values: (..., n) floats; NaN anywhere gives NaN.
        mass: (..., n) nonnegative, or None for one each.
        target: (...); at or below zero gives -inf, above the total mass gives +inf.
    """
    if values.dtype not in (jnp.float32, jnp.float64):
        values = values.astype(jnp.float32)
    _, flip = _kind(values.dtype)
    keys, n = _keys(values), values.shape[-1]
    shape = jnp.broadcast_shapes(values.shape[:-1], jnp.shape(target))
    if mass is None and shape == values.shape[:-1] and keys.nbytes > _CACHE and n < _EXACT:

        def rows(keys: jax.Array, target: jax.Array) -> jax.Array:
            flat = keys.reshape(-1, n), target.ravel()
            found = mapped(lambda row: _bisect(row[0], None, row[1]), flat, _ROWS)
            return jnp.reshape(found, shape)

        def whole(keys: jax.Array, target: jax.Array) -> jax.Array:
            return _bisect(keys, None, target)

        each = jnp.broadcast_to(target, shape)
        lo = lax.platform_dependent(keys, each, cpu=rows, default=whole)
    else:
        lo = _bisect(keys, mass, target)
    total = values.shape[-1] if mass is None else mass.sum(-1)
    found = lax.bitcast_convert_type(jnp.where(lo >= 0, lo, lo ^ flip), values.dtype)
    found = jnp.where(target > total, jnp.inf, found)
    found = jnp.where(target <= 0, -jnp.inf, found)
    return jnp.where(jnp.isnan(values).any(-1), jnp.nan, found)
