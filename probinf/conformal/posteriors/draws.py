"""Draws of a posterior, whoever made it, and the densities of outcomes under them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

LogLik = Callable[[dict[str, Any], Any, Any], Any]


@runtime_checkable
class Draws(Protocol):
    """What conformal methods read of a posterior: its draws and their log weights."""

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """By site, (chain, draw, ...)."""

    @property
    def log_weights(self) -> np.ndarray:
        """(chain, draw), zero where all count alike."""


def draws_of(posterior: Draws, limit: int | None = None) -> tuple[dict[str, Any], np.ndarray]:
    """Draws with one leading axis, evenly thinned to ``limit``, and their log weights."""
    log_w = posterior.log_weights.ravel()
    step = 1 if limit is None else max(1, -(-log_w.size // limit))
    # a draw of weight zero may be NaN: the heaviest one stands in its place, so that shapes stay
    index = np.where(np.isneginf(log_w), log_w.argmax(), np.arange(log_w.size))[::step]
    flat = {
        name: jnp.asarray(value.reshape(log_w.size, *value.shape[2:])[index])
        for name, value in posterior.draws.items()
    }
    return flat, log_w[::step]


@partial(jax.jit, static_argnames="log_lik")
def on_data(log_lik: LogLik, draws: Any, X: Any, y: Any) -> jax.Array:
    """(T, n) log densities of the data."""
    over_data = jax.vmap(log_lik, (None, 0, 0))
    return jax.vmap(over_data, (0, None, None))(draws, X, y)


@partial(jax.jit, static_argnames="log_lik")
def on_grid(log_lik: LogLik, draws: Any, X: Any, grid: Any) -> jax.Array:
    """(m, g, T) log densities of candidates."""
    over_draws = jax.vmap(log_lik, (0, None, None))
    over_grid = jax.vmap(over_draws, (None, None, 0))
    return jax.lax.map(lambda row: over_grid(draws, row[0], row[1]), (X, grid))
