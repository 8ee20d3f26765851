"""Heads: densities that integrate to one, whose every method agrees with the density."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import halfnorm, norm

import probinf as pi
from probinf.amortized import PFN, Bars, Categorical, GaussianProcess, Mixture
from probinf.amortized.priors.task_prior import Draw
from probinf.errors import ArrayError, LevelError

UNEVEN = Bars((-3.0, -1.0, -0.5, 0.2, 0.3, 2.0, 2.5))
HEADS = [UNEVEN, Bars.uniform(-2.0, 3.0, 40), Mixture(4)]
GRID = np.linspace(-25.0, 25.0, 500_001)


def law_of(head, seed: int = 0, batch: tuple[int, ...] = (3,)):
    outputs = 1.5 * jax.random.normal(jax.random.key(seed), (*batch, head.size))
    return head.distribution(outputs)


def reference_log_density(borders: np.ndarray, log_p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The bar density once more, in float64 and with scipy's half-normal."""
    k = np.clip(np.searchsorted(borders, y) - 1, 0, len(borders) - 2)
    width = np.diff(borders)
    inner = log_p[k] - np.log(width[k])
    s_low, s_high = width[0] / norm.ppf(0.75), width[-1] / norm.ppf(0.75)
    low = log_p[0] + halfnorm.logpdf(borders[1] - y, scale=s_low)
    high = log_p[-1] + halfnorm.logpdf(y - borders[-2], scale=s_high)
    return np.where(k == 0, low, np.where(k == len(width) - 1, high, inner))


def test_bars_against_a_float64_reference() -> None:
    law = law_of(UNEVEN)
    borders = np.asarray(UNEVEN.borders)
    y = np.array([-8.0, -1.01, -0.7, 0.0, 0.25, 1.9, 2.2, 9.0])
    for row in range(3):
        log_p = np.asarray(law.log_p[row], float)
        one = pi.amortized.BarDistribution(law.log_p[row], law.borders)
        ours = np.array([one.log_density(v) for v in y])
        np.testing.assert_allclose(ours, reference_log_density(borders, log_p, y), atol=1e-5)


def test_mass_moments_and_gain_against_quadrature() -> None:
    """Float64 integrals of the reference density; a mutant without the tails' half fails."""
    law = law_of(UNEVEN)
    borders = np.asarray(UNEVEN.borders)
    ends = [-60.0, *borders, 60.0]

    def integral(f, row: int) -> float:
        log_p = np.asarray(law.log_p[row], float)
        log_p = log_p - np.log(np.exp(log_p).sum())

        def g(y: float) -> float:
            return f(y) * np.exp(reference_log_density(borders, log_p, np.array([y]))[0])

        return sum(quad(g, a, b, epsabs=1e-11, limit=200)[0] for a, b in itertools.pairwise(ends))

    for row in range(3):
        assert abs(integral(lambda y: 1.0, row) - 1) < 1e-6
        mean = integral(lambda y: y, row)
        assert float(law.mean[row]) == pytest.approx(mean, abs=2e-5)
        variance = integral(lambda y, m=mean: (y - m) ** 2, row)
        assert float(law.variance[row]) == pytest.approx(variance, rel=2e-5)
        for best in (-4.0, -0.6, 0.25, 1.0, 2.1, 6.0):
            gain = integral(lambda y, f=best: max(y - f, 0.0), row)
            assert float(law.expected_improvement(best)[row]) == pytest.approx(gain, abs=3e-5)


@pytest.mark.parametrize("head", HEADS, ids=["uneven", "uniform", "mixture"])
def test_density_integrates_to_one_and_matches_cdf(head) -> None:
    law = law_of(head, batch=())
    density = np.exp(np.asarray(jax.vmap(law.log_density)(jnp.asarray(GRID)), float))
    step = GRID[1] - GRID[0]
    total = np.cumsum((density[1:] + density[:-1]) / 2) * step
    assert total[-1] == pytest.approx(1.0, abs=2e-4)
    cdf = np.asarray(jax.vmap(law.cdf)(jnp.asarray(GRID)), float)
    np.testing.assert_allclose(cdf[1:], total, atol=4e-4)
    assert (np.diff(cdf) >= -1e-6).all()


@pytest.mark.parametrize("head", HEADS, ids=["uneven", "uniform", "mixture"])
def test_icdf_inverts_cdf(head) -> None:
    law = law_of(head, batch=())
    q = jnp.asarray([1e-4, 0.01, 0.2, 0.5, 0.77, 0.99, 0.9999])
    found = jax.vmap(law.cdf)(jax.vmap(law.icdf)(q))
    np.testing.assert_allclose(found, q, atol=1e-5)
    y = jnp.asarray([-2.2, -0.7, 0.1, 0.26, 1.7, 2.9])
    np.testing.assert_allclose(jax.vmap(law.icdf)(jax.vmap(law.cdf)(y)), y, atol=2e-3)
    ends = jax.vmap(law.icdf)(jnp.asarray([0.0, 1.0]))
    assert np.isneginf(ends[0]) and np.isposinf(ends[1])


@pytest.mark.parametrize("head", HEADS, ids=["uneven", "uniform", "mixture"])
def test_samples_moments_intervals_and_gain_agree(head) -> None:
    law = law_of(head, seed=2, batch=(2,))
    draws = np.asarray(law.sample(jax.random.key(1), (40_000,)), float)
    assert draws.shape == (40_000, 2)
    error = 5 * draws.std(0) / np.sqrt(len(draws))
    assert (abs(draws.mean(0) - np.asarray(law.mean)) < error).all()
    np.testing.assert_allclose(draws.var(0), law.variance, rtol=0.06)
    low, high = law.interval(0.8)
    inside = ((draws > np.asarray(low)) & (draws < np.asarray(high))).mean(0)
    np.testing.assert_allclose(inside, 0.8, atol=0.01)
    gain = np.maximum(draws - 0.5, 0).mean(0)
    np.testing.assert_allclose(law.expected_improvement(0.5), gain, atol=0.03)
    assert law.quantile([0.1, 0.5, 0.9]).shape == (3, 2)
    np.testing.assert_allclose(law.sd**2, law.variance, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=["uneven", "uniform", "mixture"])
def test_expected_log_density_is_an_average(head) -> None:
    smooth = 0.2 if isinstance(head, Mixture) else 1.5  # quadrature needs components not too narrow
    outputs = smooth * jax.random.normal(jax.random.key(0), (head.size,))
    law = head.distribution(outputs)
    for mean, sd in ((0.1, 0.3), (-2.5, 0.4), (4.0, 0.7)):
        y = norm.ppf((np.arange(20_000) + 0.5) / 20_000) * sd + mean
        average = np.asarray(jax.vmap(law.log_density)(jnp.asarray(y)), float).mean()
        exact = law.expected_log_density(jnp.asarray(mean), jnp.asarray(sd))
        assert float(exact) == pytest.approx(average, abs=2e-3)


def test_peaks_on_the_nodes_gain_nothing_at_random_points() -> None:
    """Peaks on the nodes of N(0, 1): the fixed rule falls for them, random points do not."""
    nodes = np.polynomial.hermite_e.hermegauss(16)[0]
    kind = type(Mixture(16).distribution(jnp.zeros(48)))
    law = kind(jnp.full(16, -np.log(16.0)), jnp.asarray(nodes, float), jnp.full(16, 0.02))
    mean, sd = jnp.zeros(()), jnp.ones(())
    keys = jax.random.split(jax.random.key(0), 4000)
    found = np.asarray(jax.vmap(lambda key: law.expected_log_density(mean, sd, key))(keys), float)
    y = np.random.default_rng(1).normal(size=100_000)
    truth = np.asarray(law.log_density(y), float)
    error = np.hypot(found.std() / np.sqrt(found.size), truth.std() / np.sqrt(truth.size))
    assert abs(found.mean() - truth.mean()) < 4 * error
    assert float(law.expected_log_density(mean, sd)) > truth.mean() + 1  # the mutant: fixed nodes


class Standard(GaussianProcess):
    """Outcomes N(0, 1), whatever the context."""

    def draw(self, key, visible, context, queries) -> Draw:
        """No signal at all."""
        rows = context + queries
        sd = jnp.ones(queries)
        return Draw(jnp.zeros((rows, 1)), jnp.zeros(rows), 0 * sd, sd)


def test_training_sees_through_peaks_on_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = jnp.asarray(np.polynomial.hermite_e.hermegauss(16)[0], float)
    head, key = Mixture(16), jax.random.key(0)
    kind = type(head.distribution(jnp.zeros(48)))

    def peaks(self, outputs):
        one = jnp.ones((*outputs.shape[:-1], 16))
        return kind(-np.log(16.0) * one, nodes * one, 0.02 * one)

    task = PFN(head=head, context=4, queries=8, batch=16, width=8, layers=1, heads=1).prepare(
        key, GaussianProcess(1)
    )
    monkeypatch.setattr(Mixture, "distribution", peaks)
    loss = float(task.loss(task.model, Standard(1), key))
    law = head.distribution(jnp.zeros(48))
    fixed = -float(law.expected_log_density(jnp.zeros(()), jnp.ones(())))
    truth = -np.asarray(law.log_density(np.random.default_rng(1).normal(size=100_000))).mean()
    assert loss > (fixed + truth) / 2 > fixed + 0.5


def test_equal_mass_and_labels() -> None:
    y = np.random.default_rng(0).exponential(size=5000)
    counts = np.histogram(y, Bars.equal_mass(y, 20).borders)[0]
    assert abs(counts - 250).max() <= 1
    law = Categorical(3).distribution(jnp.asarray([[0.0, 1.0, 2.0]]))
    np.testing.assert_allclose(law.probabilities.sum(-1), 1, rtol=1e-6)
    chosen = jnp.log(law.probabilities[:, 2])
    assert float(law.log_density(jnp.asarray([2]))[0]) == pytest.approx(float(chosen[0]), rel=1e-6)
    draws = law.sample(jax.random.key(0), (20_000,))
    np.testing.assert_allclose((draws == 2).mean(), law.probabilities[0, 2], atol=0.02)


def test_refusals() -> None:
    for borders in ((0.0, 1.0), (0.0, 1.0, 1.0, 2.0), (0.0, np.nan, 1.0, 2.0)):
        with pytest.raises(ArrayError, match="strictly increasing"):
            Bars(borders)
    with pytest.raises(ArrayError, match="components"):
        Mixture(0)
    with pytest.raises(ArrayError, match="at least 2"):
        Categorical(1)
    law = law_of(UNEVEN)
    with pytest.raises(LevelError, match="levels"):
        law.quantile([0.5, 1.2])
    with pytest.raises(LevelError, match="level"):
        law.interval(95.0)
