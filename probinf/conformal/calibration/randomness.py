"""Random numbers of a row's own: the same whether it is asked alone or among others."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.core.inputs.arrays import Array, ArrayLike, is_traced
from probinf.core.keys import as_key
from probinf.core.program import Key

ROUGH = 20  # bits in which predictions agree that were made in other batches


def uniforms(key: int | Key, size: int) -> Array:
    """One uniform number per place, float64 on the host, for what is drawn all at once."""
    if isinstance(key, jax.core.Tracer):
        return jax.random.uniform(as_key(key), (size,))
    bits = jax.random.bits(as_key(key), (size, 2), "uint32")
    high, low = np.asarray(bits, np.uint64).T
    return np.asarray(((high << np.uint64(21)) ^ (low >> np.uint64(11))) * 2.0**-53)


def row_uniforms(key: int | Key, rows: ArrayLike, *, salt: int = 0, bits: int = 53) -> Array:
    """One uniform number per row, made of the key and of what the row holds.

    A row gets the same number alone and in a batch, and other rows get others under one key; by
    its place instead, all rows that are asked one at a time would share one. Equal rows of one
    call get numbers of their own; equal rows of several calls share one.

    Args:
        key: random key or seed.
        rows: (m, ...) numbers.
        salt: another stream of the same key.
        bits: leading bits of each number that make the row; later ones may be rounding.

    Returns:
        (m,) in (0, 1), float64 on the host; inside ``jit`` by place.
    """
    if is_traced(rows, key):
        return uniforms(jax.random.fold_in(as_key(key), salt), np.shape(rows)[0])
    values = np.asarray(rows, float)
    values = values.reshape(len(values), -1)
    mantissa, exponent = np.frexp(np.where(np.isfinite(values), values, np.sign(values)))
    exponent = np.where(np.isfinite(values), exponent, 9999)
    mantissa = np.rint(mantissa * 2.0**bits)
    seed = np.asarray(jax.random.bits(as_key(key), (2,), "uint32"), np.uint64)
    found = np.full(len(values), (seed[0] << np.uint64(32)) | seed[1], np.uint64)
    found = _mixed(found + np.array([salt], np.uint64))
    for column in (*mantissa.T, *exponent.T):
        found = _mixed(found ^ _mixed(column.astype(np.int64).astype(np.uint64)))
    found = _mixed(found ^ _mixed(_earlier(found).astype(np.uint64)))
    return np.asarray(((found >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)


def _mixed(h: np.ndarray) -> np.ndarray:
    """Every bit of h spread over all bits (the finaliser of splitmix64)."""
    h = h + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ (h >> np.uint64(31)))


def _earlier(values: Any) -> np.ndarray:
    """(m,) how many equal entries come before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    place = np.arange(len(ordered))
    count = np.empty(len(ordered), int)
    count[order] = place - np.maximum.accumulate(np.where(new, place, 0))
    return count
