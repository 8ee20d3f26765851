"""The most recent scores in order, updated in one pass, without a sort."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Window(NamedTuple):
    """The last scores of one series.

    Attributes:
        ordered: (w,) ascending, +inf where not yet filled.
        seen: scores seen so far, at most w of which are held.
    """

    ordered: jax.Array
    seen: jax.Array


def leaving(scores: jax.Array, size: int) -> jax.Array:
    """(..., T) the score that each new one pushes out of a window of this size."""
    none = jnp.full((*scores.shape[:-1], size), jnp.inf, scores.dtype)
    return jnp.concatenate([none, scores], axis=-1)[..., : scores.shape[-1]]


def push(ordered: jax.Array, oldest: jax.Array, score: jax.Array) -> jax.Array:
    """Forget the oldest score and take in the new one."""
    top = jnp.full(1, jnp.inf, ordered.dtype)
    rest = jnp.where(ordered >= oldest, jnp.concatenate([ordered[1:], top]), ordered)
    before = jnp.concatenate([-top, rest[:-1]])
    return jnp.maximum(before, jnp.minimum(score, rest))


def held(window: Window) -> jax.Array:
    """How many scores the window holds."""
    return jnp.minimum(window.seen, window.ordered.shape[0])


def quantile(window: Window, level: jax.Array) -> jax.Array:
    """Conformal threshold at miscoverage ``level``: all for level <= 0, nothing for level >= 1."""
    n = held(window)
    rank = jnp.ceil((1 - level) * (n + 1) - 1e-4).astype(jnp.int32)
    inside = window.ordered[jnp.clip(rank, 1, window.ordered.shape[0]) - 1]
    found = jnp.where(rank > n, jnp.inf, jnp.where(rank < 1, -jnp.inf, inside))
    return jnp.where(level <= 0, jnp.inf, jnp.where(level >= 1, -jnp.inf, found))


def pvalue(window: Window, score: jax.Array) -> jax.Array:
    """The largest level whose set would cover the score."""
    n = held(window)
    return (1 + n - (window.ordered < score).sum()) / (n + 1)


def largest(window: Window) -> jax.Array:
    """The largest score held; zero before there is any."""
    finite = jnp.where(jnp.isfinite(window.ordered), window.ordered, -jnp.inf).max()
    return jnp.where(jnp.isfinite(finite), finite, 0.0)


def magnitude(window: Window, *scores: jax.Array) -> jax.Array:
    """The largest absolute value among the scores held and these: the unit of the series.

    Zero before there is any: a unit of one would make thresholds depend on the units of the data.
    """
    found = jnp.where(jnp.isfinite(window.ordered), jnp.abs(window.ordered), 0.0).max()
    for score in scores:
        found = jnp.maximum(found, jnp.abs(score))
    return found


def divided(value: jax.Array, unit: jax.Array) -> jax.Array:
    """``value`` in this unit; zero where the unit is zero, as all values then are."""
    return jnp.where(unit > 0, value / jnp.where(unit > 0, unit, 1.0), 0.0)


def pinball(target: jax.Array, guess: jax.Array, level: jax.Array) -> jax.Array:
    """Loss of ``guess`` as the ``level`` quantile of ``target``."""
    gap = target - guess
    return jnp.maximum(level * gap, (level - 1) * gap)
