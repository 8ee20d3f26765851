"""Law 7: every law's test fails on a broken twin of what it guards."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf import kernels
from probinf.core import population, resampling
from probinf.core.population import Population
from probinf.core.program import Score
from probinf.kernels.base import Params
from probinf.samplers import persistent, smc
from probinf.samplers.populations import path, tuning
from probinf.validity import check_base, check_invariant, check_proper, geweke
from probinf.validity.sbc import SbcResult
from tests.cases import targets
from tests.laws import test_discrete, test_joint, test_persistent, test_proper

FIXED = pi.SMC(
    particles=16,
    islands=1,
    kernel=kernels.RandomWalk(),
    schedule=(0.0, 0.2, 1.0),
    moves=2,
    tune=False,
)


@dataclasses.dataclass(frozen=True)
class WithoutJacobian:
    """The score of a Gamma prior's logarithm with d exp(x) / dx left out."""

    score: object

    def __call__(self, x, data):
        log_base, log_weight = self.score(x, data)
        return Score(log_base - x["x"], log_weight)


def test_forgotten_jacobian_fails_the_base_law():
    program = targets.skewed().program
    broken = dataclasses.replace(program, score=WithoutJacobian(program.score))
    assert check_base(program, key=1, draws=10_000)
    assert not check_base(broken, key=1, draws=10_000)


def test_forgotten_jacobian_fails_the_joint_test():
    program = pi.from_numpyro(test_joint.two_groups, y=np.array([1, 3]))

    broken = dataclasses.replace(program, score=WithoutScaleJacobian(program.score))
    assert not geweke(kernels.RandomWalk(), broken, key=1, rounds=3)


@dataclasses.dataclass(frozen=True)
class WithoutScaleJacobian:
    score: object

    def __call__(self, x, data):
        log_base, log_weight = self.score(x, data)
        return Score(log_base - x["scale"], log_weight)


@dataclasses.dataclass(frozen=True)
class _BothTempered:
    inner: object

    def __call__(self, x, data):
        log_base, log_weight = self.inner(x, data[0])
        return Score(data[1] * log_base, data[1] * log_weight)


def test_tempering_the_base_too_fails_proper_weighting(monkeypatch):
    def wrong(program, beta):
        return dataclasses.replace(pi.temper(program, beta), score=_BothTempered(program.score))

    target = targets.skewed()
    jax.clear_caches()
    monkeypatch.setattr(path, "temper", wrong)
    method = dataclasses.replace(FIXED, schedule=(0.0, 0.1, 0.3, 1.0), moves=8)
    result = check_proper(
        method, target.program, key=2, log_evidence=target.log_evidence, replications=4000
    )
    jax.clear_caches()
    assert not result


def own_moments(params, vectors, log_w):
    """Each half tuned on itself, the way adaptive samplers commonly are."""
    return jax.vmap(tuning.moments)(params, *tuning.divided((vectors, log_w), 2))


def test_tuning_on_the_particles_that_are_moved_fails_proper_weighting(monkeypatch):
    program = pi.from_numpyro(test_proper.school_effects, np.array([1.5, -0.3, 0.4, -1.0, 2.0]))
    jax.clear_caches()
    monkeypatch.setattr(smc, "cross_fitted", own_moments)
    result = check_proper(test_proper.TUNED, program, key=3)
    jax.clear_caches()
    assert not result


def whole_data_only(program, t):
    """A path by data whose moves forget the part of a datum that was weighted in."""
    return pi.prefix(program, jnp.floor(t))


def test_moving_at_another_point_of_the_path_fails_proper_weighting(monkeypatch):
    program = pi.from_numpyro(test_proper.school_effects, np.array([1.5, -0.3, 0.4, -1.0, 2.0]))
    method = dataclasses.replace(test_proper.BY_DATA, schedule=(0.0, 2.9, 4.9, 5.0))
    jax.clear_caches()
    monkeypatch.setattr(path, "prefix", whole_data_only)
    result = check_proper(method, program, key=4)
    jax.clear_caches()
    assert not result


def without_evidences(log_likelihood, betas, log_zs, count):
    """Generations mixed without their evidences, so that each counts by its mass."""
    return persistent_mixture(log_likelihood, betas, jnp.zeros_like(log_zs), count)


persistent_mixture = persistent.mixture


def test_a_mixture_without_evidences_fails_persistent_sampling(monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(persistent, "mixture", without_evidences)
    result = test_persistent.agrees(targets.half_space(), key=10)
    jax.clear_caches()
    assert not result


def stuck_systematic(weights):
    return test_discrete.expected_systematic(
        weights, draw=lambda w, u: resampling.in_strata(w, jnp.zeros(()))
    )


def test_systematic_with_a_fixed_uniform_fails_enumeration():
    weights = test_discrete.WEIGHTS[0]
    with jax.enable_x64(True):
        right = test_discrete.expected_systematic(weights)
        wrong = stuck_systematic(weights)
    np.testing.assert_allclose(right, 3 * weights, atol=1e-6)
    assert np.abs(wrong - 3 * weights).max() > 0.1


def without_log_n(key, program):
    found = population.importance(key, program, 8)
    return found._replace(log_z=found.log_z + jnp.log(8.0))


def test_missing_log_n_fails_proper_weighting():
    target = targets.skewed()
    assert not check_proper(without_log_n, target.program, key=3, log_evidence=target.log_evidence)


def test_missing_log_n_fails_the_walk_over_all_branches():
    exact = sum(
        b * v * w
        for b, v, w in zip(
            test_discrete.BASE, test_discrete.VALUES, test_discrete.LIKELIHOOD, strict=True
        )
    )
    found = test_discrete.walk_importance(
        test_discrete.VALUES, test_discrete.BASE, test_discrete.LIKELIHOOD, correct=False
    )
    assert abs(found - exact) > 0.1


def cut_off_as_zero(key, program):
    """-inf handled as 0, the way a careless nan_to_num does."""
    x = jax.vmap(program.draw, (0, None))(jax.random.split(key, 8), program.data)
    log_weight = jax.vmap(program.score, (0, None))(x, program.data).log_weight
    equal = Population(x, jnp.full((8,), -jnp.log(8.0)), jnp.zeros(()))
    return population.reweight(equal, jnp.nan_to_num(log_weight, nan=0.0, neginf=0.0))


@pytest.mark.parametrize("make", [targets.half_space, targets.nan_sprinkled])
def test_cut_off_as_zero_fails_proper_weighting(make):
    target = make()
    assert not check_proper(
        cut_off_as_zero, target.program, key=4, log_evidence=target.log_evidence
    )


def unweighted(key, program):
    """The population's weights dropped after an importance step."""
    found = population.importance(key, program, 8)
    return found._replace(log_w=jnp.zeros_like(found.log_w))


def test_dropped_weights_fail_proper_weighting():
    target = targets.skewed()
    assert not check_proper(unweighted, target.program, key=5, log_evidence=target.log_evidence)


def test_wrong_sign_of_the_weight_fails_proper_weighting():
    target = targets.plateau()
    assert not check_proper(opposite_sign, target.program, key=6, log_evidence=target.log_evidence)


def opposite_sign(key, program):
    x = jax.vmap(program.draw, (0, None))(jax.random.split(key, 8), program.data)
    log_weight = jax.vmap(program.score, (0, None))(x, program.data).log_weight
    equal = Population(x, jnp.full((8,), -jnp.log(8.0)), jnp.zeros(()))
    return population.reweight(equal, -log_weight)


@pytest.mark.parametrize("shift", [1, -1])
def test_off_by_one_ranks_fail_sbc(shift):
    rng = np.random.default_rng(1)
    ranks = rng.integers(0, 16, (1000, 3))
    assert SbcResult(ranks, 15, ["a", "b", "c"], 1e-3)
    assert not SbcResult(np.clip(ranks + shift, 0, 15), 15, ["a", "b", "c"], 1e-3)


def test_a_posterior_that_is_too_narrow_fails_sbc():
    rng = np.random.default_rng(2)
    truth, draws = rng.normal(size=(1000, 1, 1)), 0.8 * rng.normal(size=(1000, 63, 1))
    ranks = (draws < truth).sum(axis=1)
    assert not SbcResult(ranks, 63, ["a"], 1e-3)


@dataclasses.dataclass(frozen=True)
class SharedRandomness(kernels.RandomWalk):
    """Every chain uses the same key."""

    def step(self, key, program, state, params):
        return super().step(jax.random.key(0), program, state, params)


@dataclasses.dataclass(frozen=True)
class AlwaysAccept(kernels.HMC):
    """Hamiltonian moves without the Metropolis test."""

    def step(self, key, program, state, params):

        noise = jax.random.normal(key, state.position.shape)
        position = (
            state.position
            + 0.5 * params.step_size**2 * state.logdensity_grad
            + params.step_size * noise
        )
        _, info = super().step(key, program, state, params)
        return self.init(program, position), info


@dataclasses.dataclass(frozen=True)
class NeverMoves(kernels.RandomWalk):
    """Leaves every measure invariant, and is useless."""

    def step(self, key, program, state, params):
        _, info = super().step(key, program, state, params)
        return state, info


@dataclasses.dataclass(frozen=True)
class Drifting(kernels.RandomWalk):
    """A proposal that is not symmetric, accepted as if it were."""

    def step(self, key, program, state, params):
        tilted = params._replace(step_size=params.step_size * jnp.exp(2 * state.position[0]))
        return super().step(key, program, state, tilted)


@pytest.mark.parametrize(
    "kernel",
    [SharedRandomness(), AlwaysAccept(steps=1), NeverMoves(), Drifting()],
    ids=lambda k: type(k).__name__,
)
def test_broken_kernels_fail_invariance(kernel):
    target = targets.skewed()
    draws = targets.exact_draws(target, 4000, seed=1)
    params = Params(jnp.asarray(0.9), jnp.zeros((1,)), jnp.ones((1,)))
    result = check_invariant(kernel, target.program, key=2, draws=draws, params=params, steps=5)
    assert not result
