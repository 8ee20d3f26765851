"""missed_modes: a mode that no chain has seen is named; one that was seen, or is none, is not."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.results.mode_search import missed_modes
from tests.cases.eight_schools import eight_schools

METHOD = pi.NUTS(chains=2, warmup=200, draws=200)


def two(x, apart):
    shift = jnp.zeros_like(x).at[0].set(apart / 2)
    low = jnp.log(0.3) - 0.5 * jnp.sum((x + shift) ** 2)
    return jnp.logaddexp(low, jnp.log(0.7) - 0.5 * jnp.sum((x - shift) ** 2))


@pytest.fixture(scope="module")
def both() -> pi.Posterior:
    prior = dist.Normal(0, 10).expand([4]).to_event(1)
    program = pi.from_log_likelihood(two, prior, np.array(10.0))
    return pi.sample(program, METHOD, key=1, progress=False)


def only(posterior: pi.Posterior, positive: bool) -> pi.Posterior:
    """As if all chains had started on one side."""
    x = np.abs(posterior.unconstrained[..., :1])
    moved = np.concatenate([x if positive else -x, posterior.unconstrained[..., 1:]], axis=-1)
    return dataclasses.replace(posterior, unconstrained=moved, draws={"x": moved})


@pytest.mark.parametrize(
    ("positive", "share"), [(True, 0.3), pytest.param(False, 0.7, marks=pytest.mark.slow)]
)
def test_a_missed_mode_is_found_with_its_share(both, positive, share) -> None:
    (mode,) = missed_modes(only(both, positive))
    assert mode.share == pytest.approx(share, abs=0.02)
    assert abs(mode.position[0]) == pytest.approx(5, abs=0.2)
    assert (mode.position[0] < 0) == positive
    finding = [f for f in only(both, positive).diagnose().findings if f.code == "missed_mode"]
    assert f"{share:.0%}"[0] in finding[0].message and "ParallelTempering" in finding[0].message
    assert missed_modes(only(both, positive), share=0.8) == []


def test_modes_that_were_seen_are_not_reported(both) -> None:
    x = both.unconstrained.copy()
    x[0, :, 0], x[1, :, 0] = np.abs(x[0, :, 0]), -np.abs(x[1, :, 0])
    assert missed_modes(dataclasses.replace(both, unconstrained=x)) == []


def funnel(y):
    scale = numpyro.sample("scale", dist.LogNormal(0, 1.5))
    x = numpyro.sample("x", dist.Normal(0, scale).expand([5]).to_event(1))
    numpyro.sample("y", dist.Normal(x, 1).to_event(1), obs=y)


def test_one_mode_is_one_mode() -> None:
    program = pi.from_numpyro(funnel, np.array([2.0, 1, -1, 0, 1]))
    assert missed_modes(pi.sample(program, METHOD, key=0, progress=False)) == []


@pytest.mark.slow
def test_eight_schools_have_one_mode() -> None:
    assert missed_modes(pi.sample(eight_schools(), METHOD, key=0, progress=False)) == []
