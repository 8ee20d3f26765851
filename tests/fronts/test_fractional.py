"""FractionalNoise: the exact law of fractional Brownian motion, at a cost linear in the times."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import ArrayError, MethodError
from tests.cases import fractional

TIMES = np.sort(np.r_[np.arange(1, 9) * 3.0, 4.5, 7.1])
SETTING = {"loc": 0.3, "scale": 2.0, "error": 0.1}
CASES = [(0.05, False), (0.1, True), (0.3, False), (0.5, True), (0.8, True), (0.95, False)]


@pytest.mark.parametrize(("hurst", "increments"), CASES)
def test_density_variance_and_draws_are_the_exact_ones(hurst: float, increments: bool) -> None:
    cov = fractional.covariance(TIMES, hurst, increments=increments)
    noise = pi.FractionalNoise(TIMES, increments=increments)
    law = noise(hurst, **SETTING)
    root = np.linalg.cholesky(4 * cov + 0.01 * np.eye(len(cov)))
    for seed in range(3):
        y = 0.3 + root @ np.random.default_rng(seed).normal(size=len(cov))
        assert abs(float(law.log_prob(y)) - fractional.log_density(y, cov, **SETTING)) < 0.01
    np.testing.assert_allclose(law.variance, 4 * np.diag(cov) + 0.01, rtol=2e-3)
    draws = np.asarray(law.sample(jax.random.key(1), (4000,)))
    z = (draws - 0.3) @ np.linalg.inv(root).T  # white where the law is right
    assert abs(z.mean(0)).max() < 5 / np.sqrt(4000)
    assert abs(z.T @ z / 4000 - np.eye(len(cov))).max() < 5 * np.sqrt(2 / 4000)


@pytest.mark.slow
def test_the_memory_as_a_state_space_has_the_same_evidence() -> None:
    noise = pi.FractionalNoise(TIMES)
    y = np.asarray(noise.paths(2, 0.3)[0])
    program = pi.from_state_space(
        noise.first,
        lambda memory, step: noise.next(memory, step),
        lambda memory: dist.Normal(0.3 + 2 * noise.value(0.3, memory), 0.1),
        y,
    )
    exact = pi.sample(program, "exact", key=0, progress=False).log_evidence.value
    assert exact == pytest.approx(float(noise(0.3, **SETTING).log_prob(y)), abs=2e-3)


def model(noise: pi.FractionalNoise, y: np.ndarray) -> None:
    hurst = numpyro.sample("hurst", dist.Uniform(0.0, 1.0))  # a little wider than the index may be
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    numpyro.sample("y", noise(hurst, scale=scale), obs=y)


def test_gradients() -> None:
    noise, y = pi.FractionalNoise(TIMES), jnp.linspace(-2.0, 2.0, len(TIMES))
    with jax.enable_x64(True):
        density = lambda h: noise(h, **SETTING).log_prob(y)  # noqa: E731
        for hurst in (0.05, 0.4, 0.9):
            ends = [float(density(hurst + step)) for step in (1e-5, -1e-5)]
            assert float(jax.grad(density)(hurst)) == pytest.approx(
                (ends[0] - ends[1]) / 2e-5, 1e-4
            )


@pytest.mark.slow
def test_engines_agree() -> None:
    noise = pi.FractionalNoise(np.arange(1.0, 61.0))
    y = np.asarray(noise.paths(3, 0.3)[0])
    program = pi.from_numpyro(lambda y: model(noise, y), y)
    fits = [
        pi.sample(program, method, key=0, progress=False)
        for method in (pi.NUTS(chains=2, warmup=200, draws=300), pi.Importance(draws=5000))
    ]
    means, errors = (
        np.array([fit.summary()["hurst"][column] for fit in fits]) for column in ("mean", "mcse")
    )
    assert abs(means[0] - means[1]) < 5 * np.hypot(*errors) and abs(means[0] - 0.3) < 0.25


def test_what_cannot_be_is_refused() -> None:
    for times, words in (
        ([0.0, 1.0], r"times\[0\] is 0"),
        ([1.0, 3.0, 2.0], r"times\[2\] is 2 after 3"),
        ([], "1 or more"),
    ):
        with pytest.raises(ArrayError, match=words):
            pi.FractionalNoise(np.array(times))
    with pytest.raises(ArrayError, match="2 or more"):
        pi.FractionalNoise(np.array([1.0]), increments=True)
    noise = pi.FractionalNoise(TIMES)
    for given, words in (
        ({"hurst": 1.0}, r"hurst must lie in \[0.01, 0.99\], got 1"),
        ({"hurst": np.array([0.1, 0.2])}, "hurst must lie in"),
        ({"hurst": 0.3, "scale": -1.0}, "scale must lie in"),
        ({"hurst": 0.3, "error": -1.0}, "error must lie in"),
    ):
        with pytest.raises(MethodError, match=words):
            noise(**given)
    with pytest.raises(ArrayError, match=r"loc has shape \(3,\)"):
        noise(0.3, loc=np.zeros(3))
    drawn = jax.jit(lambda key: noise(0.3).sample(key, (2, 3)))(jax.random.key(0))
    assert drawn.shape == (2, 3, len(TIMES))
    beyond = jax.jit(lambda h: noise(h, error=1.0).log_prob(jnp.zeros(len(TIMES))))
    assert beyond(0.999) == -jnp.inf and jnp.isfinite(beyond(0.9))
