"""Particle MCMC: laws of paths and parameters stay as they are, by enumeration; masses unbiased."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import probinf as pi
from probinf import kernels
from probinf.core.coordinates import flatten
from probinf.core.sequence import Sequence
from probinf.runtime.lanes import Lane, start_lane
from probinf.samplers.pmcmc import conditional
from probinf.samplers.pmcmc.conditional import conditional_smc
from probinf.samplers.pmcmc.correlated import OneBlock
from probinf.samplers.pmcmc.filtering import Filter, log_likelihood, spread, traced
from probinf.samplers.pmcmc.target import target
from probinf.validity import check_invariant
from tests.cases import state_spaces as cases

STAY, RUNS = 0.7, 20_000


def finite_given(stay: float = STAY) -> Sequence:
    sequence = cases.finite_sequence()
    return Sequence(
        **{
            name: getattr(sequence, name)
            for name in ("start", "extend", "inputs", "log_transition", "log_start")
        },
        weigh_start=sequence.weigh_start,
        weigh=sequence.weigh,
        data=({"stay": jnp.asarray(stay)}, sequence.data),
    )


def path_p_value(refresh: str, key: int, particles: int = 3, sweeps: int = 2) -> tuple[float, Any]:
    """Exact paths are moved; a chi-square test of what they are then, and the share that moved."""
    paths, mass = cases.finite_paths(STAY)
    first, second = jax.random.split(jax.random.key(key))
    index = jax.random.categorical(first, jnp.log(mass), shape=(RUNS,))
    before = jnp.asarray(paths)[index]

    @jax.jit
    @jax.vmap
    def moved(key: jax.Array, path: jax.Array) -> jax.Array:
        for k in range(sweeps):
            path = conditional_smc(
                jax.random.fold_in(key, k), finite_given(), {"z": path}, particles, refresh=refresh
            )["z"]
        return path

    after = np.asarray(moved(jax.random.split(second, RUNS), before))
    counts = np.bincount(after @ (2 ** np.arange(4)[::-1]), minlength=16)
    expected = RUNS * mass / mass.sum()
    assert expected.min() > 5
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, 15)), (after != np.asarray(before)).mean(axis=0)


@pytest.mark.parametrize("refresh", ["ancestor", "backward", "none"])
def test_conditional_smc_leaves_the_law_of_paths_invariant(refresh: str) -> None:
    """16 paths of a finite model, 3 particles; the false alarm rate is 1e-4."""
    p_value, moved = path_p_value(refresh, key=1)
    assert p_value > 1e-4
    assert moved.min() > (0.1 if refresh != "none" else 0.02)


def inverse_ratios(key: int, particles: int = 3) -> np.ndarray:
    """Likelihood over its estimate around paths drawn from their law given the data."""
    paths, mass = cases.finite_paths(STAY)
    first, second = jax.random.split(jax.random.key(key))
    index = jax.random.categorical(first, jnp.log(mass), shape=(RUNS,))

    def one(key: jax.Array, path: jax.Array) -> jax.Array:
        return conditional.conditional_likelihood(key, finite_given(), {"z": path}, particles)

    run = jax.jit(jax.vmap(one))
    log_z = run(jax.random.split(second, RUNS), jnp.asarray(paths)[index])
    return mass.sum() / np.exp(np.asarray(log_z, float))


def test_estimates_around_a_path_are_those_of_a_chain_of_pmmh() -> None:
    """Under the measure reweighted by the estimate itself, its inverse has the exact mean."""
    assert abs(z_score(inverse_ratios(5))) < 4.5


def test_filters_are_unbiased_and_their_paths_properly_weighted() -> None:
    """Mean of the likelihoods, and of them times the first state, over 20,000 filters."""
    paths, mass = cases.finite_paths(STAY)

    @partial(jax.jit, static_argnames=("options",))
    def run(key: jax.Array, options: Filter) -> Any:
        def one(key: jax.Array) -> Any:
            keys = spread(jax.random.split(key, 2), 3)
            found = traced(keys, finite_given(), options)
            alone = log_likelihood(keys, finite_given(), options)
            return found.log_z, alone, found.path["z"]

        return jax.vmap(one)(jax.random.split(key, RUNS))

    for options in (Filter(3), Filter(3, 1.0, ordered=True)):
        log_z, alone, path = map(np.asarray, run(jax.random.key(2), options))
        np.testing.assert_allclose(log_z, alone, rtol=1e-5)
        for values, exact in (
            (np.exp(log_z), mass.sum()),
            (np.exp(log_z) * path[:, 0], mass @ paths[:, 0]),
            (np.exp(log_z) * path[:, 3], mass @ paths[:, 3]),
        ):
            assert abs(values.mean() - exact) < 4.5 * values.std(ddof=1) / np.sqrt(RUNS)


def exact_draws(program: pi.Program, log_bound: float, count: int = 6000) -> Any:
    """Draws of parameters and random numbers, by rejection: likelihoods are bounded."""

    @jax.jit
    def propose(key: jax.Array) -> Any:
        draw_key, accept_key = jax.random.split(key)
        x = jax.vmap(program.draw, (0, None))(jax.random.split(draw_key, 60_000), program.data)
        log_l = jax.vmap(program.score, (0, None))(x, program.data).log_weight
        return x, jnp.log(jax.random.uniform(accept_key, (60_000,))) < log_l - log_bound

    x, keep = propose(jax.random.key(11))
    index = np.flatnonzero(np.asarray(keep))[:count]
    assert len(index) == count
    return jax.tree.map(lambda leaf: leaf[index], x)


# of both states, the larger chance of each outcome
BOUND = float(np.log(cases.EMITTED.max(axis=0)[cases.FINITE_Y]).sum())


@pytest.mark.parametrize("blocks", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_pmmh_leaves_parameters_and_random_numbers_invariant(blocks: int) -> None:
    program = target(cases.finite(), Filter(2, ordered=blocks > 1), blocks)
    kernel = kernels.RandomWalk() if blocks == 1 else OneBlock()
    result = check_invariant(kernel, program, key=12, draws=exact_draws(program, BOUND), steps=3)
    assert result, result


SHORT = 5


def smc2_ratios(key: int, method: pi.SMC2, runs: int = 3000) -> np.ndarray:
    """Evidence over its exact value, of tiny populations."""
    flat, _ = flatten(cases.nile(SHORT), integers=True)

    @jax.jit
    def run(keys: jax.Array) -> jax.Array:
        return jax.lax.map(lambda k: method.populate(k, flat).log_z, keys, batch_size=500)

    found = np.asarray(run(jax.random.split(jax.random.key(key), runs)), float)
    return np.exp(found - cases.nile_exact(SHORT)["log_evidence"])


def grown_ratios(key: int, method: pi.SMC2, runs: int = 8000) -> np.ndarray:
    """The same, with the state particles doubled after three data."""
    flat, _ = flatten(cases.nile(SHORT), integers=True)

    @jax.jit
    def run(keys: jax.Array) -> jax.Array:
        def one(key: jax.Array) -> jax.Array:
            lane = start_lane(method, flat, key)
            lane = _stepped(method, flat, lane, 2)
            lane, _ = method.grown(flat, lane)
            return method.population(_stepped(method, flat, lane, 2).state).log_z

        return jax.lax.map(one, keys, batch_size=500)

    found = np.asarray(run(jax.random.split(jax.random.key(key), runs)), float)
    return np.exp(found - cases.nile_exact(SHORT)["log_evidence"])


def _stepped(method: pi.SMC2, flat: pi.Program, lane: Lane, steps: int) -> Lane:
    for _ in range(steps):
        state, _ = method.step(jax.random.fold_in(lane.key, lane.taken + 1), flat, lane.state)
        lane = Lane(lane.key, lane.taken + 1, state)
    return lane


TINY = pi.SMC2(particles=8, state_particles=4, islands=1, moves=1, resample_below=0.9, tune=False)


def z_score(ratios: np.ndarray) -> float:
    return float((ratios.mean() - 1) / (ratios.std(ddof=1) / np.sqrt(ratios.size)))


def test_smc2_is_unbiased() -> None:
    """3,000 populations of 8 parameters with 4 states; |z| < 4.5, against an exact integral."""
    assert abs(z_score(smc2_ratios(3, TINY))) < 4.5


def test_doubling_the_state_particles_keeps_the_evidence_unbiased() -> None:
    assert abs(z_score(grown_ratios(4, TINY))) < 4.5
