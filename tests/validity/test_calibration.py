"""Replications, TARP, expected coverage and SBC: right posteriors pass, wrong ones do not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.program import Score
from probinf.errors import ArrayError, LevelError, MethodError, StructureError
from probinf.validity import Replications, expected_coverage, replicate, sbc, tarp
from tests.cases.eight_schools import eight_schools


def conjugate(y=None):
    """Two normal means; the posterior of each is N(2 y / 3, 1 / 3) for noise of variance 1/2."""
    theta = numpyro.sample("theta", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, jnp.sqrt(0.5)), obs=y)


@dataclasses.dataclass(frozen=True)
class _Draw:
    def __call__(self, key, data):
        mean, sd = data
        return {"theta": mean + sd * jax.random.normal(key, mean.shape)}


@dataclasses.dataclass(frozen=True)
class _Density:
    def __call__(self, x, data):
        mean, sd = data
        log_q = jnp.sum(jax.scipy.stats.norm.logpdf(x["theta"], mean, sd))
        return Score(log_q, jnp.zeros(()))


def _constrain(x, data):
    return x


class Exact(eqx.Module):
    """The exact posterior of ``conjugate``, or one that is off."""

    shift: float = 0.0
    stretch: float = 1.0
    blind: bool = False

    def posterior(self, observed):
        mean = 2 * observed["y"] / 3 + self.shift
        sd = self.stretch * jnp.sqrt(1 / 3)
        if self.blind:
            mean, sd = jnp.zeros(2), jnp.ones(())
        return pi.Program(_Draw(), _Draw(), _Density(), _constrain, data=(mean, sd))


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(conjugate, y=np.zeros(2))


def found(program, amortized, key=0, replications=2000):
    return replicate(program, amortized=amortized, key=key, replications=replications)


def test_the_exact_posterior_passes_every_test(program):
    right = found(program, Exact())
    assert right.observed.shape == (2000, 2)
    assert right.names == ("theta[0]", "theta[1]")
    for result in (
        tarp(right),
        tarp(right, references="prior"),
        expected_coverage(right),
        sbc(program, amortized=Exact(), key=1),
    ):
        assert result, result
    assert abs(tarp(right).coverage(0.9) - 0.9) < 0.03
    assert tarp(right).error < 0.03


@pytest.mark.parametrize(
    "mutant",
    [Exact(shift=0.2), Exact(stretch=0.8), Exact(stretch=1.25)],
    ids=["shifted", "narrow", "wide"],
)
def test_wrong_posteriors_fail(program, mutant):
    wrong = found(program, mutant)
    assert not tarp(wrong)
    assert not sbc(program, amortized=mutant, key=1)
    if mutant.shift == 0:  # a shift is nearly invisible to expected coverage
        assert not expected_coverage(wrong)


def test_a_posterior_that_ignores_its_data_is_seen_only_by_points_that_know_the_data(program):
    prior = found(program, Exact(blind=True))
    assert expected_coverage(prior)
    assert tarp(prior, references="prior")
    assert not tarp(prior)


def test_an_engine_can_be_calibrated_the_same_way(program):
    right = replicate(
        program, pi.NUTS(chains=1, warmup=100, draws=93), key=2, replications=200, draws=31
    )
    assert tarp(right), tarp(right)
    assert expected_coverage(right), expected_coverage(right)


def test_ties_and_weights_keep_the_credibility_uniform():
    rng = np.random.default_rng(3)
    rate = rng.gamma(2.0, size=(4000, 1))  # counts: many ties
    truth, draws = rng.poisson(rate), rng.poisson(rate[:, None], (4000, 40, 1))
    assert tarp(Replications(truth.astype(float), draws.astype(float)))
    # draws from a wider law, weighted back
    truth, draws = rng.standard_cauchy((4000, 1)), 2 * rng.standard_cauchy((4000, 400, 1))
    log_weights = (np.log1p(draws**2 / 4) - np.log1p(draws**2))[..., 0]
    assert tarp(Replications(truth, draws, log_weights=log_weights))
    assert not tarp(Replications(truth, draws))


def test_bad_input_is_refused(program):
    truth, draws = np.zeros((5, 2)), np.zeros((5, 3, 2))
    with pytest.raises(ArrayError, match=r"truth must be \(n, p\)"):
        tarp(Replications(truth, draws[:, :, :1]))
    with pytest.raises(ArrayError, match="draws holds 1 values"):
        tarp(Replications(truth, np.where(np.arange(30).reshape(5, 3, 2) == 7, np.nan, draws)))
    with pytest.raises(ArrayError, match="log_weights must be"):
        tarp(Replications(truth, draws, log_weights=np.zeros(5)))
    with pytest.raises(StructureError, match="no log densities"):
        expected_coverage(Replications(truth, draws))
    with pytest.raises(StructureError, match="needs the data"):
        tarp(Replications(truth, draws), references="data")
    with pytest.raises(MethodError, match="at least 2 replications"):
        replicate(program, key=0, replications=1)
    with pytest.raises(StructureError, match="2 coordinates"):
        replicate(eight_schools(), amortized=AnyData(), key=0, replications=10)
    with pytest.raises(LevelError, match="nominal"):
        tarp(Replications(np.arange(10.0).reshape(5, 2), draws)).coverage(1.2)


class AnyData(eqx.Module):
    def posterior(self, observed):
        return Exact().posterior({"y": observed["y"][:2]})


def test_an_unnormalised_posterior_needs_an_engine(program):
    with pytest.raises(MethodError, match="carries a weight"):
        replicate(program, amortized=Weighted(program), key=0, replications=10)
    right = sbc(
        program,
        pi.NUTS(chains=1, warmup=100, draws=93),
        amortized=Weighted(program),
        key=0,
        replications=200,
        draws=31,
    )
    assert right, right


class Weighted(eqx.Module):
    """Prior times likelihood: what a learned likelihood gives."""

    program: pi.Program

    def posterior(self, observed):
        return pi.condition(self.program, observed)
