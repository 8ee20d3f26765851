"""A slice along a curve: a bracket around the current point, narrowed until a point is inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key


class Tried(NamedTuple):
    """A point of the curve that was looked at.

    Attributes:
        state: of a chain there, with a ``logdensity``.
        lost: whether the density is NaN or +inf there.
    """

    state: Any
    lost: Bool[Array, ""]


class Bracket(NamedTuple):
    """The ends of a bracket, and what it has cost: evaluations, and lost ones among them."""

    left: Float[Array, ""]
    right: Float[Array, ""]
    evaluations: Int[Array, ""]
    lost: Int[Array, ""]


Curve = Callable[[Any], Tried]
"""From a parameter, 0 at the current point, to the chain there."""


def height(key: Key, log_density: Float[Array, ""]) -> Float[Array, ""]:
    """The level of a slice, uniform under the density; finite where the density is."""
    u = jax.random.uniform(key, (), log_density.dtype)
    return log_density + jnp.log1p(-u)  # never the logarithm of 0


def inside(log_density: Float[Array, ""], level: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a point belongs to the slice; never where the density is zero."""
    return (log_density >= level) & (log_density > -jnp.inf)


def stepped_out(
    key: Key, curve: Curve, level: Float[Array, ""], width: float, most: int
) -> Bracket:
    """A bracket of one width at random over the point, widened until its ends are outside.

    Args:
        key: random key.
        curve: to be cut.
        level: of the slice.
        width: of one step.
        most: steps of both ends together, shared out at random.

    Source: Neal (2003), figure 3.
    """
    place_key, share_key = jax.random.split(key)
    left = -width * jax.random.uniform(place_key, (), level.dtype)
    to_left = jnp.floor(most * jax.random.uniform(share_key)).astype(int)

    # an end is tried in the body alone: tried again in the condition it may round differently
    # under vmap, and the loop never ends
    def widened(end: Array, step: float, times: Array) -> tuple[Array, Array, Array]:
        def again(carry: Any) -> Bool[Array, ""]:
            _, left, within, _, _ = carry
            return within & (left > 0)

        def further(carry: Any) -> Any:
            t, left, _, spent, lost = carry
            tried = curve(t + step)
            within = inside(tried.state.logdensity, level)
            return t + step, left - 1, within, spent + 1, lost + tried.lost

        first = curve(end)
        within = inside(first.state.logdensity, level)
        start = (end, times, within, jnp.asarray(1), first.lost.astype(int))
        t, _, _, spent, lost = jax.lax.while_loop(again, further, start)
        return t, spent, lost

    left_end, spent, lost = widened(left, -width, to_left)
    right_end, more, also = widened(left + width, width, most - 1 - to_left)
    return Bracket(left_end, right_end, spent + more, lost + also)


def shrunk(
    key: Key, curve: Curve, level: Float[Array, ""], bracket: Bracket, current: Any, most: int
) -> tuple[Any, Bool[Array, ""], Bracket]:
    """A point of the slice inside the bracket, which closes in on the current one.

    Args:
        key: random key.
        curve: that is cut.
        level: of the slice.
        bracket: around the parameter 0.
        current: state at the parameter 0, kept where ``most`` evaluations find nothing.
        most: evaluations.

    Returns:
        The state, whether it is a new one, and the bracket that was left.

    Source: Neal (2003), figure 5.
    """

    def again(carry: Any) -> Bool[Array, ""]:
        _, count, _, found = carry
        return ~found & (count < most)

    def closer(carry: Any) -> Any:
        (left, right, spent, lost), count, state, _ = carry
        u = jax.random.uniform(jax.random.fold_in(key, count), (), left.dtype)
        t = left + u * (right - left)
        tried = curve(t)
        found = inside(tried.state.logdensity, level)
        state = jax.tree.map(lambda new, old: jnp.where(found, new, old), tried.state, state)
        ends = jnp.where(t < 0, t, left), jnp.where(t < 0, right, t)
        return Bracket(*ends, spent + 1, lost + tried.lost), count + 1, state, found

    start = (bracket, jnp.zeros((), int), current, jnp.asarray(False))
    bracket, _, state, found = jax.lax.while_loop(again, closer, start)
    return state, found, bracket
