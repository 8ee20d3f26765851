"""Starting points of chains: tried until the density and its gradient are finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from probinf.program import Key

START_TRIES = 100
"""Tries for each starting point."""


def found_start(
    attempt: Callable[[Key], tuple[Any, Any]], key: Key, candidates: int = 1
) -> tuple[Any, Bool[Array, ""]]:
    """The densest of so many starts whose arrays are all finite; up to 100 tries for one.

    Args:
        attempt: from a key to a kernel state, which has a ``logdensity``, and to whatever
            shall be kept of it.
        key: try ``i`` uses ``fold_in(key, i)``.
        candidates: how many are tried in any case.

    Returns:
        What is kept of the start, and whether there is one.
    """

    def again(carry: Any) -> Any:
        tries, best, top, found = carry
        state, kept = attempt(jax.random.fold_in(key, tries))
        leaves = [leaf for leaf in jax.tree.leaves(state) if _is_float(leaf)]
        fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        better = fine & (~found | (state.logdensity > top))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), kept, best)
        return tries + 1, best, jnp.where(better, state.logdensity, top), found | fine

    state, kept = jax.eval_shape(attempt, key)
    blank = jax.tree.map(blank_array, kept)
    top = jnp.zeros((), state.logdensity.dtype)
    _, best, _, found = jax.lax.while_loop(
        lambda c: (c[0] < candidates) | (~c[3] & (c[0] < START_TRIES)),
        again,
        (jnp.zeros((), int), blank, top, jnp.asarray(False)),
    )
    return best, found


def blank_array(leaf: jax.ShapeDtypeStruct) -> Array:
    """Zeros of a shape and dtype, random keys included."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
