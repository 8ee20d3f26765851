"""Random numbers on the host, from a seed or a JAX key."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.posterior import as_key


def as_generator(key: Any) -> np.random.Generator:
    """A NumPy generator from an integer seed or a JAX key."""
    data = np.asarray(jax.random.key_data(as_key(key)))
    return np.random.default_rng(data.astype(np.uint64).ravel().tolist())
