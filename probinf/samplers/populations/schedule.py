"""When to go on in tempered SMC: the next temperature, and whether the particles have mixed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.errors import MethodError


def next_point(
    now: Float[Array, ""],
    end: Float[Array, ""],
    upto: Callable[[Float[Array, ""]], Float[Array, " n"]],
    share: Callable[[Float[Array, " n"]], Float[Array, ""]],
    target: float,
) -> Float[Array, ""]:
    """The farthest next point of a path at which ``share`` of the log weights is ``target``.

    The share falls with the distance, so bisection (on the logarithm, since likelihoods come
    in every scale) finds it. Where too many particles have likelihood zero no point reaches
    the target: the nearest one then removes them.

    Args:
        now: the point where the particles are.
        end: the end of the path.
        upto: log weight increments of all particles on going to a point.
        share: effective share of the particles for given increments.
        target: the share aimed at.
    """
    rest = end - now
    tiny = jnp.asarray(jnp.finfo(now.dtype).tiny)
    # no number is nearer, and nothing at all would never end
    nearest = jnp.minimum(now * (1 + 2 * jnp.finfo(now.dtype).eps) + tiny, end)

    def point(delta: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(now + delta, nearest)

    def enough(delta: Float[Array, ""]) -> Bool[Array, ""]:
        return share(upto(point(delta))) >= target

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        near = enough(jnp.exp(middle))
        return jnp.where(near, middle, low), jnp.where(near, high, middle)

    bracket = (jnp.log(tiny), jnp.log(rest))
    low, _ = jax.lax.fori_loop(0, 60, halve, bracket)
    delta = jnp.where(enough(rest), rest, jnp.exp(low))
    delta = jnp.where(enough(tiny), delta, tiny)
    return jnp.where(delta >= rest, end, point(delta)).astype(now.dtype)


def largest_correlation(
    before: Float[Array, "n d"], after: Float[Array, "n d"]
) -> Float[Array, ""]:
    """Largest absolute correlation, over coordinates, between two stages of the particles.

    Coordinates are squashed first, so that a few particles far in a tail do not decide.
    """
    centre, scale = before.mean(axis=0), before.std(axis=0)
    scale = jnp.where(scale > 0, scale, 1.0)
    a, b = jnp.tanh((before - centre) / scale), jnp.tanh((after - centre) / scale)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    power = jnp.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return jnp.max(jnp.abs((a * b).sum(axis=0)) / jnp.where(power > 0, power, 1.0))


def fixed_schedule(points: Sequence[float], end: float | None) -> tuple[float, ...]:
    """The points of a path that a user has fixed.

    Args:
        points: from 0 on.
        end: the last one, where it is known.

    Raises:
        MethodError: they do not increase from 0 to there.
    """
    t = tuple(float(v) for v in points)
    if len(t) < 2 or t[0] != 0 or any(a >= b for a, b in itertools.pairwise(t)):
        raise MethodError(f"schedule must increase, and start with 0, got {t}.")
    if end is not None and t[-1] != end:
        raise MethodError(f"schedule must end with {end:g}, the program itself, got {t}.")
    return t
