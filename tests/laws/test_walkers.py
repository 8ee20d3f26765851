"""Moves of ensembles leave the target invariant, and do not care how it is stretched."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf import kernels
from probinf.core.check_result import CheckResult, two_sample
from probinf.core.coordinates import flatten
from probinf.core.program import log_density
from probinf.samplers.ensembles.ensemble import Walkers
from tests.cases import targets

MOVES = [
    kernels.Stretch(),
    kernels.DifferentialEvolution(),
    kernels.Snooker(),
    pytest.param((kernels.Stretch(a=3.0), kernels.Snooker()), marks=pytest.mark.slow),
]
WALKERS, ENSEMBLES, STEPS = 6, 4000, 5


def name(value: object) -> str:
    return value.__name__ if callable(value) else type(value).__name__


@partial(jax.jit, static_argnames=("method",))
def walked(method, flat, key, x, steps):
    def one(key, x):
        own = Walkers(x, jax.vmap(partial(log_density, flat))(x))

        def step(k, own):
            return method.transition(jax.random.fold_in(key, k), flat, own, k)[0]

        return jax.lax.fori_loop(0, steps, step, own).position

    return jax.vmap(one)(jax.random.split(key, x.shape[0]), x)


def law(method: pi.Ensemble, target: targets.Target, seed: int) -> CheckResult:
    """Ensembles of exact draws are moved; they still are ensembles of independent exact draws.

    One walker, the mean and the spread of each are compared with those of others.
    """
    draws = targets.exact_draws(target, 2 * ENSEMBLES * method.walkers, seed=seed)
    flat, layout = flatten(target.program)
    x, fresh = np.asarray(jax.vmap(layout.ravel)(draws)).reshape(2, ENSEMBLES, method.walkers, -1)
    moved = np.asarray(walked(method, flat, jax.random.key(seed), x, STEPS))
    still = float(np.mean(moved == x))
    failures = ("walkers do not move",) if still > 0.95 else ()
    names = [f"{what}{k}" for what in ("x", "mean", "sd") for k in range(x.shape[2])]
    p_values = two_sample(seen(moved), seen(fresh), names)
    return CheckResult("invariance", p_values, 1e-4, failures)


def seen(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:, 0], x.mean(axis=1), x.std(axis=1)], axis=1)


def ensemble(moves) -> pi.Ensemble:
    return pi.Ensemble(walkers=WALKERS, ensembles=1, moves=moves)


@pytest.mark.parametrize("moves", MOVES, ids=name)
@pytest.mark.parametrize(
    "make",
    [
        targets.half_space,
        pytest.param(targets.correlated, marks=pytest.mark.slow),
        pytest.param(targets.skewed, marks=pytest.mark.slow),
        pytest.param(targets.bounded, marks=pytest.mark.slow),
        pytest.param(targets.nan_sprinkled, marks=pytest.mark.slow),
    ],
    ids=name,
)
def test_invariance(moves, make) -> None:
    result = law(ensemble(moves), make(), seed=1)
    assert result, result


class WithoutVolume(kernels.Stretch):
    """The stretch move without the factor that volumes grow by."""

    def propose(self, key, x, others):
        y, log_factor = super().propose(key, x, others)
        return y, 0 * log_factor


class SnookerWithoutVolume(kernels.Snooker):
    """The snooker move without it."""

    def propose(self, key, x, others):
        y, log_factor = super().propose(key, x, others)
        return y, 0 * log_factor


@dataclasses.dataclass(frozen=True)
class AgainstThemselves(pi.Ensemble):
    """Each half is moved with the help of itself, all at once."""

    def _half(self, key, program, own, half, other, which):
        return super()._half(key, program, own, half, half, which)


MUTANTS = [
    ensemble(WithoutVolume()),
    ensemble(SnookerWithoutVolume()),
    AgainstThemselves(walkers=WALKERS, ensembles=1, moves=kernels.DifferentialEvolution()),
]


@pytest.mark.parametrize("method", MUTANTS, ids=["stretch", "snooker", "halves"])
def test_mutants_are_caught(method) -> None:
    result = law(method, targets.half_space(), seed=1)
    assert not result, result


@pytest.mark.parametrize("moves", [kernels.Stretch(), kernels.DifferentialEvolution()], ids=name)
def test_affine_invariance(moves) -> None:
    """A run on a stretched and turned target is the same run, stretched and turned."""
    a, shift = jnp.array([[30.0, 0.0, 0.0], [29.0, 0.1, 0.0], [1.0, -2.0, 5.0]]), jnp.arange(3.0)
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (1, 12, 3))
        plain = pi.from_log_density(_round, initial=jnp.zeros(3))
        turned = pi.from_log_density(
            _turned, np.asarray(a), np.asarray(shift), initial=jnp.zeros(3)
        )
        method = pi.Ensemble(walkers=12, ensembles=1, moves=moves)
        key = jax.random.key(1)
        first = walked(method, flatten(plain)[0], key, x, 5)
        second = walked(method, flatten(turned)[0], key, x @ a.T + shift, 5)
        assert not np.allclose(first, x)
        np.testing.assert_allclose(second, first @ a.T + shift, rtol=1e-6, atol=1e-6)


def _round(x):
    return -0.5 * jnp.sum(x**2) - jnp.sum(jnp.abs(x))


def _turned(y, a, shift):
    return _round(jnp.linalg.solve(a, y - shift))
