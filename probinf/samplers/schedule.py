"""When to go on in tempered SMC: the next temperature, and whether the particles have mixed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.population import conditional_ess


def next_temperature(
    beta: Float[Array, ""],
    log_likelihood: Float[Array, " n"],
    log_w: Float[Array, " n"],
    target: float,
) -> Float[Array, ""]:
    """The largest next inverse temperature whose conditional ESS is ``target`` of N.

    The conditional ESS falls in the increment, so bisection (on the logarithm, since
    likelihoods come in every scale) finds it. Where too many particles have likelihood
    zero no increment reaches the target: the smallest positive one then removes them.
    """
    n = log_w.shape[0]
    rest = 1 - beta
    tiny = jnp.asarray(jnp.finfo(log_w.dtype).tiny)

    def share(delta: Float[Array, ""]) -> Float[Array, ""]:
        impossible = jnp.isneginf(log_likelihood)
        return conditional_ess(log_w, jnp.where(impossible, -jnp.inf, delta * log_likelihood)) / n

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        enough = share(jnp.exp(middle)) >= target
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    bracket = (jnp.log(tiny), jnp.log(rest))
    low, _ = jax.lax.fori_loop(0, 60, halve, bracket)
    delta = jnp.where(share(rest) >= target, rest, jnp.exp(low))
    delta = jnp.where(share(tiny) < target, tiny, delta)
    return jnp.where(delta >= rest, 1.0, beta + delta).astype(beta.dtype)


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
