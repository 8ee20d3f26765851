"""Law 2: proper weighting of every way to make a population."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats

import probinf as pi
from probinf import kernels
from probinf.core import resampling
from probinf.core.population import Population, importance, resample
from tests.cases import targets
from tests.cases.tiers import tiers

FIXED = pi.SMC(
    particles=16,
    islands=1,
    kernel=kernels.RandomWalk(),
    schedule=(0.0, 0.2, 1.0),
    moves=2,
    tune=False,
)


SOME = tiers(targets.ALL, (targets.skewed, targets.half_space, targets.nan_sprinkled))


@pytest.mark.parametrize("make", SOME, ids=lambda make: make.__name__)
def test_importance(make) -> None:
    target = make()
    result = pi.validity.check_proper(
        pi.Importance(draws=8), target.program, key=1, log_evidence=target.log_evidence
    )
    assert result, result


@pytest.mark.parametrize("make", SOME, ids=lambda make: make.__name__)
def test_smc_with_fixed_schedule(make) -> None:
    target = make()
    result = pi.validity.check_proper(
        FIXED, target.program, key=2, log_evidence=target.log_evidence
    )
    assert result, result


def importance_then_resample(key: jax.Array, program: pi.Program) -> Population:
    first, second = jax.random.split(key)
    return resample(second, importance(first, program, 8), resampling.residual)


def test_resample_keeps_the_measure() -> None:
    target = targets.skewed()
    result = pi.validity.check_proper(
        importance_then_resample, target.program, key=3, log_evidence=target.log_evidence
    )
    assert result, result


def test_rebase_keeps_the_measure() -> None:
    target, other = targets.half_space(), targets.half_space()
    wide = pi.push(
        other.program, targets.dist.transforms.AffineTransform(jnp.array([0.5, 0.0]), 1.5)
    )
    flat_target = pi.push(
        target.program, targets.dist.transforms.AffineTransform(jnp.zeros(2), 1.0)
    )
    program = pi.rebase(flat_target, wide)
    for engine in (pi.Importance(draws=8), FIXED):
        result = pi.validity.check_proper(engine, program, key=4, log_evidence=target.log_evidence)
        assert result, result


def school_effects(y):
    tau = numpyro.sample("tau", dist.HalfNormal(2.0))
    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", dist.Normal(0, tau))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


TUNED = pi.SMC(
    particles=32,
    islands=1,
    kernel=kernels.RandomWalk(),
    schedule=(0.0, 0.1, 0.3, 1.0),
    moves=8,
)


def test_a_kernel_tuned_on_the_other_half_keeps_the_measure() -> None:
    program = pi.from_numpyro(school_effects, np.array([1.5, -0.3, 0.4, -1.0, 2.0]))
    result = pi.validity.check_proper(TUNED, program, key=3)
    assert result, result


# the second datum is taken in two parts; the fourth and fifth come at once
BY_DATA = dataclasses.replace(TUNED, path="data", schedule=(0.0, 1.0, 1.5, 3.0, 5.0))
WASTE_FREE = dataclasses.replace(TUNED, moves=None, waste_free=8)


@pytest.mark.parametrize("method", [BY_DATA, WASTE_FREE], ids=["by data", "waste-free"])
def test_other_ways_to_the_program_keep_the_measure(method: pi.SMC) -> None:
    program = pi.from_numpyro(school_effects, np.array([1.5, -0.3, 0.4, -1.0, 2.0]))
    result = pi.validity.check_proper(method, program, key=4)
    assert result, result


def regression(x, y):
    slope = numpyro.sample("slope", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ slope, 0.5), obs=y)


def test_the_evidence_of_every_first_part_of_the_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 2))
    y = x @ [1.0, -1.0] + rng.normal(0, 0.5, 30)
    program = pi.from_numpyro(regression, x, y)
    posterior = pi.sample(program, pi.SMC(path="data", moves=5), key=1, progress=False)
    covariance = x @ x.T + 0.25 * np.eye(30)
    exact = np.array(
        [
            scipy.stats.multivariate_normal(cov=covariance[:k, :k]).logpdf(y[:k])
            for k in range(1, 31)
        ]
    )
    found = posterior.history["log_evidence_of_first"]
    assert found.shape == (4, 30)
    error = np.maximum(found.std(axis=0, ddof=1), 0.02) / 2
    assert (np.abs(found.mean(axis=0) - exact) < 5 * error).all()
    assert posterior.log_evidence.value == pytest.approx(found[:, -1].mean(), abs=0.02)
    assert (np.diff(posterior.history["data"], axis=1)[:, 0] > 0).all()


def test_data_that_only_some_particles_allow() -> None:
    """A likelihood that cuts the prior in two at its third datum, far from the path's start."""
    program = pi.from_numpyro(threshold, np.array([0.1, -0.2, 1.5, 0.3]))
    posterior = pi.sample(program, pi.SMC(path="data"), key=2, progress=False, check=False)
    # theta ~ U(0, 2) and |y| < theta: the evidence is the integral of (2 theta)^-4 from 1.5
    exact = np.log(0.5 * (1.5**-3 - 2.0**-3) / 3 / 16)
    assert abs(posterior.log_evidence.z(exact)) < 4
    assert posterior.draws["theta"].min() > 1.5


def threshold(y):
    theta = numpyro.sample("theta", dist.Uniform(0, 2))
    numpyro.sample("y", dist.Uniform(-theta, theta), obs=y)


def test_moving_stops_where_particles_cannot_mix() -> None:
    target = targets.bimodal()
    posterior = pi.sample(target.program, pi.SMC(particles=500), key=9, progress=False, check=False)
    assert (posterior.history["moves"][:, -1] < 40).all()
    assert (posterior.history["correlation"][:, -1] > 0.2).any()
    assert abs(posterior.log_evidence.z(target.log_evidence)) < 4


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_adaptive_smc_is_right_within_its_error(offset: float) -> None:
    # float32 rounds a log likelihood of 1e7 to whole numbers; the exact sum over those steps
    # is what importance sampling of the same rounded function gives
    target = targets.correlated(offset)
    posterior = pi.sample(
        target.program, pi.SMC(particles=2000), key=5, progress=False, check=False
    )
    reference = pi.sample(
        target.program, pi.Importance(draws=200_000), key=6, progress=False, check=False
    )
    found, truth = posterior.log_evidence, reference.log_evidence
    assert abs(found.value - truth.value) < 4 * np.hypot(found.error, truth.error)
    assert found.error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "resampler",
    [
        resampling.systematic,
        resampling.multinomial,
        resampling.residual,
        resampling.killing,
        resampling.ssp,
    ],
)
def test_one_island_knows_its_error(resampler) -> None:
    """The genealogical error of single islands equals the spread of many."""
    method = pi.SMC(particles=200, islands=1, moves=3, resampler=resampler)
    program = targets.correlated().program
    found = [
        pi.sample(program, method, key=key, progress=False, check=False).log_evidence
        for key in range(150)
    ]
    spread = np.std([e.value for e in found], ddof=1)
    stated = np.sqrt(np.mean([e.error**2 for e in found]))
    assert 0.75 < spread / stated < 1.25  # 150 islands know their spread to 6 %


@pytest.mark.parametrize(
    "make", [targets.half_space, targets.nan_sprinkled, targets.plateau], ids=lambda m: m.__name__
)
def test_adaptive_smc_on_hard_supports(make) -> None:
    target = make()
    posterior = pi.sample(
        target.program, pi.SMC(particles=2000), key=7, progress=False, check=False
    )
    found = posterior.log_evidence
    assert abs(found.z(target.log_evidence)) < 4
    assert found.error < 0.1
    if make is targets.nan_sprinkled:
        assert posterior.provenance["nan_evaluations"] > 0


@pytest.mark.slow
def test_resamplers_are_interchangeable() -> None:
    target = targets.bimodal()
    for resampler in (resampling.multinomial, resampling.residual, resampling.ssp):
        method = dataclasses.replace(FIXED, resampler=resampler, resample_below=1.0)
        result = pi.validity.check_proper(
            method, target.program, key=8, log_evidence=target.log_evidence
        )
        assert result, result
