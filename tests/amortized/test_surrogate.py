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
from probinf.amortized import FittedSurrogate
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


class Wrong(eqx.Module):
    """The ring's log likelihood with a slope, a constant and a part that is cut away."""

    slope: jax.Array
    constant: jax.Array
    cut: jax.Array

    def __call__(self, x):
        v = 8 * jax.nn.sigmoid(x) - 4
        exact = -0.5 * ((jnp.hypot(v[0], v[1]) - 2) / 0.3) ** 2 + 0.5 * v[0]
        wrong = self.constant + self.slope * v[1] - self.cut * (v[0] > 1)
        return (exact + wrong).astype(x.dtype)


class WithWrong(pi.amortized.Surrogate):
    """Learns nothing."""

    def fit(self, program, rows, log_likelihood, **_):
        return FittedSurrogate(self.given, 0.0, 32, 0)


def with_wrong(slope=0.0, constant=0.0, cut=0.0):
    surrogate = WithWrong(pilot=40, rounds=1)
    object.__setattr__(surrogate, "given", Wrong(*map(jnp.asarray, (slope, constant, cut))))
    return surrogate


def ring_law(runs) -> bool:
    """Evidence and the mean of v[1], which is zero, over runs with keys of their own."""
    z = [run.log_evidence.z(ring_evidence()) for run in runs]
    rows = [run.summary()["v[1]"] for run in runs]
    z += [row["mean"] / row["mcse"] for row in rows]
    return bool(np.mean(np.square(z)) < 3.5)  # of 16 standard normals: 3e-6


def test_weights_make_a_wrong_surrogate_exact_and_forgotten_ones_are_caught(
    program, monkeypatch
) -> None:
    forgotten = []

    def recording(run, *args):
        forgotten.append(run)
        return corrected(run, *args)

    monkeypatch.setattr("probinf.amortized.surrogates.running.corrected", recording)
    surrogate, method = with_wrong(slope=0.3, constant=1.0), pi.Nested(live=60)
    runs = [surrogate.sample(program, method, key=k) for k in range(8)]
    assert ring_law(runs)
    assert not ring_law(forgotten)
    told = runs[0].provenance["surrogate"]
    assert told["exact_evaluations"] == runs[0].provenance["likelihood_evaluations"]
    assert "birth_log_likelihood" not in runs[0].stats
    with pytest.raises(MethodError, match="more"):
        runs[0].more(live=50)
    np.testing.assert_allclose(
        runs[0].stats["log_likelihood"],
        log_likelihoods(program, runs[0].unconstrained[0])[None],
    )
    # a part that the network hides is seen in the pilot, wrong slopes in the weights
    hides = with_wrong(cut=50.0).sample(program, method, key=0)
    assert "surrogate_hides" in hides.diagnose().codes
    steep = with_wrong(slope=4.0).sample(program, method, key=0)
    assert "bad_surrogate" in steep.diagnose().codes


@pytest.mark.slow
def test_evidence_with_a_surrogate(program) -> None:
    surrogate = pi.amortized.Surrogate(pilot=50, widths=(32,), steps=3000)
    found = surrogate.sample(program, pi.Nested(live=200), key=1)
    assert abs(found.log_evidence.z(ring_evidence())) < 4
    assert found.provenance["surrogate"]["pareto_k"] < 0.7
    assert not found.findings
    untrained = pi.amortized.Surrogate(pilot=50, steps=0, rounds=1)
    assert untrained.sample(program, pi.Nested(live=200), key=1).findings


def on_the_host(theta) -> float:
    v = theta["v"]
    if v[0] < -3.5:
        return -np.inf
    return -0.5 * ((np.hypot(*v) - 2) / 0.3) ** 2 + 0.5 * v[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", [pi.Nested(live=200), pi.SMC(particles=300, islands=4)])
def test_of_ordinary_python_every_call_is_counted(method) -> None:
    calls = []

    def log_likelihood(theta):
        calls.append(theta)
        return on_the_host(theta)

    program = pi.from_callback(log_likelihood, {"v": PRIOR})
    calls.clear()
    surrogate = pi.amortized.Surrogate(pilot=50, widths=(32,), steps=3000)
    found = surrogate.sample(program, method, key=1)
    told = found.provenance
    assert len(calls) == told["callback"]["evaluations"] <= told["likelihood_evaluations"]
    assert abs(found.log_evidence.value - ring_evidence()) < 4 * found.log_evidence.error + 0.02


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
