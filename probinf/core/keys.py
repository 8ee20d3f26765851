"""Keys: what users may hand in as randomness, for JAX and for the host."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Key
from probinf.errors import KeyTypeError


def as_key(key: int | np.integer[Any] | Key) -> Key:
    """A typed JAX key from a seed, a typed key or old-style key data.

    Raises:
        KeyTypeError: it is none of these.
    """
    if isinstance(key, int | np.integer):
        return jax.random.key(int(key))
    if not isinstance(key, jax.Array | np.ndarray):
        raise KeyTypeError(f"key must be an integer seed or a JAX random key, got {key!r}.")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key)


def numbered(index: Any) -> Key:
    """Trial key ``index``: drawn inside the program that uses it, which compiles no split."""
    return jax.random.fold_in(jax.random.key(0), index)


def as_generator(key: Any) -> np.random.Generator:
    """A NumPy generator from an integer seed or a JAX key."""
    data = np.asarray(jax.random.key_data(as_key(key)))
    return np.random.default_rng(data.astype(np.uint64).ravel().tolist())
