"""more: chains that go on are the unbroken run."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.errors import ImproperPriorError, MethodError
from tests.cases import targets
from tests.cases.tiers import tiers
from tests.samplers import test_pmcmc


def small(y: np.ndarray) -> None:
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = numpyro.deterministic("tau", numpyro.sample("sigma", dist.HalfNormal(1.0)) ** 2)
    numpyro.sample("y", dist.Normal(mu, tau + 0.1).expand(y.shape).to_event(1), obs=y)


Y = np.array([0.2, 1.1, -0.4])
SHORT = {"warmup": 60, "chains": 2}


ENGINES = [
    pi.NUTS(draws=30, **SHORT),
    pi.MCMC(kernels.RandomWalk(), draws=30, thin=2, **SHORT),
    pi.ChEES(chains=8, superchains=4, warmup=30, draws=30),
    pi.ParallelTempering(temperatures=4, chains=2, warmup=30, draws=30),
]


@pytest.mark.parametrize(
    "engine",
    tiers(ENGINES, ENGINES[:1]),
    ids=lambda e: type(e).__name__,
)
def test_more_is_the_unbroken_run_bit_for_bit(engine: pi.samplers.Method) -> None:
    program = pi.from_numpyro(small, Y)
    options = {"key": 3, "progress": False, "precision": "single"}
    whole = pi.sample(program, dataclasses.replace(engine, draws=75), **options)
    found = pi.sample(program, engine, **options).more(25, progress=False).more(20, progress=False)
    assert found.log_weights.shape == whole.log_weights.shape
    for name, value in whole.draws.items():
        np.testing.assert_array_equal(found.draws[name], value)
    for name, value in whole.stats.items():
        np.testing.assert_array_equal(found.stats[name], value)
    assert str(found.summary()) == str(whole.summary())
    assert found.provenance["method"] == whole.provenance["method"]
    if whole.evidence is not None:
        assert found.log_evidence == whole.log_evidence


@pytest.mark.slow
@pytest.mark.parametrize("keep", [None, ["level_sd"]])
@pytest.mark.parametrize(
    "engine",
    [
        pi.PMMH(particles=8, chains=2, warmup=30, draws=20),
        pi.ParticleGibbs(particles=6, chains=2, warmup=30, draws=20),
    ],
    ids=lambda e: type(e).__name__,
)
def test_more_of_filters_is_the_unbroken_run(engine: pi.samplers.Method, keep: Any) -> None:
    options = {"key": 3, "progress": False, "precision": "single", "keep": keep}
    program = test_pmcmc.nile(8)
    whole = pi.sample(program, dataclasses.replace(engine, draws=45), **options)
    found = pi.sample(program, engine, **options).more(15, progress=False).more(10, progress=False)
    for name, value in whole.draws.items():
        np.testing.assert_array_equal(found.draws[name], value)
    for name, value in whole.history.items():
        np.testing.assert_array_equal(found.history[name], value)


def test_more_of_some_sites() -> None:
    program = pi.from_numpyro(small, Y)
    options = {"key": 3, "progress": False, "precision": "single", "keep": "mu"}
    whole = pi.sample(program, pi.NUTS(draws=55, **SHORT), **options)
    found = pi.sample(program, pi.NUTS(draws=30, **SHORT), **options).more(25, progress=False)
    np.testing.assert_array_equal(found["mu"], whole["mu"])


def test_those_that_have_no_more_say_why() -> None:
    program = targets.skewed().program
    found = pi.sample(program, pi.Importance(draws=200), key=0, progress=False)
    with pytest.raises(MethodError, match="Importance weighs all draws at its end"):
        found.more(100)


def test_prior_predictive_has_parameters_and_data() -> None:
    found = pi.prior_predictive(pi.from_numpyro(small, Y), key=0, draws=2000)
    assert set(found) == {"mu", "sigma", "tau", "y"}
    assert found["y"].shape == (1, 2000, 3) and found["mu"].shape == (1, 2000)
    assert found["mu"].std() == pytest.approx(2.0, rel=0.1)
    np.testing.assert_allclose(found["tau"], found["sigma"] ** 2, rtol=1e-5)
    residual = (found["y"] - found["mu"][..., None]) / (found["tau"][..., None] + 0.1)
    assert residual.std() == pytest.approx(1.0, rel=0.05)


def flat_prior(y: np.ndarray) -> None:
    mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand(y.shape).to_event(1), obs=y)


def test_a_flat_prior_predicts_nothing() -> None:
    with pytest.raises(ImproperPriorError, match="site 'mu'"):
        pi.prior_predictive(pi.from_numpyro(flat_prior, Y), key=0)
