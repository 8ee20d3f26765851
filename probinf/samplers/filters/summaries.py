"""What is kept of the particles of one step: means, spreads, quantiles, probabilities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_LEVELS = 64
"""Levels of a discrete state up to which the probability of each is kept."""


def summarised(
    state: dict[str, Array],
    log_w: Float[Array, " n"],
    levels: dict[str, tuple[int, int]],
    quantiles: tuple[float, ...],
) -> dict[str, Any]:
    """By name of the state: ``mean:``, ``sd:``, ``quantiles:`` and ``probability:``.

    Args:
        state: leading axis N.
        log_w: normalised.
        levels: lowest and highest value of discrete states.
        quantiles: shares, each in (0, 1).
    """
    w = jnp.exp(log_w)
    found = {}
    for name, value in state.items():
        if name in levels and levels[name][1] - levels[name][0] < MOST_LEVELS:
            low, high = levels[name]
            which = value[..., None] == jnp.arange(low, high + 1)
            found[f"probability:{name}"] = jnp.tensordot(w, which.astype(w.dtype), 1)
        value = value.astype(w.dtype)
        mean = jnp.tensordot(w, value, 1)
        found[f"mean:{name}"] = mean
        found[f"sd:{name}"] = jnp.sqrt(jnp.tensordot(w, (value - mean) ** 2, 1))
        if quantiles:
            shares = jnp.asarray(quantiles, w.dtype)
            columns = value.reshape(value.shape[0], -1)
            each = jax.vmap(_quantiles, (1, None, None))(columns, w, shares)
            found[f"quantiles:{name}"] = each.T.reshape(len(quantiles), *value.shape[1:])
    return found


def _quantiles(values: Array, weights: Array, shares: Array) -> Array:
    order = jnp.argsort(values)
    cumulative = jnp.cumsum(weights[order])
    middles = (cumulative - weights[order] / 2) / cumulative[-1]
    return jnp.interp(shares, middles, values[order])
