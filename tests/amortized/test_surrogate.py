"""Surrogates change how often the exact likelihood is asked, and never the answer."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.amortized.surrogates.exact import corrected, log_likelihoods
from probinf.core.transformations.guiding import guided
from probinf.errors import MethodError, TrainingError
from probinf.validity import check_invariant
from tests.cases import targets

PRIOR = dist.Uniform(-4 * np.ones(2), 4 * np.ones(2)).to_event(1)


class Bad(eqx.Module):
    """A surrogate that is wrong everywhere."""

    slope: jax.Array

    def __call__(self, x):
        return self.slope @ x


def misled():
    target = targets.skewed()
    draws = targets.exact_draws(target, 4000, seed=1)
    size = jax.tree.leaves(draws)[0][0].size
    return guided(target.program, Bad(jnp.full(size, 0.8))), draws


@pytest.mark.parametrize("inner", [kernels.RandomWalk(), kernels.HMC(steps=3)])
def test_delayed_acceptance_is_invariant_whatever_the_surrogate(inner) -> None:
    program, draws = misled()
    kernel = kernels.DelayedAcceptance(inner, moves=3)
    result = check_invariant(kernel, program, key=2, draws=draws, steps=3)
    assert result, result


class Forgotten(kernels.DelayedAcceptance):
    """Takes whatever the surrogate proposes."""

    @staticmethod
    def _second_stage(exact, surrogate):
        return jnp.zeros_like(exact)


def test_a_forgotten_second_stage_is_caught() -> None:
    program, draws = misled()
    assert not check_invariant(Forgotten(moves=3), program, key=2, draws=draws, steps=3)


def in_jax() -> None:
    v = numpyro.sample("v", PRIOR)
    radius = jnp.sqrt(v[0] ** 2 + v[1] ** 2)
    numpyro.factor("ring", -0.5 * ((radius - 2) / 0.3) ** 2 + 0.5 * v[0])


def ring_evidence() -> float:
    grid = np.linspace(-4, 4, 801)
    a, b = np.meshgrid(grid, grid)
    density = np.exp(-0.5 * ((np.hypot(a, b) - 2) / 0.3) ** 2 + 0.5 * a)
    return float(np.log(density.mean() * (801 / 800) ** 2))


@pytest.fixture(scope="module")
def program():
    return pi.from_numpyro(in_jax)


def test_a_network_learns_what_is_no_quadratic(program) -> None:
    rows = np.random.default_rng(1).uniform(-3, 3, (1000, 2))
    exact = log_likelihoods(program, rows)
    learned, crude = (
        pi.amortized.Surrogate(widths=(32,), steps=n).fit(
            program, rows, exact, key=0, log_weights=exact
        )
        for n in (1500, 0)
    )
    assert learned.error < 0.5 < crude.error
    found = log_likelihoods(learned.instead(program), rows)
    np.testing.assert_allclose(found, learned.log_likelihood(rows), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(log_likelihoods(learned.beside(program), rows), exact)


@pytest.mark.slow
def test_evidence_with_a_surrogate(program) -> None:
    surrogate = pi.amortized.Surrogate(pilot=50, widths=(32,), steps=1500)
    found = surrogate.sample(program, pi.Nested(live=200), key=1)
    assert abs(found.log_evidence.z(ring_evidence())) < 4
    assert found.provenance["surrogate"]["pareto_k"] < 0.7
    assert not found.findings


def test_weights_are_exact_and_a_bad_surrogate_is_caught(program) -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-2, 2, (400, 2))
    exact = log_likelihoods(program, rows)
    posterior = dataclasses.replace(
        pi.sample(program, pi.Importance(draws=400), key=0, progress=False, precision="single"),
        log_weights=np.zeros((1, 400)),
        evidence=pi.Estimate(0.0, 0.0),
    )
    close = exact - 0.1 * rng.normal(size=400)
    good, change = corrected(posterior, exact[None], close[None], program)
    np.testing.assert_allclose(change.delta, np.log(np.mean(np.exp(exact - close))), atol=1e-6)
    assert good.evidence.value == change.delta
    assert not change.findings
    bad, change = corrected(posterior, exact[None], np.zeros((1, 400)), program)
    assert "bad_surrogate" in [f.code for f in bad.findings]
    _, change = corrected(posterior, np.full((1, 400), -np.inf), close[None], program)
    assert np.isneginf(change.delta)
    assert change.findings


def test_refused(program) -> None:
    with pytest.raises(MethodError, match="reversible"):
        kernels.DelayedAcceptance(kernels.NUTS())
    with pytest.raises(MethodError, match="no surrogate beside"):
        kernel = kernels.DelayedAcceptance()
        pi.sample(targets.skewed().program, pi.MCMC(kernel, draws=10), key=0, progress=False)
    with pytest.raises(MethodError, match="Nested or SMC"):
        pi.amortized.Surrogate().sample(program, pi.NUTS(), key=0)
    with pytest.raises(TrainingError, match="finite at 0 points"):
        pi.amortized.Surrogate().fit(program, np.zeros((60, 2)), np.full(60, -np.inf), key=0)
