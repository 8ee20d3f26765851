"""PMMH, particle Gibbs and SMC squared: what they keep, refuse, resume; the Nile's exact answer."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import flatten
from probinf.errors import EvidenceError, MethodError, ZeroLikelihoodError
from probinf.samplers.pmcmc.filtering import Filter
from probinf.samplers.pmcmc.refreshing import Refreshing
from probinf.samplers.pmcmc.target import target
from tests.cases import state_spaces as cases
from tests.cases.tiers import tiers

YEARS = 20
SHORT = {
    "pmmh": pi.PMMH(particles=16, chains=2, warmup=100, draws=60),
    "gibbs": pi.ParticleGibbs(particles=8, chains=2, warmup=100, draws=60),
    "smc2": pi.SMC2(particles=40, state_particles=4, grow_below=0.9, max_state_particles=8),
}


def initial() -> Any:
    return {"level": dist.Normal(cases.CENTRE, cases.WIDTH)}


def transition(state: Any, level_sd: Any) -> Any:
    return {"level": dist.Normal(state["level"], level_sd)}


def emission(state: Any, noise_sd: Any) -> Any:
    return dist.Normal(state["level"], noise_sd)


def nile(years: int = YEARS) -> pi.Program:
    return pi.from_state_space(
        initial,
        transition,
        emission,
        cases.NILE[:years],
        parameters={
            "level_sd": dist.LogNormal(np.log(40.0), 0.7),
            "noise_sd": dist.LogNormal(np.log(120.0), 0.4),
        },
    )


def errors(found: pi.Posterior, exact: dict[str, float]) -> list[float]:
    """z-scores of both means."""
    columns, names = found.summary().columns, found.summary().names
    rows = [names.index(name) for name in ("level_sd", "noise_sd")]
    return [float((columns["mean"][i] - exact[names[i]]) / columns["mcse"][i]) for i in rows]


@pytest.mark.parametrize("name", tiers(["pmmh", "gibbs"], ["pmmh"]))
def test_a_run_is_resumed_bit_for_bit_and_keeps_what_is_named(name: str, tmp_path: Any) -> None:
    program, folder = nile(), tmp_path / name
    whole = pi.sample(program, SHORT[name], key=1, progress=False)
    assert whole.draws["level"].shape == (2, 60, YEARS)
    with pytest.raises(MethodError, match="no draws yet"):
        pi.sample(program, SHORT[name], key=1, progress=False, checkpoint=folder, max_seconds=1e-9)
    again = pi.resume(folder, program, progress=False, keep=("level", "noise_sd"))
    assert set(again.draws) == {"level", "noise_sd"}
    for site in again.draws:
        np.testing.assert_array_equal(again.draws[site], whole.draws[site])
    assert whole.unconstrained.shape == (2, 60, 2 + YEARS)
    assert whole.predict(key=1)["observations"].shape == (2, 60, YEARS)


def test_programs_without_states_are_refused() -> None:
    plain = pi.from_numpyro(cases.nile_prior)
    for method in SHORT.values():
        with pytest.raises(MethodError, match="from_state_space"):
            pi.sample(plain, method, key=0, progress=False)


def test_kernels_and_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(MethodError, match="ParticleGibbs"):
        pi.PMMH(kernel=kernels.NUTS())
    with pytest.raises(MethodError, match="at least 2"):
        pi.ParticleGibbs(particles=1)
    with pytest.raises(MethodError, match="even"):
        pi.SMC2(particles=101)
    with pytest.raises(MethodError, match="weigh"):
        pi.sample(unweighed(), SHORT["gibbs"], key=0, progress=False)


def unweighed() -> pi.Program:
    """A sequence that only starts and extends."""
    sequence = cases.finite_sequence()
    bare = pi.Sequence(sequence.start, sequence.extend, sequence.inputs, sequence.data)
    return cases.by_hand(pi.from_numpyro(cases.stay_prior), bare)


def walled(state: Any, noise_sd: Any) -> Any:
    return dist.Uniform(state["level"] - noise_sd, state["level"] + noise_sd)


def test_filters_that_die_are_named_with_the_step() -> None:
    y = cases.NILE[:6].copy()
    y[4] = 1e6
    program = pi.from_state_space(
        initial,
        transition,
        walled,
        y,
        parameters={"level_sd": dist.LogNormal(3.0, 0.1), "noise_sd": dist.LogNormal(6.0, 0.1)},
    )
    with pytest.raises(ZeroLikelihoodError, match="t=4"):
        pi.sample(program, SHORT["pmmh"], key=0, progress=False, check=False)


def test_smc2_doubles_its_state_particles_and_says_so() -> None:
    found = pi.sample(nile(), SHORT["smc2"], key=1, progress=False)
    many = found.history["state_particles"]
    assert np.nanmin(many) == 4 and np.nanmax(many) == 8
    assert "level_last" in found.draws
    exact = cases.nile_exact(YEARS)["log_evidence"]
    assert abs(found.log_evidence.value - exact) < 5 * found.log_evidence.error + 0.5


def test_smc2_stopped_at_every_datum_grows_and_ends_as_one_that_was_not(tmp_path: Any) -> None:
    program, folder = nile(), tmp_path / "smc2"
    whole = pi.sample(program, SHORT["smc2"], key=1, progress=False)
    assert np.nanmax(whole.history["state_particles"][:, 4]) == 8  # it has grown by then
    with pytest.raises(MethodError, match="interrupted"):
        pi.sample(
            program, SHORT["smc2"], key=1, progress=False, checkpoint=folder, max_seconds=1e-9
        )
    for _ in range(6):
        with pytest.raises(MethodError, match="interrupted"):
            pi.resume(folder, program, progress=False, max_seconds=1e-9)
    again = pi.resume(folder, program, progress=False)
    for site in whole.draws:
        np.testing.assert_array_equal(again.draws[site], whole.draws[site])
    np.testing.assert_array_equal(again.log_weights, whole.log_weights)
    for name in whole.history:
        np.testing.assert_array_equal(again.history[name], whole.history[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pi.PMMH(draws=5000),
        pi.PMMH(draws=5000, blocks=10),
        pi.ParticleGibbs(draws=10_000),
        pi.SMC2(particles=1000, islands=4),
    ],
    ids=["pmmh", "blocks", "gibbs", "smc2"],
)
def test_the_nile_agrees_with_its_exact_likelihood(method: Any) -> None:
    """|z| < 4 for the means, 100 years."""
    exact = cases.nile_exact(100)
    found = pi.sample(nile(100), method, key=5, progress=False)
    assert max(map(abs, errors(found, exact))) < 4
    if found.evidence is not None:
        assert abs(found.evidence.value - exact["log_evidence"]) < 4 * found.evidence.error


def test_bridge_sums_the_states_out(key: int = 2) -> None:
    """20 years, |z| < 5 against the exact integral."""
    method = pi.PMMH(particles=16, chains=2, warmup=200, draws=1000)
    found = pi.sample(nile(), method, key=key, progress=False)
    with pytest.raises(EvidenceError, match=r"pi\.bridge\(posterior, key=0\)"):
        _ = found.log_evidence
    evidence = pi.bridge(found, key=3, particles=64)
    assert evidence.error < 0.2
    assert abs(evidence.z(cases.nile_exact(YEARS)["log_evidence"])) < 5


def test_bridge_without_states_takes_no_particles() -> None:
    plain = pi.from_numpyro(cases.nile_prior)
    found = pi.sample(plain, pi.NUTS(chains=1, warmup=50, draws=20), key=0, progress=False)
    with pytest.raises(EvidenceError, match="particles=64 is for programs"):
        pi.bridge(found, key=0, particles=64)


def volatility_start(mu: Any, phi: Any, sigma: Any) -> Any:
    return {"h": dist.Normal(mu, sigma / jnp.sqrt(1 - phi**2))}


def volatility_moves(state: Any, mu: Any, phi: Any, sigma: Any) -> Any:
    return {"h": dist.Normal(mu + phi * (state["h"] - mu), sigma)}


def volatility_seen(state: Any) -> Any:
    return dist.Normal(0.0, jnp.exp(state["h"] / 2))


@pytest.mark.slow
def test_stochastic_volatility_agrees_with_nuts_on_the_scan() -> None:
    """Means of parameters and of the last state; |z| < 4 between any two engines."""
    rng = np.random.default_rng(7)
    h = [rng.normal(-1.0, 0.9)]
    for _ in range(99):
        h.append(-1.0 + 0.95 * (h[-1] + 1.0) + 0.3 * rng.normal())
    y = np.exp(np.array(h) / 2) * rng.normal(size=100)
    program = pi.from_state_space(
        volatility_start, volatility_moves, volatility_seen, y, parameters=cases.volatility_prior
    )
    engines = {
        "scan": (
            pi.from_numpyro(cases.volatility_scan, y),
            pi.NUTS(kernel=kernels.NUTS(target_acceptance=0.95), draws=2000),
        ),
        "pmmh": (program, pi.PMMH(particles=100, draws=5000)),
        "gibbs": (program, pi.ParticleGibbs(particles=30, draws=10_000)),
        "smc2": (program, pi.SMC2(particles=1000, islands=4)),
    }
    means, errors = [], []
    for k, (model, method) in enumerate(engines.values()):
        summary = pi.sample(model, method, key=k, progress=False).summary()
        wanted = ["mu", "phi", "sigma"]
        last = "h_last" if "h_last" in summary.names else f"h[{len(y) - 1}]"
        rows = [summary.names.index(name) for name in [*wanted, last]]
        means.append(np.asarray(summary.columns["mean"])[rows])
        errors.append(np.asarray(summary.columns["mcse"])[rows])
    for (m, a), (n, b) in itertools.combinations(zip(means, errors, strict=True), 2):
        assert np.abs((m - n) / np.hypot(a, b)).max() < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pi.PMMH(particles=100, draws=2000),
        pi.ParticleGibbs(draws=5000),
        pi.NUTS(draws=2000),
    ],
    ids=["pmmh", "gibbs", "nuts"],
)
def test_evidence_of_100_years_by_bridge(method: Any) -> None:
    """Chains of three engines, five keys each; |z| < 4."""
    found = pi.sample(nile(100), method, key=6, progress=False)
    exact = cases.nile_exact(100)["log_evidence"]
    assert max(abs(pi.bridge(found, key=key).z(exact)) for key in range(5)) < 4


def lucky(taken: int) -> float:
    """The log density of a chain 5 transitions after an estimate too good to beat."""
    flat, _ = flatten(target(nile(), Filter(16, 0.5, ordered=False), 1))
    engine = Refreshing(kernels.RandomWalk(), chains=1, warmup=100, draws=10)
    own, _ = jax.jit(engine.begin)(jax.random.key(0), flat)
    kernel = own.kernel._replace(logdensity=own.kernel.logdensity + 1e6)
    own, step = own._replace(kernel=kernel), jax.jit(engine.transition)
    for k in range(5):
        own, _ = step(jax.random.key(k), flat, own, jnp.array(taken + k))
    return float(own.kernel.logdensity)


def test_a_lucky_estimate_is_let_go_while_warming_up_and_only_then() -> None:
    assert lucky(40) < 0
    assert lucky(80) > 1e5 and lucky(100) > 1e5


def test_mutant_chains_that_never_estimate_anew_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probinf.samplers.pmcmc.refreshing._EVERY", 10**6)
    assert lucky(40) > 1e5


def test_no_chain_of_pmmh_stays_where_it_began() -> None:
    method = pi.PMMH(particles=100, chains=4, warmup=300, draws=200)
    found = pi.sample(nile(100), method, key=0, progress=False, keep=("noise_sd",))
    assert all(len(np.unique(chain)) > 1 for chain in found.draws["noise_sd"])
