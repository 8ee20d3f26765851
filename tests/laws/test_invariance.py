"""Law 3: every kernel leaves the plain, tempered, thresholded and marginal program invariant."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import kernels
from probinf.kernels.base import Params
from probinf.validity import check_invariant, fitted_params
from tests.cases import targets

KERNELS = [
    kernels.RandomWalk(),
    kernels.MALA(),
    kernels.HMC(steps=4),
    kernels.NUTS(max_depth=5),
    kernels.Slice(),
    kernels.EllipticalSlice(),
]
DRAWS = 4000


def name(value: object) -> str:
    return value.__name__ if callable(value) else type(value).__name__


@pytest.mark.parametrize("kernel", KERNELS, ids=name)
@pytest.mark.parametrize(
    "make",
    [
        targets.skewed,
        targets.half_space,
        pytest.param(targets.bimodal, marks=pytest.mark.slow),
        pytest.param(targets.nan_sprinkled, marks=pytest.mark.slow),
    ],
    ids=lambda m: m.__name__,
)
def test_plain(kernel, make) -> None:
    target = make()
    draws = targets.exact_draws(target, DRAWS, seed=1)
    result = check_invariant(kernel, target.program, key=2, draws=draws, steps=3)
    assert result, result


@pytest.mark.parametrize("kernel", KERNELS, ids=name)
def test_tempered(kernel) -> None:
    target = targets.bounded()
    draws = targets.exact_draws(target, DRAWS, seed=3, beta=0.3)
    result = check_invariant(kernel, pi.temper(target.program, 0.3), key=4, draws=draws, steps=3)
    assert result, result


@pytest.mark.parametrize("kernel", KERNELS, ids=name)
def test_above(kernel) -> None:
    target = targets.skewed()
    level = target.log_bound - 1.0
    program = pi.above(target.program, level)
    inside = dataclasses.replace(target, program=program, log_bound=0.0)
    draws = targets.exact_draws(inside, DRAWS, seed=5)
    result = check_invariant(kernel, program, key=6, draws=draws, steps=3)
    assert result, result


@pytest.mark.parametrize("kernel", KERNELS, ids=name)
def test_dense_covariance(kernel) -> None:
    target = targets.correlated()
    draws = targets.exact_draws(target, DRAWS, seed=7)
    params = fitted_params(kernel, draws["x"], dense=True)
    result = check_invariant(kernel, target.program, key=8, draws=draws, params=params, steps=3)
    assert result, result


@pytest.mark.parametrize(
    "kernel",
    [kernels.repeat(kernels.RandomWalk(), 3), kernels.cycle(kernels.Slice(), kernels.MALA())],
    ids=["repeat", "cycle"],
)
def test_composed(kernel) -> None:
    target = targets.skewed()
    draws = targets.exact_draws(target, DRAWS, seed=9)
    result = check_invariant(kernel, target.program, key=10, draws=draws, steps=2)
    assert result, result


@pytest.mark.parametrize("make", [targets.half_space, targets.correlated], ids=name)
def test_microcanonical(make) -> None:
    target = make()
    draws = targets.exact_draws(target, DRAWS, seed=12)
    result = check_invariant(kernels.MAMS(), target.program, key=13, draws=draws, steps=3)
    assert result, result


def test_a_microcanonical_kernel_that_accepts_everything_is_caught(monkeypatch) -> None:
    from blackjax.mcmc import adjusted_mclmc, adjusted_mclmc_dynamic

    def accepted(key, delta_energy, state, proposal):
        return proposal, adjusted_mclmc.static_binomial_sampling(
            key, delta_energy, state, proposal
        )[1]

    proposal = adjusted_mclmc_dynamic.adjusted_mclmc_proposal
    monkeypatch.setattr(
        adjusted_mclmc_dynamic,
        "adjusted_mclmc_proposal",
        partial(proposal, sample_proposal=accepted),
    )
    jax.clear_caches()
    target = targets.half_space()
    draws = targets.exact_draws(target, DRAWS, seed=12)
    kernel = dataclasses.replace(kernels.MAMS(), max_steps=37)  # a trace of its own
    params = Params(jnp.asarray(1.0), jnp.zeros(2), jnp.ones(2))
    result = check_invariant(kernel, target.program, key=13, draws=draws, params=params, steps=3)
    monkeypatch.undo()
    assert check_invariant(
        kernels.MAMS(), target.program, key=13, draws=draws, params=params, steps=3
    )
    assert not result, result


def prior_of_mean():
    numpyro.sample("mu", dist.Normal(0.0, 1.0))


def start(key, data):
    (parameters, _) = data
    state = parameters["mu"] + jax.random.normal(key)
    return state, -0.5 * (state - 0.3) ** 2


def extend(key, state, y, data):
    state = 0.8 * state + 0.5 * jax.random.normal(key)
    return state, -0.5 * (y - state) ** 2


def test_particle_marginal_metropolis_hastings() -> None:
    prior = pi.from_numpyro(prior_of_mean)
    sequence = pi.Sequence(start, extend, np.array([0.5, -0.2, 1.0]))
    program = pi.marginal(prior, sequence, particles=8)
    draws = _rejected(program)
    result = check_invariant(kernels.RandomWalk(), program, key=12, draws=draws, steps=5)
    assert result, result


def _rejected(program):
    """Exact draws of (theta, key): rejection, since every weight is at most one."""

    @jax.jit
    def propose(key):
        draw_key, accept_key = jax.random.split(key)
        x = jax.vmap(program.draw, (0, None))(jax.random.split(draw_key, 40_000), program.data)
        log_l = jax.vmap(program.score, (0, None))(x, program.data).log_weight
        return x, jnp.log(jax.random.uniform(accept_key, (40_000,))) < log_l

    x, keep = propose(jax.random.key(11))
    index = np.flatnonzero(np.asarray(keep))[:DRAWS]
    assert len(index) == DRAWS
    return jax.tree.map(lambda leaf: leaf[index], x)
