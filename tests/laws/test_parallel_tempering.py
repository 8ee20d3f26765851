"""Parallel tempering: swaps leave the joint law alone, and the ladder gives the evidence."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import kstest

import probinf as pi
from probinf import kernels
from probinf.core.check_result import CheckResult, two_sample
from probinf.core.coordinates import flatten, vector_of
from probinf.diagnostics import ess_mean
from probinf.errors import ImproperPriorError, MethodError
from probinf.runtime import pace
from probinf.samplers import parallel_tempering as module
from probinf.samplers.ladder import first_ladder, ladder_evidence, log_swap, respaced, swap
from tests.cases import targets
from tests.runtime import test_checkpoint

BETAS = (0.0, 0.2, 0.6, 1.0)
METHOD = pi.ParallelTempering(temperatures=4, chains=1, warmup=0, draws=1)


def check_ladder(target: targets.Target, kernel: pi.Kernel, rounds: int = 4) -> CheckResult:
    """Exact draws at every temperature, some rounds, and the laws of all but the base again."""
    n = 3000
    program = target.program
    base = jax.vmap(program.draw, (0, None))(
        jax.random.split(jax.random.key(0), 2 * n), program.data
    )
    exact = [base] + [
        targets.exact_draws(target, 2 * n, seed=k, beta=b) for k, b in enumerate(BETAS[1:])
    ]
    flat, layout = flatten(target.program)
    rows = jnp.stack([jax.vmap(layout.ravel)(draws) for draws in exact], axis=1)
    start, fresh = rows[:n], rows[n:]
    method = dataclasses.replace(METHOD, kernel=kernel)

    @jax.jit
    def move(keys: Any, start: Any) -> Any:
        def one(key: Any, x: Any) -> Any:
            state = method.init(key, flat)
            own = state.own
            rungs, _ = module.scored(flat, x, own.rungs.from_base)
            spread = jnp.var(fresh[:, 1:], axis=0)
            params = own.adaptation.params._replace(
                mean=fresh[:, 1:].mean(axis=0), covariance=spread
            )
            own = own._replace(
                rungs=rungs,
                betas=jnp.asarray(BETAS, x.dtype),
                adaptation=own.adaptation._replace(params=params),
            )
            state = state._replace(own=own)
            for k in range(rounds):
                state, _ = method.step(jax.random.fold_in(key, k), flat, state)
            return vector_of(state.own.rungs.position)

        return jax.lax.map(lambda a: one(*a), (keys, start))

    moved = np.asarray(move(jax.random.split(jax.random.key(7), n), start))
    p_values = {}
    for k in range(len(BETAS)):
        names = [f"{BETAS[k]}:x{j}" for j in range(layout.size)]
        found = two_sample(moved[:, k], np.asarray(fresh[:, k]), names)
        p_values |= {f"{BETAS[k]}{name}": p for name, p in found.items()}
    return CheckResult("parallel tempering leaves the ladder invariant", p_values, 1e-4)


@pytest.mark.parametrize(
    ("make", "kernel"),
    [
        (targets.half_space, kernels.HMC(steps=4)),
        pytest.param(targets.bimodal, kernels.Slice(), marks=pytest.mark.slow),
        pytest.param(targets.skewed, kernels.HMC(steps=4), marks=pytest.mark.slow),
        pytest.param(targets.bounded, kernels.NUTS(max_depth=4), marks=pytest.mark.slow),
    ],
    ids=lambda v: getattr(v, "__name__", type(v).__name__),
)
def test_the_ladder_is_invariant(make: Any, kernel: pi.Kernel) -> None:
    result = check_ladder(make(), kernel)
    assert result, result


def test_a_swap_with_the_wrong_sign_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "log_swap", lambda b, log_l: -log_swap(b, log_l))
    assert not check_ladder(targets.skewed(), kernels.RandomWalk())


@pytest.mark.slow
def test_a_likelihood_that_stays_behind_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions swap by the likelihoods of the round before."""
    scored = module.scored

    def stale(program: Any, position: Any, from_base: Any) -> Any:
        found, lost = scored(program, position, from_base)
        return found._replace(log_likelihood=jnp.roll(found.log_likelihood, 1)), lost

    monkeypatch.setattr(module, "scored", stale)
    assert not check_ladder(targets.skewed(), kernels.RandomWalk())


# --- swaps and spacing --------------------------------------------------------------------------


def test_swaps_alternate_and_exchange_neighbours() -> None:
    sure = jnp.zeros(4)
    for round_, expected in ((0, [1, 0, 3, 2, 4]), (1, [0, 2, 1, 4, 3])):
        source, tried = swap(jax.random.key(0), sure, jnp.asarray(round_))
        assert source.tolist() == expected
        assert tried.tolist() == [(k + round_) % 2 == 0 for k in range(4)]
    source, _ = swap(jax.random.key(0), jnp.full(4, -jnp.inf), jnp.asarray(0))
    assert source.tolist() == [0, 1, 2, 3, 4]


def test_likelihoods_of_zero_stay_in_the_base() -> None:
    found = log_swap(jnp.array([0.0, 0.5, 1.0]), jnp.array([-jnp.inf, -3.0, -1.0]))
    assert found[0] == -np.inf and float(found[1]) == pytest.approx(0.5 * (-3.0 + 1.0))


def test_respacing_equalises_a_known_barrier() -> None:
    """Rejections of a barrier that is linear in log beta above 0.01, and as much below."""

    def cumulative(b: np.ndarray) -> np.ndarray:
        return np.where(b < 0.01, b / 0.01, 1 + np.log(np.maximum(b, 0.01) / 0.01) / np.log(100))

    betas = first_ladder(12)
    for _ in range(6):
        betas = np.asarray(respaced(jnp.asarray(betas), jnp.asarray(np.diff(cumulative(betas)))))
    rates = np.diff(cumulative(betas))
    assert betas[0] == 0 and betas[-1] == 1 and (np.diff(betas) > 0).all()
    assert np.ptp(rates) < 0.02
    flat = np.asarray(respaced(jnp.asarray(first_ladder(5)), jnp.zeros(4)))
    assert (np.diff(flat) > 0).all()  # nothing is ever rejected: still a ladder


# --- evidence -----------------------------------------------------------------------------------


def gaussian_ladder(rng: np.random.Generator, ladders: int, draws: int) -> tuple[Any, Any]:
    """Independent draws: prior N(0, 1), likelihood exp(-x^2 / 2 / 0.01)."""
    betas = np.tile([0.0, 0.01, 0.05, 0.2, 1.0], (ladders, 1))
    sd = 1 / np.sqrt(1 + betas[:, None] / 0.01)
    x = sd * rng.normal(size=(ladders, draws, betas.shape[1]))
    return betas, -0.5 * x**2 / 0.01


def test_evidence_errors_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    truth = -0.5 * np.log(1 + 1 / 0.01)
    z = [ladder_evidence(*gaussian_ladder(rng, 2, 200)).bridged.z(truth) for _ in range(150)]
    assert kstest(z, "norm").pvalue > 1e-3
    mutant = []  # the lowest rung of the ladder forgotten
    for _ in range(50):
        betas, log_l = gaussian_ladder(rng, 2, 200)
        mutant.append(ladder_evidence(betas[:, 1:], log_l[:, :, 1:]).bridged.z(truth))
    assert kstest(mutant, "norm").pvalue < 1e-6


def test_correlated_rounds_widen_the_error() -> None:
    betas, log_l = gaussian_ladder(np.random.default_rng(1), 2, 200)
    plain = ladder_evidence(betas, log_l).bridged
    sticky = ladder_evidence(betas, np.repeat(log_l, 4, axis=1)).bridged
    assert sticky.value == pytest.approx(plain.value, abs=1e-6)
    assert sticky.error > 0.8 * plain.error  # four times the rounds, no more information
    far = log_l + np.array([0.0, 1.0])[:, None, None]
    assert ladder_evidence(betas, far).bridged.error > 3 * plain.error


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(targets.half_space, marks=pytest.mark.slow),
        pytest.param(targets.bimodal, marks=pytest.mark.slow),
        pytest.param(targets.skewed, marks=pytest.mark.slow),
        pytest.param(targets.bounded, marks=pytest.mark.slow),
        pytest.param(targets.nan_sprinkled, marks=pytest.mark.slow),
        pytest.param(targets.correlated, marks=pytest.mark.slow),
        pytest.param(targets.plateau, marks=pytest.mark.slow),
    ],
    ids=lambda m: m.__name__,
)
def test_evidence_of_known_targets(make: Any) -> None:
    target = make()
    method = pi.ParallelTempering(temperatures=6, chains=2, warmup=500, draws=1000)
    posterior = pi.sample(target.program, method, key=1, progress=False)
    estimate = posterior.log_evidence
    assert abs(estimate.z(target.log_evidence)) < 4
    assert 0 < estimate.error < 0.2
    trips = posterior.provenance["round_trips"]
    assert trips == posterior.stats["round_trip"].sum(axis=1).tolist() and min(trips) > 50


def two_far(x: Any, apart: Any) -> Any:
    """Two unit Gaussians with weights 0.3 and 0.7."""
    shift = jnp.zeros_like(x).at[0].set(apart / 2)
    low = jnp.log(0.3) - 0.5 * jnp.sum((x + shift) ** 2)
    return jnp.logaddexp(low, jnp.log(0.7) - 0.5 * jnp.sum((x - shift) ** 2))


def far_apart() -> pi.Program:
    prior = dist.Normal(0, 10).expand([10]).to_event(1)
    return pi.from_log_likelihood(two_far, prior, np.array(10.0))


def share_z(found: np.ndarray, truth: float) -> float:
    error = np.sqrt(truth * (1 - truth) / float(ess_mean(found.astype(float))))
    return float((found.mean() - truth) / error)


def shells(x: Any) -> Any:
    """Two spherical shells of radius 2 and width 0.1 around +-3.5 on the first axis."""
    centre = jnp.zeros_like(x).at[0].set(3.5)

    def shell(c: Any) -> Any:
        radius = jnp.sqrt(jnp.sum((x - c) ** 2) + 1e-12)
        return -0.5 * ((radius - 2) / 0.1) ** 2 - 0.5 * jnp.log(2 * jnp.pi) - jnp.log(0.1)

    return jnp.logaddexp(shell(centre), shell(-centre))


@pytest.mark.slow
def test_modes_ten_sd_apart() -> None:
    """Over 32 keys the shares are right, and off by as much as their effective sizes say."""
    z = []
    for key in range(32):
        posterior = pi.sample(far_apart(), pi.ParallelTempering(), key=key, progress=False)
        z.append(share_z(posterior.draws["x"][..., 0] > 0, 0.7))
        assert "swaps" not in posterior.diagnose().codes
    assert abs(np.mean(z)) * np.sqrt(len(z)) < 3
    assert kstest(z, "norm").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "log_z"), [(2, -1.7456), (5, -5.6736), (10, -14.5905)])
def test_shells(dim: int, log_z: float) -> None:
    program = pi.from_log_likelihood(shells, dist.Uniform(-6, 6).expand([dim]).to_event(1))
    posterior = pi.sample(program, pi.ParallelTempering(), key=0, progress=False)
    assert abs(share_z(posterior.draws["x"][..., 0] > 0, 0.5)) < 3
    assert abs(posterior.log_evidence.z(log_z)) < 3


@pytest.mark.slow
def test_evidence_errors_of_whole_runs_are_calibrated() -> None:
    """Forty ladders as one run, each with an evidence of its own."""
    target = targets.bimodal()
    method = pi.ParallelTempering(temperatures=6, chains=40, warmup=300, draws=500)

    class Kept(Exception):
        pass

    def keep(betas: Any, log_l: Any) -> Any:
        raise Kept(betas, log_l)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Kept) as caught:
        patch.setattr(module, "ladder_evidence", keep)
        pi.sample(target.program, method, key=5, progress=False)
    betas, log_l = caught.value.args
    z = [
        ladder_evidence(betas[k : k + 1], log_l[k : k + 1]).bridged.z(target.log_evidence)
        for k in range(40)
    ]
    assert kstest(z, "norm").pvalue > 1e-3 and 0.7 < np.std(z) < 1.4


# --- the engine as a user meets it --------------------------------------------------------------


def small(**options: Any) -> pi.ParallelTempering:
    return pi.ParallelTempering(
        **{"temperatures": 4, "chains": 2, "warmup": 40, "draws": 40, **options}
    )


def test_a_killed_run_continues_bit_for_bit(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TARGET_SECONDS", 1e-9)
    whole = pi.sample(test_checkpoint.program(), small(), key=3, progress=False)
    test_checkpoint.killed(small(), tmp_path / "run", 6, monkeypatch)
    resumed = pi.resume(tmp_path / "run", test_checkpoint.program(), progress=False)
    test_checkpoint.same(whole, resumed)
    np.testing.assert_array_equal(whole.history["beta"], resumed.history["beta"])


def with_key(x: Any) -> Any:
    return -0.5 * jnp.sum(x**2)


def test_bad_options_and_programs_are_refused() -> None:
    for options, says in (
        ({"temperatures": 2}, "at least 3, got 2"),
        ({"chains": 0}, "chains must be at least 1"),
        ({"warmup": -1}, "must not be negative"),
    ):
        with pytest.raises(MethodError, match=says):
            small(**options)
    flat = pi.from_log_density(with_key, initial=np.zeros(2))
    with pytest.raises(ImproperPriorError, match="base="):
        pi.sample(flat, small(), key=0)


@pytest.mark.slow
def test_too_few_temperatures_are_named() -> None:
    method = small(temperatures=3, warmup=100, draws=100)
    posterior = pi.sample(far_apart(), method, key=0, progress=False)
    found = {f.code: f.message for f in posterior.diagnose().findings}
    assert "more than 3 temperatures" in found["swaps"]
    assert "round_trips" in found
