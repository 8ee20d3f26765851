"""Broken twins of particle MCMC, each of which some law must catch."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from probinf import kernels
from probinf.core.coordinates import Mixed
from probinf.core.program import log_density
from probinf.core.resampling import inverse_cdf, systematic
from probinf.core.sequence import particle_filter
from probinf.samplers.pmcmc import conditional
from probinf.samplers.pmcmc.filtering import Filter
from probinf.samplers.pmcmc.nested_filters import Bench
from probinf.samplers.pmcmc.target import target
from probinf.validity import check_invariant
from tests.cases import state_spaces as cases
from tests.laws import test_pmcmc as laws


def test_a_reference_that_may_be_replaced_fails(monkeypatch):
    def replaced(key, weights):
        return inverse_cdf(weights, jax.random.uniform(key, weights.shape, weights.dtype))

    monkeypatch.setattr(conditional, "_resampled", replaced)
    assert laws.path_p_value("none", key=1)[0] < 1e-8


def test_systematic_resampling_with_the_reference_put_back_fails(monkeypatch):
    def put_back(key, weights):
        return systematic(key, weights).at[0].set(0)

    monkeypatch.setattr(conditional, "_resampled", put_back)
    assert laws.path_p_value("ancestor", key=1)[0] < 1e-8


def test_ancestors_drawn_without_the_transition_fail(monkeypatch):
    def by_weight_only(sequence, state, log_w, held, value):
        return log_w

    monkeypatch.setattr(conditional, "_ancestor_logits", by_weight_only)
    assert laws.path_p_value("ancestor", key=1)[0] < 1e-8


def test_an_estimate_that_leaves_the_path_out_fails(monkeypatch):
    def free(key, sequence, reference, particles):
        return particle_filter(key, sequence, particles, resample_below=1.0).log_z

    monkeypatch.setattr(conditional, "conditional_likelihood", free)
    assert abs(laws.z_score(laws.inverse_ratios(5))) > 8


@dataclasses.dataclass(frozen=True)
class Reestimated(kernels.RandomWalk):
    """The likelihood of where the chain stands is estimated anew at every move."""

    def step(self, key, program, state, params):
        fresh = tuple(
            jax.random.split(jax.random.fold_in(key, 7), k.shape) for k in state.position.keys
        )
        position = Mixed(state.position.vector, fresh)
        again = state._replace(position=position, logdensity=log_density(program, position))
        return super().step(key, program, again, params)


@pytest.mark.slow
def test_a_likelihood_estimated_anew_fails():
    program = target(cases.finite(), Filter(1), 1)
    draws = laws.exact_draws(program, laws.BOUND)
    assert check_invariant(kernels.RandomWalk(), program, key=12, draws=draws, steps=4)
    assert not check_invariant(Reestimated(), program, key=12, draws=draws, steps=4)


def test_an_exchange_without_weights_fails(monkeypatch):
    exchanged = Bench.exchanged

    def unweighted(self, key, particles, t, finished):
        particles, gain = exchanged(self, key, particles, t, finished)
        return particles, jnp.zeros_like(gain)

    monkeypatch.setattr(Bench, "exchanged", unweighted)
    assert abs(laws.z_score(laws.grown_ratios(4, laws.TINY))) > 4.5
