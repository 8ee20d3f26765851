"""Columns of a table as numbers that a kernel can use: scaled, gaps filled and marked."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_CLIP = 5.0
_GAP = 0.5  # weight of a mark of missing entries beside that of a column


def encoded(
    x: Float[Array, "n columns"], mask: Bool[Array, " n"], x_query: Float[Array, "m columns"]
) -> tuple[Float[Array, "n wide"], Float[Array, "m wide"]]:
    """Columns scaled by their visible entries, then marks of what is missing.

    An entry that is NaN becomes the mean of its column, 0; its mark is centred and scaled as a
    column is, with half the weight. What is constant in the visible rows becomes 0, so that a
    column without a visible entry is as good as absent.

    Args:
        x: context rows; NaN is missing.
        mask: which of them are visible.
        x_query: rows to predict at.
    """
    one, two = _scaled(x, mask, x_query)
    gaps, gaps_query = (jnp.where(jnp.isnan(v), 1.0, 0.0) for v in (x, x_query))
    three, four = _scaled(gaps, mask, gaps_query)
    return jnp.concatenate([one, _GAP * three], 1), jnp.concatenate([two, _GAP * four], 1)


def _scaled(
    x: Float[Array, "n columns"], mask: Bool[Array, " n"], x_query: Float[Array, "m columns"]
) -> tuple[Array, Array]:
    seen = jnp.where(mask[:, None] & ~jnp.isnan(x), 1.0, 0.0)
    count = jnp.maximum(seen.sum(0), 1.0)
    filled = jnp.where(jnp.isnan(x), 0.0, x)
    mean = jnp.sum(seen * filled, 0) / count
    variance = jnp.sum(seen * (filled - mean) ** 2, 0) / count
    # below, what differs is rounding
    varies = variance > 1e-10 * (mean**2 + 1e-10)
    scale = jnp.where(varies, jax.lax.rsqrt(jnp.where(varies, variance, 1.0)), 0.0)

    def moved(v: Array) -> Array:
        # far values keep their order, not their distance
        z = (jnp.where(jnp.isnan(v), mean, v) - mean) * scale
        return _CLIP * jnp.tanh(z / _CLIP)

    return jnp.where(mask[:, None], moved(x), 0.0), moved(x_query)
