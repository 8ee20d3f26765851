"""Backward sampling by rejection has the law of backward sampling, by enumeration; its mutants."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2

import probinf as pi
from probinf.core.state_space import Sequence
from probinf.errors import MethodError
from probinf.fronts.states import sequence as peaks_of
from probinf.fronts.states.peaks import log_peak
from probinf.samplers.filters import smoothing
from probinf.samplers.filters.known import known_states
from tests.cases import linear_gaussian as case

PATHS = 20_000


def spreading(x):
    return dist.Normal(0.6 * x, 0.3 + 0.5 * jnp.abs(x))


def seen(x):
    return dist.Normal(x, 1.0)


def small() -> tuple[Sequence, smoothing.Stored]:
    """Three steps of four particles, none of whose densities are alike."""
    program = pi.from_state_space(case.initial, spreading, seen, np.zeros(3))
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), 3)
    stored = smoothing.Stored(
        {"states": jnp.asarray(x)}, jnp.log(jnp.asarray(w)), jnp.zeros((3, 4), int)
    )
    return known_states(program).sequence, stored


def p_value(sequence: Sequence, stored: smoothing.Stored, key: int = 0) -> float:
    """Chi-square test of drawn paths against the probabilities of all 64."""
    x, w = np.asarray(stored.states["states"]), np.exp(np.asarray(stored.log_w))
    scale = 0.3 + 0.5 * np.abs(x)

    def back(t: int) -> np.ndarray:
        z = (x[t + 1][:, None] - 0.6 * x[t][None]) / scale[t][None]
        joint = w[t] * np.exp(-0.5 * z**2) / scale[t]
        return joint / joint.sum(1, keepdims=True)

    first, second = back(0), back(1)
    mass = [
        w[2, c] * second[c, b] * first[b, a] for a, b, c in itertools.product(range(4), repeat=3)
    ]
    index, _ = smoothing.backward_rejection(jax.random.key(key), sequence, stored, PATHS)
    counts = np.bincount(np.array([16, 4, 1]) @ np.asarray(index), minlength=64)
    expected = PATHS * np.array(mass)
    keep = expected > 5
    statistic = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    return float(chi2.sf(statistic, keep.sum() - 1))


def test_rejection_is_backward_sampling() -> None:
    assert p_value(*small()) > 1e-4


def test_mutant_a_bound_that_does_not_hold() -> None:
    sequence, stored = small()

    def too_low(state, value, data):
        return sequence.log_peak(state, value, data) - 1.0

    assert p_value(dataclasses.replace(sequence, log_peak=too_low), stored) < 1e-8


def test_mutant_what_is_left_takes_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "_one_of", lambda key, weights: jnp.zeros((), int))
    assert p_value(*small()) < 1e-8


@pytest.mark.usefixtures("fresh_traces")
def test_a_bound_that_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence, stored = small()
    key = jax.random.key(0)
    assert smoothing.backward_rejection(key, sequence, stored, 100)[1] == 0

    def too_low(state, value, data):
        return sequence.log_peak(state, value, data) - 0.7

    lower = dataclasses.replace(sequence, log_peak=too_low)
    assert smoothing.backward_rejection(key, lower, stored, 100)[1] > 0.01
    monkeypatch.setattr(peaks_of, "log_peak", lambda name, law: log_peak(name, law) - 0.7)
    program = pi.from_state_space(case.initial, spreading, seen, np.zeros(3))
    method = pi.ParticleFilter(200, smoother="rejection")
    with pytest.raises(MethodError, match=r"nats above its log_peak"):
        pi.sample(program, method, key=0, progress=False, check=False)


LAWS = [
    dist.Normal(1.0, 2.0),
    dist.LogNormal(0.3, 0.7),
    dist.Gamma(2.5, 1.3),
    dist.Exponential(2.0),
    dist.Poisson(3.0),
]


def test_no_density_is_higher_than_its_peak() -> None:
    for law in LAWS:
        draws = law.sample(jax.random.key(0), (500,))
        gap = float(log_peak("x", law) - law.log_prob(draws).max())
        assert gap >= -1e-5, law
        assert gap < 0.3 or law.support.is_discrete, law
    shaped = dist.Normal(jnp.zeros(3), jnp.array([1.0, 2.0, 3.0])).to_event(1).expand([2])
    assert log_peak("x", shaped).shape == (2,)
    assert log_peak("x", dist.Gamma(0.5, 1.0)) > 30


def test_unbounded_laws_are_refused() -> None:
    def beta(x):
        return dist.Beta(0.5 + x, 0.5)

    def begin():
        return dist.Beta(2.0, 2.0)

    program = pi.from_state_space(begin, beta, seen, np.zeros(3))
    method = pi.ParticleFilter(100, smoother="rejection")
    with pytest.raises(MethodError, match=r"'states' \(Beta\) is not known"):
        pi.sample(program, method, key=0, progress=False, check=False)
