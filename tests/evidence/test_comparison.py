"""Fits as programs, bridge sampling, and evidences side by side."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats

import probinf as pi
from probinf.core.estimate import Estimate
from probinf.errors import EvidenceError, ImproperPriorError, MethodError, StructureError
from probinf.evidence.comparison import _p_value
from probinf.evidence.harmonic_mean import HarmonicMean
from probinf.validity import check_base, check_proper
from tests.cases import targets

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ np.array([1.0, -0.5, 0.0]) + np.random.default_rng(1).normal(size=20)


def regression(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([3]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ beta, 1.0), obs=y)


def flat(y):
    mean = numpyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


EXACT = float(scipy.stats.multivariate_normal.logpdf(Y, np.zeros(20), np.eye(20) + X @ X.T))


@pytest.fixture(scope="module")
def program() -> pi.Program:
    return pi.from_numpyro(regression, X, y=Y)


@pytest.fixture(scope="module")
def chains(program: pi.Program) -> pi.Posterior:
    return pi.sample(program, pi.NUTS(chains=4, warmup=300, draws=500), key=1, progress=False)


@pytest.mark.parametrize("family", ["normal", "student"])
def test_a_fit_is_a_normalised_program(chains: pi.Posterior, family: Any) -> None:
    fitted = pi.fit(chains, family)
    assert check_base(fitted, key=1, draws=10_000)
    draws = pi.sample(fitted, pi.Importance(draws=20_000), key=2, progress=False)
    np.testing.assert_array_equal(draws.log_weights, 0.0)  # nothing but the fit
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(
            moment(draws.draws["beta"], axis=(0, 1)),
            moment(chains.draws["beta"], axis=(0, 1)),
            atol=0.03,
        )


@pytest.mark.slow
def test_starting_from_a_fit_changes_nothing(program: pi.Program, chains: pi.Posterior) -> None:
    corrected = pi.rebase(program, pi.fit(chains))
    engine = pi.Importance(draws=8)
    result = check_proper(engine, corrected, key=3, log_evidence=EXACT, reference_draws=40_000)
    assert result, result


@pytest.mark.slow
def test_a_fit_as_the_prior_of_new_data(program: pi.Program) -> None:
    first, second = pi.from_numpyro(regression, X[:10], y=Y[:10]), (X[10:], Y[10:])
    seen = pi.sample(first, pi.SMC(particles=2000, islands=2), key=1, progress=False)
    rest = pi.from_numpyro(regression, second[0], y=second[1])
    updated = pi.with_base(rest, pi.fit(seen, "normal"))
    found = pi.sample(updated, pi.SMC(particles=2000, islands=2), key=2, progress=False)
    variance = np.linalg.inv(np.eye(3) + X.T @ X)
    w = np.exp(found.log_weights)
    mean = (found.draws["beta"] * w[..., None]).sum(axis=(0, 1)) / w.sum()
    # conjugate, so the fit is exact up to the error of its moments
    np.testing.assert_allclose(mean, variance @ X.T @ Y, atol=0.05)


@pytest.mark.parametrize("make", [targets.skewed], ids=lambda m: m.__name__)
def test_bridge_sampling_is_right_within_its_error(make: Any) -> None:
    target = make()
    method = pi.NUTS(chains=4, warmup=300, draws=1000)
    posterior = pi.sample(target.program, method, key=1, progress=False)
    found = pi.bridge(posterior, key=2)
    assert abs(found.z(target.log_evidence)) < 4
    assert found.error < 0.05


def test_bridge_sampling_without_the_fitted_density_fails(monkeypatch: Any) -> None:
    """The law above sees a twin that takes the fit for uniform."""

    def only_the_target(program: pi.Program, base: pi.Program, x: Any) -> Any:
        flat_base = dataclasses.replace(base, score=_Uniform(base.score))
        return log_ratios(program, flat_base, x)

    bridge_module = importlib.import_module("probinf.evidence.bridge")
    log_ratios = bridge_module._log_ratios
    monkeypatch.setattr(bridge_module, "_log_ratios", only_the_target)
    target = targets.skewed()
    method = pi.NUTS(chains=4, warmup=300, draws=1000)
    posterior = pi.sample(target.program, method, key=1, progress=False)
    assert abs(pi.bridge(posterior, key=2).z(target.log_evidence)) > 4


@dataclasses.dataclass(frozen=True)
class _Uniform:
    score: Any

    def __call__(self, x: Any, data: Any) -> Any:
        found = self.score(x, data)
        return found._replace(log_base=0.0 * found.log_base)


@pytest.mark.slow
def test_bridge_errors_are_calibrated() -> None:
    """Independent draws of a known posterior: 200 bridges, z-scores of spread one."""
    target = targets.skewed()
    one = pi.sample(
        target.program, pi.NUTS(chains=2, warmup=50, draws=50), key=1, progress=False, check=False
    )
    exact = np.asarray(targets.exact_draws(target, 200 * 400, seed=3)["x"])
    z = []
    for k, draws in enumerate(exact.reshape(200, 2, 200, 1)):
        posterior = dataclasses.replace(one, unconstrained=draws, log_weights=np.zeros((2, 200)))
        z.append(pi.bridge(posterior, key=k).z(target.log_evidence))
    low, high = np.sqrt(scipy.stats.chi2.ppf([5e-5, 1 - 5e-5], 199) / 199)
    assert low < np.std(z, ddof=1) < high
    assert abs(np.mean(z)) < 4 / np.sqrt(200)


def test_all_engines_agree_with_the_exact_evidence(program: pi.Program) -> None:
    methods = {
        "Nested": pi.Nested(live=200),
        "SMC": pi.SMC(particles=500, islands=4),
        "Bridge": pi.NUTS(chains=4, warmup=300, draws=500),
        "Random walk": pi.Importance(draws=20_000),
    }
    found = pi.compare_evidence(program, key=1, methods=methods, harmonic=True, progress=False)
    assert found.p_value > 1e-6 and not found.refused and "Harmonic" in found.estimates
    for name, estimate in found.estimates.items():
        assert abs(estimate.z(EXACT)) < 4, name
    assert all(name in str(found) for name in methods)
    close = dataclasses.replace(found, p_value=0.5)
    assert close and "agree (chi-square" in close.verdict
    wrong = {**found.estimates, "SMC": pi.Estimate(EXACT + 1.0, 0.02)}
    broken = dataclasses.replace(found, estimates=wrong, p_value=1e-9)
    assert not broken and "disagree" in broken.verdict


def test_a_harmonic_mean_with_findings_is_not_counted(
    program: pi.Program, monkeypatch: Any
) -> None:
    """A heavy tail, and an error that would settle the comparison."""
    tail = HarmonicMean(Estimate(EXACT + 5.0, 1e-3), {}, 500.0, 0.9, 3.0, 0.1, 0.1, 0, 0.8)
    module = importlib.import_module("probinf.evidence.comparison")
    monkeypatch.setattr(module, "learned_harmonic", lambda posterior: tail)
    methods = {
        "Bridge": pi.NUTS(chains=4, warmup=200, draws=200),
        "Random walk": pi.Importance(draws=20_000),
    }
    found = pi.compare_evidence(program, key=1, methods=methods, harmonic=True, progress=False)
    assert list(found.estimates) == list(methods)
    assert found and "not counted" in found.refused["Harmonic"]
    assert "Pareto k of 0.90" in str(found)


@pytest.mark.slow
def test_the_default_comparison(program: pi.Program) -> None:
    found = pi.compare_evidence(program, key=2, progress=False)
    assert list(found.estimates) == [
        "Nested", "SMC", "Tempering", "Bridge", "Harmonic", "Importance"
    ]  # fmt: skip
    assert found
    for estimate in found.estimates.values():
        assert abs(estimate.z(EXACT)) < 4


def test_what_cannot_be_done_is_said(program: pi.Program, chains: pi.Posterior) -> None:
    with pytest.raises(
        MethodError, match="family must be 'normal', 'student' or 'flow', got 'cauchy'"
    ):
        inspect.unwrap(pi.fit)(chains, "cauchy")  # past the type checks that only tests have
    with pytest.raises(StructureError, match="no program"):
        pi.fit(dataclasses.replace(chains, program=None))
    few = dataclasses.replace(
        chains, unconstrained=chains.unconstrained[:1, :5], log_weights=np.zeros((1, 5))
    )
    with pytest.raises(MethodError, match="5 effective draws are too few"):
        pi.fit(few)
    stuck = dataclasses.replace(chains, unconstrained=np.zeros_like(chains.unconstrained))
    with pytest.raises(MethodError, match="never moves"):
        pi.fit(stuck)
    importance = pi.sample(program, pi.Importance(draws=500), key=1, progress=False)
    with pytest.raises(EvidenceError, match=r"weighted.*posterior\.log_evidence"):
        pi.bridge(importance, key=1)
    with pytest.raises(EvidenceError, match=r"harmonic: the draws are weighted"):
        pi.evidence.harmonic(importance)
    improper = pi.from_numpyro(flat, Y)
    with pytest.raises(ImproperPriorError):
        pi.compare_evidence(improper, key=1)
    only = pi.compare_evidence(program, key=1, methods={"a": pi.Importance(500)}, progress=False)
    assert not only and "nothing to compare" in str(only)


def prior_only():
    numpyro.sample("mu", dist.Normal(0.0, 2.0))


def test_evidences_without_error_are_compared():
    """A prior has evidence one, exactly; the engines' weights have no spread."""
    methods = {
        "Importance": pi.Importance(draws=200),
        "SMC": pi.SMC(particles=20, islands=2, kernel=pi.kernels.RandomWalk(), moves=1),
    }
    program = pi.from_numpyro(prior_only)
    found = pi.compare_evidence(program, key=0, methods=methods, progress=False)
    assert found and found.p_value > 0.5
    assert all(abs(e.value) < 1e-5 for e in found.estimates.values())
    apart = {**found.estimates, "wrong": Estimate(1.0, 0.0)}
    assert not dataclasses.replace(found, estimates=apart, p_value=_p_value(apart))
    worst = dataclasses.replace(found, estimates=apart, p_value=0.0).verdict
    assert "wrong is the farthest off" in worst
