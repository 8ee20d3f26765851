"""Options of engines and kernels: sensible ranges, and other libraries' names for them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.errors import MethodError, ModelError, StructureError
from probinf.runtime.codec import decoded, described, encoded

TARGETED = [kernels.NUTS, kernels.HMC, kernels.MALA, kernels.MAMS, kernels.RandomWalk]
TARGETED += [kernels.IntegerWalk, pi.ChEES]


def plain(make: Any) -> Any:
    """The call as users make it, without the type checks that only tests switch on."""

    def made(**options: Any) -> Any:
        thing = make.__new__(make, **options)
        inspect.unwrap(make.__init__)(thing, **options)
        return thing

    return made


def test_the_kernel_s_options_are_those_of_nuts() -> None:
    short = pi.NUTS(target_acceptance=0.95, max_depth=8, draws=10)
    assert short == pi.NUTS(kernel=kernels.NUTS(max_depth=8, target_acceptance=0.95), draws=10)
    assert dataclasses.replace(short, draws=20).kernel.target_acceptance == 0.95
    assert decoded(encoded(short)) == short and "0.95" in described(short)
    with pytest.raises(MethodError, match=r"target_acceptance must lie in \(0, 1\), got 95"):
        plain(pi.NUTS)(target_acceptance=95.0)
    with pytest.raises(MethodError, match="Slice has no target_acceptance"):
        pi.NUTS(kernel=kernels.Slice(), target_acceptance=0.9)


@pytest.mark.parametrize("make", TARGETED, ids=lambda c: c.__name__)
@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, float("nan"), "0.8"])
def test_an_acceptance_is_aimed_at_between_0_and_1(make: Any, value: Any) -> None:
    with pytest.raises(MethodError, match=r"target_acceptance must lie in \(0, 1\)"):
        plain(make)(target_acceptance=value)
    assert make(target_acceptance=0.5).target_acceptance == 0.5


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: kernels.NUTS(max_depth=0), "max_depth must be at least 1, got 0"),
        (lambda: kernels.HMC(steps=0), "steps must be at least 1, got 0"),
        (lambda: kernels.HMC(jitter=1.5), r"jitter must lie in \(0, 1\), got 1.5"),
        (lambda: kernels.HMC(jitter=-0.1), "jitter must lie in"),
        (lambda: kernels.HMC(length=0.0), "length must be positive, got 0.0"),
        (lambda: kernels.MAMS(length=-1.0), "length must be positive, got -1.0"),
        (lambda: kernels.MAMS(max_steps=0), "max_steps must be at least 1"),
        (lambda: kernels.Slice(max_shrinkage=0), "max_shrinkage must be at least 1"),
        (lambda: kernels.Slice(max_expansions=-1), "max_expansions must be at least 0"),
        (lambda: kernels.EllipticalSlice(max_shrinkage=0), "max_shrinkage must be at least 1"),
        (lambda: kernels.Enumerate(coordinates=0), "coordinates must be at least 1"),
        (lambda: kernels.IntegerWalk(coordinates=0), "coordinates must be at least 1"),
        (lambda: pi.NUTS(warmup=0), "warmup must be at least 1, got 0"),
        (lambda: pi.MCMC(kernels.RandomWalk(), warmup=0), "warmup must be at least 1, got 0"),
        (lambda: pi.SMC(max_moves=0), "max_moves must be at least 1"),
        (lambda: pi.PersistentSMC(max_moves=0), "max_moves must be at least 1"),
        (lambda: pi.PersistentSMC(target_ess=float("inf")), "target_ess must be positive"),
        (lambda: plain(pi.NUTS)(draws=100.5), "draws must be a whole number, got 100.5"),
        (lambda: plain(pi.NUTS)(draws=None), "draws must be a whole number, got None"),
        (lambda: plain(pi.Nested)(live=100.5), "live must be a whole number, got 100.5"),
        (lambda: plain(pi.SMC)(particles="9"), "particles must be a whole number, got '9'"),
        (lambda: plain(pi.MCMC)(kernel=kernels.NUTS), r"the class NUTS.*pi\.kernels\.NUTS\(\)"),
        (lambda: plain(pi.NUTS)(kernel=1000), r"kernel must be one of.*got 1000"),
        (lambda: plain(pi.SMC)(kernel="hmc"), r"kernel must be one of.*got 'hmc'"),
    ],
)
def test_options_out_of_range(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(MethodError, match=says):
        build()


def test_nothing_to_tune_needs_no_warmup() -> None:
    assert pi.MCMC(kernels.Slice(), warmup=0).warmup == 0
    assert kernels.HMC(jitter=0.0).jitter == 0


@pytest.mark.parametrize("method", [pi.ChEES, pi.ParallelTempering])
def test_engines_that_tune_refuse_to_sample_untuned(method: Any) -> None:
    program = pi.from_log_density(bowl, base=dist.Normal(0, 1))
    with pytest.raises(MethodError, match="warmup must be at least 1, got 0"):
        pi.sample(program, method(warmup=0), key=0, progress=False)


def bowl(x: Any) -> Any:
    return -sum(jnp.sum(v**2) for v in jax.tree.leaves(x))


@pytest.mark.parametrize(
    ("make", "name", "says"),
    [
        (pi.NUTS, "num_samples", "here it is 'draws'"),
        (pi.NUTS, "tune", "here it is 'warmup'"),
        (pi.NUTS, "target_accept", "here it is 'target_acceptance'"),
        (pi.NUTS, "max_tree_depth", "here it is 'max_depth'"),
        (pi.MCMC, "adapt_delta", r"MCMC\(kernel=pi\.kernels\.NUTS\(target_acceptance=\.\.\.\)\)"),
        (pi.NUTS, "num_chains", "here it is 'chains'"),
        (pi.NUTS, "dense_mass", "here it is 'metric'"),
        (pi.NUTS, "random_seed", r"argument of pi\.sample, 'key'"),
        (pi.NUTS, "step_size", "the warm-up finds the step size"),
        (pi.NUTS, "drwas", r"Did you mean 'draws'\? Its options are kernel, chains"),
        (kernels.NUTS, "max_tree_depth", "here it is 'max_depth'"),
        (kernels.HMC, "num_steps", "here it is 'steps'"),
        (pi.Nested, "nlive", "here it is 'live'"),
        (pi.SMC, "n_particles", "here it is 'particles'"),
        (pi.ChEES, "adapt_delta", "here it is 'target_acceptance'"),
    ],
)
def test_names_of_other_libraries_are_translated(make: Any, name: str, says: str) -> None:
    with pytest.raises(MethodError, match=rf"{make.__name__} has no option '{name}'.*{says}"):
        make(**{name: 1})


def test_options_can_be_replaced_and_copied() -> None:
    method = dataclasses.replace(pi.NUTS(), draws=7)
    assert copy.deepcopy(method) == method and method.draws == 7


def prior() -> None:
    numpyro.sample("a", dist.Normal(0, 1))


def begin(key: Any, data: Any) -> Any:
    return jax.random.normal(key), jnp.zeros(())


def extend(key: Any, state: Any, value: Any, data: Any) -> Any:
    return state + jax.random.normal(key), jnp.zeros(())


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (None, "no inputs"),
        ((), "no inputs"),
        (np.zeros(0), "no inputs"),
        ({"a": np.zeros(3), "b": np.zeros(2)}, r"shapes \(3,\), \(2,\)"),
        (3.0, r"shapes \(\)"),
    ],
)
def test_a_sequence_says_how_long_it_is(inputs: Any, says: str) -> None:
    sequence = pi.Sequence(begin, extend, inputs, None)
    with pytest.raises(StructureError, match=f"marginal: .*{says}"):
        pi.marginal(pi.from_numpyro(prior), sequence, 4)


@pytest.mark.parametrize("initial", [{}, [], np.zeros(0), {"a": {}}, np.array([1.0, np.nan]), "a"])
def test_a_first_point_must_hold_numbers(initial: Any) -> None:
    with pytest.raises(ModelError, match="initial= must hold finite numbers"):
        pi.from_log_density(bowl, initial=initial)


def test_a_list_of_numbers_is_one_array() -> None:
    assert pi.from_log_density(bowl, initial=[1.0, 2.0]).template().shape == (2,)


@pytest.mark.parametrize("bad", [{}, 3.0, [dist.Normal(0, 1)]])
def test_a_prior_is_made_of_distributions(bad: Any) -> None:
    with pytest.raises(ModelError, match="prior must be a NumPyro distribution, or a dict of them"):
        inspect.unwrap(pi.from_log_likelihood)(bowl, bad)
