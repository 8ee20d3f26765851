"""Targets with known answers: skewed, bounded, multimodal, cut off, NaN-sprinkled, offset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.special import gammaln, log_ndtr
from scipy.stats import multivariate_normal, norm

import probinf as pi
from probinf.core.program import Program


@dataclasses.dataclass(frozen=True)
class Target:
    """A program with a bound of its log likelihood and its exact log evidence.

    Attributes:
        name: for test ids.
        program: prior times a bounded likelihood.
        log_bound: upper bound of the log likelihood.
        log_evidence: exact.
    """

    name: str
    program: Program
    log_bound: float
    log_evidence: float


COUNTS = np.array([1.0, 0.0, 3.0, 2.0])


def poisson(rate: jax.Array, counts: jax.Array) -> jax.Array:
    return jnp.sum(counts * jnp.log(rate) - rate)


def skewed() -> Target:
    """Gamma prior, Poisson counts: the posterior is Gamma, skewed in every coordinate."""
    a, b, n, total = 2.0, 1.0, len(COUNTS), COUNTS.sum()
    log_z = a * np.log(b) - gammaln(a) + gammaln(a + total) - (a + total) * np.log(b + n)
    bound = total * np.log(total / n) - total
    program = pi.from_log_likelihood(poisson, dist.Gamma(a, b), COUNTS)
    return Target("skewed", program, float(bound), float(log_z))


def binomial(p: jax.Array) -> jax.Array:
    return 7 * jnp.log(p) + 2 * jnp.log1p(-p)


def bounded() -> Target:
    """Uniform prior on the unit interval, Binomial data: a Beta posterior."""
    log_z = gammaln(8) + gammaln(3) - gammaln(11)
    bound = 7 * np.log(7 / 9) + 2 * np.log(2 / 9)
    return Target(
        "bounded", pi.from_log_likelihood(binomial, dist.Uniform(0, 1)), float(bound), float(log_z)
    )


def two_bumps(x: jax.Array) -> jax.Array:
    low = jnp.log(0.3) - 0.5 * ((x + 1.5) / 0.5) ** 2
    high = jnp.log(0.7) - 0.5 * ((x - 1.5) / 0.5) ** 2
    return jnp.logaddexp(low, high)


def bimodal() -> Target:
    """Normal prior, a likelihood with two bumps of unequal weight."""
    scale = np.sqrt(2 * np.pi) * 0.5
    densities = [0.3 * norm.pdf(-1.5, 0, np.sqrt(4.25)), 0.7 * norm.pdf(1.5, 0, np.sqrt(4.25))]
    log_z = np.log(scale * sum(densities))
    program = pi.from_log_likelihood(two_bumps, dist.Normal(0, 2))
    return Target("bimodal", program, 0.0, float(log_z))


def positive_half(x: jax.Array) -> jax.Array:
    return jnp.where(x[0] > 0, -x[0], -jnp.inf)


def half_space() -> Target:
    """Two normal coordinates, likelihood zero on half of the space and exp(-x0) elsewhere."""
    program = pi.from_log_likelihood(positive_half, dist.Normal(0, 1).expand([2]).to_event(1))
    return Target("half_space", program, 0.0, float(0.5 + log_ndtr(-1.0)))


def with_holes(x: jax.Array) -> jax.Array:
    return jnp.where((x > 0.5) & (x < 1.0), jnp.nan, -0.5 * (x - 1.0) ** 2)


def nan_sprinkled() -> Target:
    """The likelihood is NaN on an interval, which counts as zero."""
    total = norm.cdf([0.5, 1.0], 0.5, np.sqrt(0.5))
    log_z = np.log(np.sqrt(2 * np.pi) * norm.pdf(1.0, 0, np.sqrt(2)) * (1 - np.diff(total)[0]))
    program = pi.from_log_likelihood(with_holes, dist.Normal(0, 1))
    return Target("nan_sprinkled", program, 0.0, float(log_z))


def shifted_bowl(x: jax.Array, offset: jax.Array) -> jax.Array:
    return offset - 0.5 * jnp.sum((x - jnp.array([1.0, -1.0])) ** 2)


COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.0]])


def correlated(offset: float = 0.0) -> Target:
    """A correlated normal prior and a round likelihood with an optional large offset."""
    program = pi.from_log_likelihood(
        shifted_bowl, dist.MultivariateNormal(jnp.zeros(2), COVARIANCE), np.asarray(offset)
    )
    density = multivariate_normal.logpdf([1.0, -1.0], np.zeros(2), COVARIANCE + np.eye(2))
    log_z = offset + np.log(2 * np.pi) + density
    return Target("correlated", program, offset, float(log_z))


def flat_top(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) < 0.5, 0.0, -2.0)


def plateau() -> Target:
    """Two plateaus: the likelihood takes two values."""
    inside = norm.cdf(0.5) - norm.cdf(-0.5)
    log_z = np.log(inside + np.exp(-2) * (1 - inside))
    return Target("plateau", pi.from_log_likelihood(flat_top, dist.Normal(0, 1)), 0.0, float(log_z))


ALL: list[Callable[[], Target]] = [
    skewed,
    bounded,
    bimodal,
    half_space,
    nan_sprinkled,
    correlated,
    plateau,
]


def exact_draws(target: Target, n: int, seed: int, beta: float = 1.0) -> jax.Array:
    """Independent draws of ``temper(program, beta)`` by rejection from the base."""
    program = target.program

    @jax.jit
    def propose(key: jax.Array) -> tuple:
        draw_key, accept_key = jax.random.split(key)
        x = jax.vmap(program.draw, (0, None))(jax.random.split(draw_key, 20_000), program.data)
        log_l = jax.vmap(program.score, (0, None))(x, program.data).log_weight
        log_accept = beta * (jnp.where(jnp.isnan(log_l), -jnp.inf, log_l) - target.log_bound)
        return x, jnp.log(jax.random.uniform(accept_key, (20_000,))) < log_accept

    found, count, key = [], 0, jax.random.key(seed)
    while count < n:
        key, use = jax.random.split(key)
        x, keep = propose(use)
        found.append(jax.tree.map(lambda leaf, k=keep: np.asarray(leaf)[np.asarray(k)], x))
        count += int(keep.sum())
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)[:n]), *found)
