"""diagnose: each trouble is found, named and given a remedy; a good fit raises nothing."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.results import geometry
from probinf.results.diagnosis import Diagnosis, diagnose
from probinf.results.geometry import divergence_place
from probinf.results.posterior import Posterior
from probinf.samplers.importance import judged


def chains(draws: np.ndarray | None = None, **stats: np.ndarray) -> Posterior:
    """A posterior of four good chains, with the given things wrong."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 1000, 2)) if draws is None else draws
    shape = draws.shape[:2]
    fine: dict[str, Any] = {
        "divergent": np.zeros(shape, bool),
        "energy": rng.normal(size=shape),
        **stats,
    }
    return Posterior(
        draws={"theta": draws},
        log_weights=np.zeros(shape),
        stats=fine,
        history={},
        unconstrained=draws,
        provenance={"method": "NUTS()", "interrupted": False},
        kind="chains",
    )


def particles(
    log_weights: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    kind: Any = "population",
    history: dict[str, np.ndarray] | None = None,
    **provenance: Any,
) -> Posterior:
    """A posterior of good weighted draws, with the given things wrong."""
    draws = np.random.default_rng(0).normal(size=(2, 500, 1))
    log_w = np.zeros((2, 500)) if log_weights is None else log_weights
    return Posterior(
        draws={"theta": draws},
        log_weights=log_w,
        stats={},
        history={"acceptance": np.full((2, 5), 0.6)} if history is None else history,
        unconstrained=draws,
        provenance={"interrupted": False, **provenance},
        kind=kind,
        findings=judged(log_w) if kind == "weighted" else (),
        clusters=np.arange(1000).reshape(2, 500) if clusters is None else clusters,
    )


def found(posterior: Posterior) -> dict[str, str]:
    return {finding.code: finding.message for finding in diagnose(posterior).findings}


def test_good_fits_raise_nothing() -> None:
    for posterior in (chains(), particles(), particles(kind="weighted")):
        diagnosis = diagnose(posterior)
        assert diagnosis and diagnosis.codes == []
        assert str(diagnosis) == "Nothing suspicious was found."
        assert posterior.diagnose() == diagnosis


def test_a_diagnosis_is_false_and_prints_its_findings() -> None:
    divergent = np.zeros((4, 1000), bool)
    divergent[1, :3] = True
    diagnosis = diagnose(chains(divergent=divergent))
    assert isinstance(diagnosis, Diagnosis)
    assert not diagnosis
    assert diagnosis.codes == ["divergences"]
    assert repr(diagnosis).startswith("- divergences: 3 of 4000 transitions")


def test_a_printed_diagnosis_fits_a_page_and_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    apart = rng.normal(size=(4, 1000, 2)) + 3 * np.arange(4)[:, None, None]
    diagnosis = diagnose(chains(apart, divergent=np.ones((4, 1000), bool)))
    lines = str(diagnosis).splitlines()
    assert len(lines) > len(diagnosis.findings) > 1 and max(map(len, lines)) <= 96
    whole = " ".join(f"- {finding.code}: {finding.message}" for finding in diagnosis.findings)
    assert " ".join(str(diagnosis).split()) == " ".join(whole.split())


def test_divergences() -> None:
    divergent = np.zeros((4, 1000), bool)
    divergent[1, :3] = True
    message = found(chains(divergent=divergent))["divergences"]
    assert "3 of 4000" in message and "target_acceptance" in message and "non-centred" in message


def test_chains_that_disagree() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4, 1000, 2))
    draws[2, :, 1] += 3
    codes = found(chains(draws))
    assert set(codes) == {"r_hat", "low_ess"}
    assert codes["r_hat"].index("theta[1]") < codes["r_hat"].index("theta[0]")  # worst first
    assert "SMC" in codes["r_hat"]


def test_a_chain_in_a_minor_mode_is_told_where_to_start() -> None:
    rng = np.random.default_rng(4)
    draws, level = rng.normal(size=(4, 500, 2)), rng.normal(size=(4, 500))
    draws[2] += 3
    assert "pathfinder" not in found(chains(draws, log_density=level))["r_hat"]
    level[2] -= 40
    message = found(chains(draws, log_density=level))["r_hat"]
    assert re.search(r"chain 2 stays (39|40|41) or more below .*start='pathfinder'", message)


def test_chains_that_creep() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4, 1000, 2))
    for t in range(1, 1000):
        draws[:, t, 0] = 0.97 * draws[:, t - 1, 0] + np.sqrt(1 - 0.97**2) * draws[:, t, 0]
    message = found(chains(draws))["low_ess"]
    assert message.index("theta[0]") < message.index("theta[1]")
    assert "about 400" in message and "Run longer" in message


def test_chains_that_never_move() -> None:
    codes = found(chains(np.ones((4, 1000, 2))))
    assert "stuck" in codes and "r_hat" not in codes and "low_ess" not in codes


def test_one_constant_among_moving_coordinates_is_no_trouble() -> None:
    draws = np.random.default_rng(0).normal(size=(4, 1000, 2))
    draws[..., 1] = 1.0  # a deterministic site such as the diagonal of a correlation matrix
    assert diagnose(chains(draws))


def test_one_chain_that_never_moves() -> None:
    draws = np.random.default_rng(0).normal(size=(4, 1000, 2))
    draws[3] = draws[3, :1]
    assert {"r_hat", "low_ess"} <= set(found(chains(draws)))


def test_energy_that_creeps() -> None:
    walk = np.cumsum(np.random.default_rng(2).normal(size=(4, 1000)), axis=1)
    message = found(chains(energy=walk))["e_bfmi"]
    assert "E-BFMI 0.0" in message and "non-centred" in message


def test_one_infinite_energy_says_nothing_about_the_others() -> None:
    noise = np.random.default_rng(2).normal(size=(4, 1000))
    for energy, codes in ((noise, []), (np.cumsum(noise, axis=1), ["e_bfmi"])):
        energy[0, 10], energy[1, 20] = np.inf, np.nan
        assert diagnose(chains(energy=energy)).codes == codes
    assert diagnose(chains(energy=np.full((4, 1000), np.inf))).codes == []


def test_interrupted_runs() -> None:
    posterior = chains()
    posterior.provenance["interrupted"] = True
    assert "stopped before its end" in found(posterior)["interrupted"]


def heavy() -> np.ndarray:
    return 1.5 * np.random.default_rng(3).standard_exponential((2, 500))


def test_heavy_weights() -> None:
    message = found(particles(heavy(), kind="weighted"))["pareto_k"]
    assert "> 0.7" in message and "rebase" in message
    assert "pareto_k" not in found(particles(heavy()))  # SMC weights are not importance weights


def test_few_effective_weights() -> None:
    log_w = np.where(np.arange(1000) < 40, 0.0, -np.inf).reshape(2, 500)
    message = found(particles(log_w))["low_ess"]
    assert "40 of 1000" in message


def test_few_ancestors() -> None:
    clusters = np.arange(1000).reshape(2, 500) % 30
    message = found(particles(clusters=clusters))["ancestry"]
    assert "30 first particles" in message and "islands" in message


def test_moves_that_are_rejected() -> None:
    history = {"acceptance": np.array([[0.5, 0.4, 0.3], [0.5, 0.001, np.nan]])}
    message = found(particles(history=history))["acceptance"]
    assert "0.1%" in message and "stage 1" in message and "kernel" in message


def test_lost_evaluations() -> None:
    message = found(particles(nan_evaluations=7))["nan"]
    assert "NaN at 7" in message and "pi.check" in message


@pytest.mark.parametrize("draws", [1, 2, 7])
def test_a_handful_of_draws_does_not_pass_as_fine(draws: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, draws, 1))
    codes = found(chains(values))
    assert f"{draws} draws per chain" in codes["low_ess"]
    assert "stuck" not in codes or draws == 1


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_draws_that_are_not_finite(value: float) -> None:
    draws = np.random.default_rng(0).normal(size=(4, 1000, 2))
    draws[0, 3, 1] = value
    posterior = chains(draws)
    message = found(posterior)["not_finite"]
    assert "theta[1]" in message and "theta[0]" not in message and "logarithm" in message
    assert np.isfinite(posterior.summary()["theta[0]"]["mean"])
    weighted = particles()
    weighted.draws["theta"][0, 3] = value
    assert "theta[0]" in found(weighted)["not_finite"]


# --- divergences by parameter -------------------------------------------------------------------


def hierarchy(y: Any = None) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.LogNormal(0, 1))
    numpyro.sample("theta", dist.Normal(mu, tau).expand([5]).to_event(1))
    numpyro.sample("y", dist.Normal(0, 1), obs=0.0)


def drawn(centred: bool, divergent: Any) -> Posterior:
    """Independent draws of the hierarchy, divergent where ``divergent(log_tau, rng)`` says."""
    rng = np.random.default_rng(1)
    mu, log_tau, z = (rng.normal(size=(4, 1000, k)) for k in (1, 1, 5))
    theta = mu + np.exp(log_tau) * z if centred else z
    flat = np.concatenate([mu, log_tau, theta], axis=2)  # mu, tau, theta: in alphabetical order
    fit = chains(flat[:, :, [0, 1, *range(2, 7)]], divergent=divergent(log_tau[..., 0], rng))
    return dataclasses.replace(
        fit,
        draws={"mu": mu[..., 0], "tau": np.exp(log_tau[..., 0]), "theta": theta},
        unconstrained=np.concatenate([mu, log_tau, theta], axis=2),
        program=pi.from_numpyro(hierarchy),
    )


def low_tau(log_tau: np.ndarray, rng: Any) -> np.ndarray:
    return (log_tau < -1.5) & (rng.random(log_tau.shape) < 0.3)


def anywhere(log_tau: np.ndarray, rng: Any) -> np.ndarray:
    return rng.random(log_tau.shape) < 0.02


def test_divergences_are_placed_and_the_funnel_is_named() -> None:
    message = found(drawn(True, low_tau))["divergences"]
    assert re.search(
        r"\d+ of the \d+ lie where tau is below 0\.\d+, as \d% of all draws do", message
    )
    assert "spread of theta grows with tau" in message
    assert "config={'theta': LocScaleReparam(0)}" in message
    few = drawn(True, lambda log_tau, rng: low_tau(log_tau, rng) & (log_tau < np.sort(log_tau)[3]))
    assert "LocScaleReparam" in found(few)["divergences"]


def test_divergences_at_random_are_not_placed() -> None:
    message = found(drawn(False, anywhere))["divergences"]
    assert "lie where" not in message and "LocScaleReparam" not in message
    assert "narrow ridge" in message and "non-centred" not in message
    rng = np.random.default_rng(2)
    placed = [divergence_place(drawn(False, lambda log_tau, _: anywhere(log_tau, rng)))]
    placed += [divergence_place(drawn(True, lambda log_tau, _: anywhere(log_tau, rng)))]
    assert placed == [None, None]


def test_the_upper_end_and_a_funnel_without_a_positive_scale() -> None:
    fit = drawn(True, lambda log_tau, rng: log_tau > 2.2)
    assert "lie where tau is above" in found(fit)["divergences"]
    energy = np.repeat(np.random.default_rng(0).normal(size=(4, 100)), 10, axis=1)
    stuck = dataclasses.replace(fit, stats={**fit.stats, "energy": energy})
    assert "LocScaleReparam" in found(stuck)["e_bfmi"]


def horseshoe() -> None:
    lam = numpyro.sample("lam", dist.HalfCauchy(1.0).expand([10]).to_event(1))
    numpyro.sample("beta", dist.Normal(0, lam).to_event(1))
    numpyro.sample("y", dist.Normal(0, 1), obs=0.0)


def shrunk(centred: bool) -> Posterior:
    """A horseshoe of ten entries, eight of which the data have settled, by its Gibbs sampler."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=10) + np.repeat([4.0, 0.0], [8, 2])
    squares, helper, rows = np.ones(10), np.ones(10), []
    for _ in range(4200):
        variance = 1 / (1 + 1 / squares)
        beta = variance * y + np.sqrt(variance) * rng.normal(size=10)
        squares = 1 / rng.gamma(1, 1 / (1 / helper + beta**2 / 2))
        helper = 1 / rng.gamma(1, 1 / (1 + 1 / squares))
        rows.append((beta, np.log(squares) / 2))
    beta, log_lam = (np.array(v)[200:].reshape(4, 1000, 10) for v in zip(*rows, strict=True))
    beta = beta if centred else beta / np.exp(log_lam)
    fit = chains(np.concatenate([beta, log_lam], axis=2))
    return dataclasses.replace(
        fit,
        draws={"beta": beta, "lam": np.exp(log_lam)},
        unconstrained=np.concatenate([beta, log_lam], axis=2),
        program=pi.from_numpyro(horseshoe),
    )


def test_the_funnel_of_a_scale_per_entry_is_named() -> None:
    fit = shrunk(centred=True)
    seen = geometry.funnels(fit)[0]
    assert (seen.site, seen.scale) == ("beta", "lam") and seen.correlation > 0.3
    assert geometry.funnels(shrunk(centred=False)) == []
    # the mutant: the mean over all entries, most of which the data have settled
    beta, log_lam = fit.draws["beta"].reshape(-1, 10), np.log(fit.draws["lam"]).reshape(-1, 10)
    assert geometry._correlations(beta - np.median(beta, axis=0), log_lam).mean() < 0.2
    # a regression of entries that straddle 0 is no funnel
    x = np.random.default_rng(0).normal(0.8, 1.0, size=(4000, 10))
    assert abs(geometry._some_following(x, x + 0.3 * x[::-1])) < 0.1


def test_a_single_draw_is_too_few_and_not_stuck() -> None:
    program = pi.from_log_likelihood(one_draw, dist.Normal(0, 1))
    posterior = pi.sample(
        program, pi.NUTS(chains=1, warmup=1, draws=1), key=0, progress=False, check=False
    )
    codes = posterior.diagnose().codes
    assert "low_ess" in codes and not {"stuck", "not_finite"} & set(codes)


def one_draw(x: Any) -> Any:
    return -0.5 * x**2
