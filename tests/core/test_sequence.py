"""Sequences: the particle filter is unbiased, and its evidence is a weight like any other."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.population import normalise
from probinf.core.program import Program
from probinf.core.resampling import multinomial, systematic
from probinf.core.sequence import particle_filter
from probinf.errors import MethodError, StructureError

# x_1 ~ N(0, 1), x_t ~ N(rho x_{t-1}, q), y_t ~ N(x_t, r)
RHO, Q, R = 0.8, 0.6, 0.5
Y = np.array([0.4, 1.1, 0.9, -0.3, -1.0])


def start(key, data):
    x = jax.random.normal(key)
    return x, dist.Normal(x, R).log_prob(data["first"])


def extend(key, x, y, data):
    x = RHO * x + Q * jax.random.normal(key)
    return x, dist.Normal(x, R).log_prob(y)


def linear_gaussian(y: np.ndarray = Y) -> pi.Sequence:
    return pi.Sequence(start, extend, jnp.asarray(y[1:]), {"first": jnp.asarray(y[0])})


def kalman(
    y: np.ndarray, rho: float = RHO, q: float = Q, r: float = R
) -> tuple[float, float, float]:
    """Exact log likelihood, and the mean and variance of the last state."""
    mean, variance, total = 0.0, 1.0, 0.0
    for t, value in enumerate(y):
        if t > 0:
            mean, variance = rho * mean, rho**2 * variance + q**2
        spread = variance + r**2
        total += -0.5 * (np.log(2 * np.pi * spread) + (value - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return total, mean, variance


RUNS, PARTICLES = 4000, 8


@partial(jax.jit, static_argnames=("resample_below", "resampler"))
def filters(sequence: pi.Sequence, key: jax.Array, resample_below: float, resampler: Any) -> Any:
    def one(key: jax.Array) -> Any:
        cloud = particle_filter(
            key, sequence, PARTICLES, resample_below=resample_below, resampler=resampler
        )
        w = jnp.exp(normalise(cloud.log_w))
        return cloud.log_z, jnp.sum(w * jnp.tanh(cloud.x)), jnp.sum(w)

    return jax.vmap(one)(jax.random.split(key, RUNS))


@pytest.mark.parametrize(
    ("resample_below", "resampler"),
    [(0.5, systematic), (1.0, multinomial), (0.0, systematic)],
    ids=["systematic", "always multinomial", "never"],
)
def test_the_filter_is_properly_weighted(resample_below: float, resampler: Any) -> None:
    """4,000 filters of 8 particles; mass and a bounded function, |z| < 4.5 (1e-5 each)."""
    log_z, values, total = map(
        np.asarray, filters(linear_gaussian(), jax.random.key(1), resample_below, resampler)
    )
    exact, mean, variance = kalman(Y)
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    ratio = np.exp(log_z - exact)
    assert ratio.std() > 0.2  # few particles: a wrong average would not hide in the noise floor
    assert abs(ratio.mean() - 1) < 4.5 * ratio.std(ddof=1) / np.sqrt(RUNS)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = weights @ np.tanh(mean + np.sqrt(variance) * nodes) / weights.sum()
    weighted = ratio * values
    assert abs(weighted.mean() - truth) < 4.5 * weighted.std(ddof=1) / np.sqrt(RUNS)


def walled_start(key, data):
    return jnp.zeros(()), jnp.zeros(())


def walled_extend(key, x, bound, data):
    x = x + jax.random.normal(key)
    seen = jnp.where(x > bound, 0.0, -jnp.inf)
    return x, jnp.where(x > 6.0, jnp.nan, seen)


def test_filters_that_die_count_as_zero() -> None:
    """P(x_1 > 1, x_2 > 1) for a random walk: many filters lose all particles."""
    walls = pi.Sequence(walled_start, walled_extend, jnp.array([1.0, 1.0]))
    log_z, _, _ = map(np.asarray, filters(walls, jax.random.key(2), 0.5, systematic))
    assert 0.05 < np.isneginf(log_z).mean() < 0.9
    assert not np.isnan(log_z).any()
    x = np.linspace(1, 9, 20001)
    density = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    exact = np.trapezoid(density * 0.5 * (1 + np.vectorize(_erf)((x - 1) / np.sqrt(2))), x)
    mass = np.exp(log_z)
    assert abs(mass.mean() - exact) < 4.5 * mass.std(ddof=1) / np.sqrt(RUNS)


def _erf(v: float) -> float:
    import math

    return math.erf(v)


def test_many_particles_find_the_likelihood() -> None:
    found = jax.jit(partial(particle_filter, particles=5000))(jax.random.key(3), linear_gaussian())
    exact, mean, variance = kalman(Y)
    w = np.exp(np.asarray(found.log_w) - np.logaddexp.reduce(found.log_w))
    assert float(found.log_z) == pytest.approx(exact, abs=0.1)
    assert w @ np.asarray(found.x) == pytest.approx(mean, abs=0.05)
    assert w @ np.asarray(found.x - mean) ** 2 == pytest.approx(variance, rel=0.1)


# --- marginal ---------------------------------------------------------------------------------


def prior():
    numpyro.sample("rho", dist.Uniform(-1, 1))


def start_given(key, data):
    _, fixed = data
    return start(key, fixed)


def extend_given(key, x, y, data):
    parameters, _ = data
    x = parameters["rho"] * x + Q * jax.random.normal(key)
    return x, dist.Normal(x, R).log_prob(y)


@pytest.fixture(scope="module")
def program() -> Program:
    sequence = pi.Sequence(
        start_given, extend_given, jnp.asarray(Y[1:]), {"first": jnp.asarray(Y[0])}
    )
    return pi.marginal(pi.from_numpyro(prior), sequence, particles=8)


def exact_posterior() -> tuple[float, float, float]:
    """Log evidence, mean and sd of rho under the uniform prior, by quadrature over Kalman."""
    grid = np.linspace(-1, 1, 2001)
    logs = np.array([kalman(Y, rho=r)[0] for r in grid])
    density = np.exp(logs - logs.max())
    total = np.trapezoid(density, grid)
    mean = np.trapezoid(density * grid, grid) / total
    sd = np.sqrt(np.trapezoid(density * (grid - mean) ** 2, grid) / total)
    return float(np.log(total / 2) + logs.max()), float(mean), float(sd)


def test_the_weight_is_a_function_of_parameters_and_key(program: Program) -> None:
    @jax.jit
    def at(z: jax.Array, key: jax.Array) -> Any:
        return program.score(({"rho": z}, key), program.data)

    one, same = at(jnp.asarray(0.3), jax.random.key(1)), at(jnp.asarray(0.3), jax.random.key(1))
    np.testing.assert_array_equal(one, same)
    other_key, other_theta = at(jnp.asarray(0.3), jax.random.key(2)), at(
        jnp.asarray(0.9), jax.random.key(1)
    )  # fmt: skip
    assert other_key.log_weight != one.log_weight
    assert other_key.log_base == one.log_base != other_theta.log_base
    rho = 2 / (1 + np.exp(-0.3)) - 1
    share = (rho + 1) / 2
    np.testing.assert_allclose(one.log_base, np.log(share * (1 - share)), rtol=1e-5)
    logs = np.asarray(jax.vmap(at, (None, 0))(jnp.asarray(0.3), jax.random.split(jax.random.key(3), 2000)).log_weight)  # fmt: skip  # noqa: E501
    ratio = np.exp(logs - kalman(Y, rho=rho)[0])
    assert abs(ratio.mean() - 1) < 4.5 * ratio.std(ddof=1) / np.sqrt(ratio.size)


def test_the_key_is_a_coordinate_of_draws(program: Program) -> None:
    theta, key = program.draw(jax.random.key(0), program.data)
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    again = program.draw(jax.random.key(1), program.data)
    assert theta["rho"] != again[0]["rho"] and key != again[1]
    assert set(program.constrain((theta, key), program.data)) == {"rho"}
    assert program.simulate is None and program.pointwise is None


def test_random_walk_metropolis_is_particle_marginal_metropolis(program: Program) -> None:
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=200, draws=5000)
    posterior = pi.sample(program, method, key=1, progress=False)
    _, mean, sd = exact_posterior()
    row = posterior.summary()["rho"]
    assert row["r_hat"] < 1.05
    assert 0 < row["mcse"] < 0.1 * sd
    assert abs(row["mean"] - mean) < 4.5 * row["mcse"]
    assert row["sd"] == pytest.approx(sd, rel=0.15)
    assert posterior.keys[0].shape[:2] == (2, 5000)


@pytest.mark.slow  # four copies of the filter to compile
def test_smc_is_smc_squared(program: Program) -> None:
    posterior = pi.sample(program, pi.SMC(particles=100, islands=2, moves=4), key=2, progress=False)
    log_z, mean, _ = exact_posterior()
    assert posterior.log_evidence.error < 0.3
    assert abs(posterior.log_evidence.z(log_z)) < 4.5
    row = posterior.summary()["rho"]
    assert abs(row["mean"] - mean) < 4.5 * row["mcse"]


def test_gradient_engines_are_refused(program: Program) -> None:
    with pytest.raises(MethodError, match=r"NUTS cannot move the random-key.*RandomWalk"):
        pi.sample(program, key=0, progress=False)


# --- bad sequences ------------------------------------------------------------------------------


def fine_start(key, data):
    return jnp.zeros(()), jnp.zeros(())


def fine_extend(key, state, value, data):
    return state, jnp.zeros(())


def vector_weight(key, data):
    return jnp.zeros(()), jnp.zeros(2)


def no_weight(key, data):
    return jnp.zeros(())


def growing(key, state, value, data):
    return jnp.zeros(2), jnp.zeros(())


@pytest.mark.parametrize(
    ("start", "extend", "inputs", "particles", "says"),
    [
        (vector_weight, fine_extend, jnp.zeros(3), 4, r"start must return.*scalar.*\(2,\)"),
        (no_weight, fine_extend, jnp.zeros(3), 4, r"start must return \(state, scalar log weight"),
        (fine_start, growing, jnp.zeros(3), 4, r"must keep the state's structure"),
        (fine_start, fine_extend, None, 4, r"no inputs.*jnp\.arange"),
        (fine_start, fine_extend, jnp.zeros(3), 0, "particles must be at least 1, got 0"),
    ],
)
def test_broken_sequences_are_refused(
    start: Any, extend: Any, inputs: Any, particles: int, says: str
) -> None:
    with pytest.raises(StructureError, match=says):
        pi.marginal(pi.from_numpyro(prior), pi.Sequence(start, extend, inputs), particles)
