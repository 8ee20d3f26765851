"""Population: a weighted cloud of positions that stands for a measure, mass included."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key, Position, Program, Score
from probinf.core.resampling import Resampler


class Population(NamedTuple):
    """N weighted positions, properly weighted for a measure gamma.

    Proper weighting means ``E[exp(log_z) * sum_i softmax(log_w)_i f(x_i)]`` equals the
    integral of ``f`` under gamma for every bounded ``f``; with ``f = 1`` the evidence is
    unbiased.

    Attributes:
        x: positions, leading axis N.
        log_w: (N,) log weights; only their differences matter.
        log_z: scalar, log of the estimated total mass.
    """

    x: Position
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]


def normalise(log_w: Float[Array, " n"]) -> Float[Array, " n"]:
    """Log weights that sum to one; all -inf becomes uniform, so that a dead cloud stays finite."""
    total = jax.scipy.special.logsumexp(log_w)
    uniform = jnp.full_like(log_w, -jnp.log(log_w.shape[0]))
    return jnp.where(jnp.isneginf(total), uniform, log_w - total)


def effective_sample_size(log_w: Float[Array, " n"]) -> Float[Array, ""]:
    """Kish's effective sample size, ``1 / sum W**2``; between 1 and N, 0 for a dead cloud."""
    first = jax.scipy.special.logsumexp(log_w)
    second = jax.scipy.special.logsumexp(2 * log_w)
    return jnp.where(jnp.isneginf(first), 0.0, jnp.exp(2 * first - second))


def conditional_ess(log_w: Float[Array, " n"], increment: Float[Array, " n"]) -> Float[Array, ""]:
    """Conditional effective sample size of an increment, ``N (sum W u)**2 / sum W u**2``.

    Source: Zhou, Johansen & Aston (2016), eq. 10.
    """
    log_w = normalise(log_w)
    first = jax.scipy.special.logsumexp(log_w + increment)
    second = jax.scipy.special.logsumexp(log_w + 2 * increment)
    n = log_w.shape[0]
    return jnp.where(jnp.isneginf(first), 0.0, n * jnp.exp(2 * first - second))


def no_nan(log_values: Float[Array, "..."]) -> tuple[Float[Array, "..."], Int[Array, ""]]:
    """NaN and +inf become -inf, and are counted."""
    bad = jnp.isnan(log_values) | jnp.isposinf(log_values)
    return jnp.where(bad, -jnp.inf, log_values), jnp.sum(bad)


class Scored(NamedTuple):
    """Densities of many positions, without NaN.

    Attributes:
        log_base: (n,).
        log_weight: (n,); -inf where it was NaN or +inf, or where the base has no density.
        lost: how many of these there were.
    """

    log_base: Float[Array, " n"]
    log_weight: Float[Array, " n"]
    lost: Int[Array, ""]


def drawn(key: Key, program: Program, n: int) -> Position:
    """``n`` draws from the base, leading axis n."""
    return jax.vmap(program.draw, (0, None))(jax.random.split(key, n), program.data)


def usable(score: Score) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """Log weights, -inf where they say nothing, and where that is.

    NaN and +inf say nothing, and neither does a weight where the base has no finite density: a
    draw that rounded to the edge of its support.
    """
    said = jnp.isfinite(score.log_base) & ~jnp.isnan(score.log_weight)
    said &= ~jnp.isposinf(score.log_weight)
    return jnp.where(said, score.log_weight, -jnp.inf), ~said


def scored(program: Program, x: Position) -> Scored:
    """Densities of positions with a leading axis; a NaN has no likelihood, and is counted."""
    score = jax.vmap(program.score, (0, None))(x, program.data)
    log_weight, lost = usable(score)
    return Scored(score.log_base, log_weight, lost.sum().astype(int))


def reweight(population: Population, increment: Float[Array, " n"]) -> Population:
    """Multiply the measure by ``exp(increment)`` at every position; mass goes to ``log_z``."""
    log_w = normalise(population.log_w) + increment
    mass = jax.scipy.special.logsumexp(log_w)
    return Population(population.x, normalise(log_w), population.log_z + mass)


def resample(key: Key, population: Population, resampler: Resampler) -> Population:
    """An equally weighted cloud with the same meaning; the mass is unchanged."""
    n = population.log_w.shape[0]
    ancestors = resampler(key, jnp.exp(normalise(population.log_w)))
    x = jax.tree.map(lambda leaf: leaf[ancestors], population.x)
    return Population(x, jnp.full((n,), -jnp.log(n), population.log_w.dtype), population.log_z)


def resample_if(
    key: Key, population: Population, resampler: Resampler, needed: Bool[Array, ""]
) -> Population:
    """``resample`` where ``needed``, the population as it is elsewhere."""
    drawn = resample(key, population, resampler)
    return jax.tree.map(lambda a, b: jnp.where(needed, a, b), drawn, population)


def importance(key: Key, program: Program, n: int) -> Population:
    """``n`` draws from the base, weighted: properly weighted for ``program``."""
    x = drawn(key, program, n)
    log_weight = scored(program, x).log_weight
    start = Population(x, jnp.full((n,), -jnp.log(n), log_weight.dtype), jnp.zeros((), float))
    return reweight(start, log_weight)
