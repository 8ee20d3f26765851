"""A Distribution Transformer as a filter against 100,000 particles: part of ``bench.amortized``.

A point that turns and shrinks is seen through one noisy coordinate. The first state has a mixture
of three normals, so that the exact filter is a mixture of three Kalman filters. Both filters are
scored by their density at the true states; the particles' density is exact given the particles
of the step before: ``p(z | x) mean_i N(x; F x_i, Q) / mean_i p(z | x_i)``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

import probinf as pi
from probinf.amortized import GaussianMixture, LinearMotion, LinearSensor
from probinf.core.resampling import systematic

SENSOR = LinearSensor([[1.0, 0.0]], [[0.25]])
MOTION = LinearMotion(
    0.97 * jnp.asarray([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]]),
    0.1 * jnp.eye(2),
)
START = GaussianMixture(
    jnp.log(jnp.asarray([0.5, 0.3, 0.2])),
    jnp.asarray([[-1.5, 0.0], [1.5, 1.0], [0.0, -2.0]]),
    jnp.asarray([0.5, 0.7, 0.4])[:, None, None] * jnp.eye(2),
)


@partial(jax.jit, static_argnames=("steps",))
def simulated(key: Any, steps: int) -> tuple[Any, Any]:
    """States and observations of one series."""
    first, second = jax.random.split(key)

    def step(x: Any, key: Any) -> tuple[Any, Any]:
        one, two = jax.random.split(key)
        moved = MOTION.matrix @ x + jnp.linalg.cholesky(MOTION.noise) @ jax.random.normal(one, (2,))
        return moved, (x, SENSOR(two, x))

    return jax.lax.scan(step, START.sample(first), jax.random.split(second, steps))[1]


def _log_normal(residual: Any, covariance: Any) -> Any:
    factor = jnp.linalg.cholesky(covariance)
    white = jax.scipy.linalg.solve_triangular(factor, residual.T, lower=True)
    constant = 0.5 * covariance.shape[0] * jnp.log(2 * jnp.pi)
    return -0.5 * jnp.sum(white**2, 0) - jnp.sum(jnp.log(jnp.diag(factor))) - constant


@partial(jax.jit, static_argnames=("particles", "scored"))
def bootstrap(key: Any, states: Any, z: Any, particles: int, scored: bool) -> tuple[Any, Any]:
    """Filtering means, and (where asked for) log densities at the true states."""
    n = particles

    def step(carry: Any, given: Any) -> tuple[Any, Any]:
        before, at_start = carry  # resampled particles of the step before
        key, state, z = given
        one, two = jax.random.split(key)
        noise = jax.random.normal(one, (n, 2)) @ jnp.linalg.cholesky(MOTION.noise).T
        x = jnp.where(at_start, before, before @ MOTION.matrix.T + noise)
        log_g = _log_normal(z - x @ SENSOR.matrix.T, SENSOR.noise)
        log_w = log_g - logsumexp(log_g)
        score = jnp.zeros(())
        if scored:
            later = logsumexp(_log_normal(state - before @ MOTION.matrix.T, MOTION.noise))
            prior = jnp.where(at_start, START.log_density(state), later - jnp.log(n))
            own = _log_normal((z - SENSOR.matrix @ state)[None], SENSOR.noise)[0]
            score = prior + own - logsumexp(log_g) + jnp.log(n)
        mean = jnp.exp(log_w) @ x
        return (x[systematic(two, jnp.exp(log_w))], jnp.asarray(False)), (mean, score)

    first, second = jax.random.split(key)
    carry = (START.sample(first, (n,)), jnp.asarray(True))
    return jax.lax.scan(step, carry, (jax.random.split(second, len(z)), states, z))[1]


@jax.jit
def exact(states: Any, z: Any) -> Any:
    """Log densities of the exact filtering mixtures at the true states."""

    def step(prior: GaussianMixture, given: Any) -> tuple[GaussianMixture, Any]:
        after = prior.conditioned(given[1], SENSOR.matrix, SENSOR.noise)
        return after.moved(*MOTION), after.log_density(given[0])

    return jax.lax.scan(step, START, (states, z))[1]


def fusion(fitted: Any, *, steps: int = 100, series: int = 20, particles: int = 100_000) -> Any:
    """Mean negative log density of the true state, and seconds per step, warm."""
    scores: dict[str, list[float]] = {"exact": [], "network": [], "particles": []}
    seconds: dict[str, list[float]] = {"network": [], "particles": []}
    outside = 0
    for number in range(series):
        states, z = simulated(jax.random.key(number), steps)
        found = pi.amortized.filter(fitted, MOTION, START, z)  # compiles for the first series
        began = time.perf_counter()
        found = jax.block_until_ready(pi.amortized.filter(fitted, MOTION, START, z))
        seconds["network"].append((time.perf_counter() - began) / steps)
        ours = jax.vmap(lambda law, state: law.log_density(state))(found.mixtures, states)
        outside += sum(map(bool, found.outside))
        key = jax.random.key(1000 + number)
        _, theirs = bootstrap(key, states, z, particles, True)
        if number < 3:
            jax.block_until_ready(bootstrap(key, states, z, particles, False))
            began = time.perf_counter()
            jax.block_until_ready(bootstrap(key, states, z, particles, False))
            seconds["particles"].append((time.perf_counter() - began) / steps)
        for name, value in (("exact", exact(states, z)), ("network", ours), ("particles", theirs)):
            scores[name].append(-float(jnp.mean(value)))
    pace = {name: float(np.median(v)) for name, v in seconds.items()}
    excess = np.subtract(scores["network"], scores["particles"])
    return {
        "negative log density of the true state": {
            name: round(float(np.mean(v)), 4) for name, v in scores.items()
        },
        "excess over particles": [
            round(float(excess.mean()), 4), round(float(excess.std() / np.sqrt(series)), 4)
        ],
        "milliseconds per step": {name: round(1e3 * v, 3) for name, v in pace.items()},
        "times faster": round(pace["particles"] / pace["network"], 1),
        "steps outside the training range": outside,
    }  # fmt: skip
