"""ChEES leaves its target invariant, forgets its starts, and says so by the nested R-hat."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import probinf as pi
from probinf.core.check_result import CheckResult, two_sample
from probinf.core.coordinates import flatten
from probinf.diagnostics import nested_rhat
from probinf.errors import MethodError
from probinf.runtime import pace
from probinf.samplers import chees
from tests.cases import targets
from tests.cases.eight_schools import eight_schools
from tests.runtime import test_checkpoint

SMALL = pi.ChEES(chains=16, warmup=60, draws=40, superchains=4)


def check_ensemble(target: targets.Target, monkeypatch: Any = None) -> CheckResult:
    """Exact draws as chains, three steps with frozen tuning, and the same law again."""
    n = 4000
    flat, layout = flatten(target.program)
    rows = jax.vmap(layout.ravel)(targets.exact_draws(target, 2 * n, seed=1))
    method = pi.ChEES(chains=n, superchains=8, warmup=0, draws=1)

    @jax.jit
    def move(key: Any, x: Any) -> Any:
        state = method.init(key, flat)
        chains = jax.vmap(lambda y: chees.with_gradient(flat, y))(x)
        step_size = state.own.tuning.step_size._replace(log_step_size_avg=jnp.log(1.5))
        tuning = state.own.tuning._replace(
            step_size=step_size, log_length_mean=jnp.log(4.0), variance=x.var(axis=0)
        )
        state = state._replace(own=state.own._replace(chains=chains, tuning=tuning))
        for k in range(3):
            state, _ = method.step(jax.random.fold_in(key, k), flat, state)
        return state.own.chains.position

    moved = np.asarray(move(jax.random.key(3), rows[:n]))
    names = [f"x{j}" for j in range(layout.size)]
    p_values = two_sample(moved, np.asarray(rows[n:]), names)
    return CheckResult("ChEES leaves its target invariant", p_values, 1e-4)


@pytest.mark.parametrize("make", [targets.skewed, targets.half_space], ids=lambda m: m.__name__)
def test_invariance(make: Any) -> None:
    result = check_ensemble(make())
    assert result, result


def test_without_the_acceptance_step_the_law_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from blackjax.mcmc import hmc

    def always(*args: Any, **kwargs: Any) -> Any:
        inner = hmc_kernel(*args, **kwargs)

        def kernel(*args: Any) -> Any:
            state, report = inner(*args)
            moved = report.proposal
            return type(state)(moved.position, moved.logdensity, moved.logdensity_grad), report

        return kernel

    hmc_kernel = hmc.build_kernel
    monkeypatch.setattr(hmc, "build_kernel", always)
    assert not check_ensemble(targets.skewed())


def test_eight_schools() -> None:
    """Means against long reference runs: mu 4.41 (sd 3.31), tau 3.60 (sd 3.20)."""
    posterior = pi.sample(eight_schools(), pi.ChEES(), key=1, progress=False)
    summary = posterior.summary()
    assert abs(summary["mu"]["mean"] - 4.41) < 4 * np.hypot(summary["mu"]["mcse"], 0.033)
    assert abs(summary["tau"]["mean"] - 3.60) < 4 * np.hypot(summary["tau"]["mcse"], 0.032)
    assert posterior.log_weights.shape == (64, 250)
    assert summary.columns["nested_r_hat"].max() < 1.01
    assert summary.columns["ess_bulk"].min() > 3000
    # what the step size aims at: over keys the mean is .67, its spread .02
    acceptance = np.maximum(posterior.stats["acceptance"], chees._LOWEST)
    harmonic = (1 / np.mean(1 / acceptance, axis=0)).mean()
    assert abs(harmonic - pi.ChEES().target_acceptance) < 0.1
    assert "r_hat" not in posterior.diagnose().codes
    assert posterior.stats["evaluations"].shape == (64, 250)


def test_a_killed_run_continues_bit_for_bit(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)
    whole = pi.sample(test_checkpoint.program(), SMALL, key=3, progress=False)
    test_checkpoint.killed(SMALL, tmp_path / "run", 6, monkeypatch)
    test_checkpoint.same(whole, pi.resume(tmp_path / "run", test_checkpoint.program()))


def test_nested_rhat_sees_starts_and_not_short_chains() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(64, 5, 2))
    fine = nested_rhat(draws, 8)
    assert fine.shape == (2,) and (fine < 1.02).all()
    draws[:, :, 1] += np.repeat(rng.normal(size=8), 8)[:, None]
    assert nested_rhat(draws, 8)[0] == fine[0] and nested_rhat(draws, 8)[1] > 1.2
    # by its definition, for normal draws with known variances
    shift = np.repeat(norm.ppf((np.arange(8) + 0.5) / 8), 8)
    known = rng.normal(size=(64, 4000)) + shift[:, None]
    expected = np.sqrt(1 + norm.ppf((np.arange(8) + 0.5) / 8).var(ddof=1))
    assert nested_rhat(known, 8) == pytest.approx(expected, rel=0.01)
    assert np.isnan(nested_rhat(np.ones((8, 4)), 4))
    for superchains in (1, 3, 8):
        with pytest.raises(ValueError, match="do not divide"):
            nested_rhat(np.zeros((8, 4)), superchains)


def test_van_der_corput() -> None:
    found = [float(chees._van_der_corput(jnp.asarray(k))) for k in range(5)]
    assert found == [0.5, 0.25, 0.75, 0.125, 0.625]


def test_bad_options() -> None:
    for options, says in (
        ({"chains": 4}, "at least 8, got 4.*NUTS"),
        ({"superchains": 5}, "multiple of superchains"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"warmup": -1}, "must not be negative"),
    ):
        with pytest.raises(MethodError, match=says):
            dataclasses.replace(SMALL, **options)


def bowl(x: Any) -> Any:
    return -0.5 * jnp.sum(x**2)


def test_microcanonical_refusals() -> None:
    with pytest.raises(MethodError, match="does not serve MAMS, whose metric is 'diagonal'"):
        pi.MCMC(pi.kernels.MAMS(), metric="dense")
    with pytest.raises(MethodError, match="MAMS needs at least 2 coordinates"):
        line = pi.from_log_density(bowl, initial=np.zeros(1))
        pi.sample(line, pi.MCMC(pi.kernels.MAMS()), key=0)
