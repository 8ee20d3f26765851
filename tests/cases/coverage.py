"""Designs for coverage tests: outcome laws that a Gaussian would hide errors of."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.gamma(0.4, size=shape),
    "heavy": lambda rng, shape: rng.standard_cauchy(size=shape),
    "bounded": lambda rng, shape: rng.beta(0.5, 0.5, size=shape),
}


def coverage(
    one: Callable[[np.random.Generator], np.ndarray], replications: int, seed: int = 0
) -> np.ndarray:
    """Stack of covered test points over replications; infinite sets are expected here."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return np.stack([np.asarray(one(rng)) for _ in range(replications)])


def labels(rng: np.random.Generator, n: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are wrong in a consistent way, and true labels."""
    p = rng.dirichlet(np.full(classes, 0.5), n)
    y = (rng.uniform(size=(n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    q = p**1.5 + 1e-6
    return q / q.sum(axis=1, keepdims=True), y


def vmapped(one: Callable[..., jax.Array], *columns: np.ndarray, calibration: int) -> np.ndarray:
    """Coverage of ``one(*calibration parts, *test parts)`` over the rows of ``columns``."""

    def row(*parts: jax.Array) -> jax.Array:
        return one(*(p[:calibration] for p in parts), *(p[calibration:] for p in parts))

    return np.asarray(jax.jit(jax.vmap(row))(*map(jnp.asarray, columns)))
