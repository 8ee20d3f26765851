"""Simulations that fail say something about the parameters; counts have probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm, poisson

import probinf as pi
from probinf.amortized import NLE, NPE
from probinf.amortized.neural.cells import cell
from probinf.amortized.neural.success import Success
from probinf.core.coordinates import flatten
from probinf.errors import TrainingError, TrainingWarning
from tests.cases.tiers import tiers

SMALL = {"layers": 2, "hidden": (16, 16), "bins": 6}


def fragile(key, p):
    """A location plus noise; half of the runs fail where it is large."""
    first, second = jax.random.split(key)
    y = p["m"] + jax.random.normal(first)
    return jnp.where((p["m"] > 1) & (jax.random.uniform(second) < 0.55), jnp.nan, y)


def gap(a, b):
    return jnp.abs(a - b)


PRIOR = {"m": dist.Normal(0.0, 1.0)}


@pytest.fixture(scope="module")
def program():
    return pi.from_simulator(PRIOR, fragile, gap, jnp.asarray(2.0), tolerance=0.1)


GRID = np.linspace(-5, 6, 2001)


def upper(log_p):
    """Probability of m > 1 from a density on the grid."""
    w = np.exp(np.asarray(log_p, float) - np.max(log_p))
    return w[GRID > 1].sum() / w.sum()


RIGHT = upper(norm.logpdf(GRID) + norm.logpdf(2 - GRID) + np.log(np.where(GRID > 1, 0.45, 1)))


def learned(posterior):
    flat, _ = flatten(posterior)
    x = jnp.asarray(GRID, float)[:, None]
    return upper(jax.vmap(lambda v: sum(flat.score(v, flat.data)))(x))


@pytest.fixture(scope="module")
def nle(program):
    with pytest.warns(TrainingWarning, match="biased away from such parameters"):
        return NLE(simulations=3000, **SMALL).fit(program, key=0, steps=800, progress=False)


def test_the_probability_of_success_belongs_to_the_likelihood(nle):
    assert abs(learned(nle.posterior()) - RIGHT) < 0.07


def test_failed_runs_dropped_in_silence_move_the_answer(nle, monkeypatch):
    monkeypatch.setattr(Success, "__call__", lambda self, context: 0.0)
    assert learned(nle.posterior()) - RIGHT > 0.12  # the mutant: .19 in the limit


@pytest.mark.slow
def test_a_posterior_learned_from_what_worked_needs_no_more(program):
    with pytest.warns(TrainingWarning, match="counts it so"):
        npe = NPE(simulations=4000, **SMALL).fit(program, key=0, steps=1500, progress=False)
    draws = pi.sample(npe.posterior(), pi.Importance(draws=4000), key=1, progress=False)
    assert abs((draws.draws["m"] > 1).mean() - RIGHT) < 0.07


@pytest.mark.parametrize("method", tiers([NLE, NPE], [NPE]))
def test_fresh_simulations_may_fail_too(program, method):
    with pytest.warns(TrainingWarning, match="simulations hold NaN"):
        fitted = method(simulations=300, fresh=True, **SMALL).fit(
            program, key=0, steps=5, progress=False
        )
    assert np.isfinite(fitted.training.losses).all()


def often(key, p):
    return jnp.where(p["m"] > 0.5, jnp.nan, p["m"] + jax.random.normal(key))


def test_too_many_failures_are_refused():
    program = pi.from_simulator(PRIOR, often, gap, jnp.asarray(0.0), tolerance=0.1)
    with pytest.raises(TrainingError, match="of 500 simulations hold NaN"):
        NLE(simulations=500).fit(program, key=0, steps=1)


def test_pairs_are_refused_by_name():
    with pytest.raises(TrainingError, match="must be a program that simulates, got tuple"):
        NPE().fit((np.zeros((100, 1)), np.zeros((100, 1))), key=0)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7, 16, 20])
def test_points_of_a_cell_integrate(d):
    """Means 0 and covariance close to 1/12 everywhere; coordinates that are no counts stay."""
    points = cell((False,) + (True,) * d)
    assert len(points) <= 32 and (points[:, 0] == 0).all() and np.abs(points).max() < 0.5
    inner = points[:, 1:]
    np.testing.assert_allclose(inner.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose((inner**2).mean(0), 1 / 12, atol=0.01)
    if d <= 16:
        off = inner.T @ inner / len(inner)
        np.testing.assert_allclose(off - np.diag(np.diag(off)), 0, atol=1e-12)


def rate(y=None):
    r = numpyro.sample("r", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.Poisson(r), obs=y)


def test_a_count_has_the_probability_of_its_cell():
    """The mean over the cell adds to one; the density at its centre, the mutant, does not."""
    program = pi.from_numpyro(rate, y=np.array(1))
    nle = NLE(simulations=3000, **SMALL).fit(program, key=0, steps=800, progress=False)
    network, y = nle.network, jnp.arange(30.0)[:, None]

    @jax.jit
    @jax.vmap
    def both(theta):
        context = network.context(theta)
        centre = jax.vmap(lambda v: network.log_density(context, v))(y)
        return jax.vmap(lambda v: network.log_likelihood(theta, v))(y), centre

    r = np.random.default_rng(0).gamma(2.0, 1.0, 100)
    mean, centre = (np.asarray(v, float) for v in both(jnp.asarray(r, float)[:, None]))
    p = poisson(r[:, None]).pmf(np.arange(30))

    def divergence(log_q):
        log_q = log_q - np.log(np.exp(log_q).sum(1, keepdims=True))
        return np.mean(np.sum(p * (np.log(p + 1e-300) - log_q), 1))

    assert abs(np.exp(mean).sum(1) - 1).mean() < 0.01 < abs(np.exp(centre).sum(1) - 1).mean()
    assert divergence(mean) < 0.03
