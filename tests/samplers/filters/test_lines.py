"""The error of a filter's evidence: z-scores against algebra have variance one."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.core.program import Program
from probinf.errors import MethodError
from probinf.runtime.lanes import advance_lane, start_lane
from probinf.samplers.filters.lines import by_family, family_of
from probinf.samplers.populations.pooling import pooled_evidence
from tests.cases import linear_gaussian as case


def series(steps: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    x, y = rng.normal(), np.empty(steps)
    for t in range(steps):
        x = case.RHO * x + case.Q * rng.normal() if t else x
        y[t] = x + case.R * rng.normal()
    return y


@partial(jax.jit, static_argnames=("method", "steps", "runs"))
def evidences(method: pi.ParticleFilter, program: Program, key: jax.Array, steps: int, runs: int):
    """Log evidence of many filters, and the sums that its error is made of."""

    def one(key):
        lane, _, _ = advance_lane(method, program, start_lane(method, program, key), steps, 1)
        return lane.state.log_z, *lane.state.lines.descent.sums()

    return jax.lax.map(one, jax.random.split(key, runs), batch_size=100)


def spread(method: pi.ParticleFilter, steps: int, key: int = 0, runs: int = 400) -> float:
    """Standard deviation of the z-scores of the log evidence."""
    y = series(steps)
    found = evidences(method, case.program(y), jax.random.key(key), steps, runs)
    rows = np.array(found, float).T[:, :, None]
    return float(np.std([pooled_evidence(*row).z(case.exact(y)[0]) for row in rows]))


@pytest.mark.slow
def test_the_error_of_the_evidence_is_calibrated() -> None:
    """400 filters, whose sd of z is known to .036."""
    assert 0.85 < spread(pi.ParticleFilter(1000), 20) < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("steps", [20, 200])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resample_below": 1.0},
        {"proposal": case.proposal},
        {"auxiliary": "mean"},
        {"auxiliary": "mean", "resample_below": 0.5},
    ],
)
def test_calibrated_for_every_filter(options: dict, steps: int) -> None:
    """1,000 filters of 1,000 particles; those of 200 steps renew their families many times."""
    assert 0.85 < spread(pi.ParticleFilter(1000, **options), steps, runs=1000) < 1.15


def test_families_partition_the_weights() -> None:
    log_w = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (1000,)))
    starts = jnp.array([0, 0, 7, 64, 65, 990, 1000, 1000])
    found = np.asarray(by_family(log_w, starts))
    which = np.asarray(family_of(starts, 1000))
    truth = np.bincount(which, np.exp(np.asarray(log_w)), minlength=7)
    np.testing.assert_allclose(found, truth, atol=1e-6)


def disordered(key, weights):
    return jax.random.categorical(key, jnp.log(weights), shape=weights.shape)


def test_ancestors_without_order_are_refused() -> None:
    with pytest.raises(MethodError, match="its ancestors must increase"):
        pi.sample(case.program(), pi.ParticleFilter(100, resampler=disordered), key=0, check=False)
