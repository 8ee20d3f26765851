"""Mixtures keep variances that differ by many orders, and a filter says where it guesses."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.amortized import GaussianMixture, LinearMotion
from probinf.errors import ArrayError, RangeError, RangeWarning


def covariance_form(prior, z, matrix, noise):
    """The mutant: Kalman's update as it is usually written, in single precision."""
    v = np.asarray(prior.factors[0] @ prior.factors[0].T, np.float32)
    total = (matrix @ v @ matrix.T + noise).astype(np.float32)
    gain = v @ matrix.T @ np.linalg.inv(total)
    return v - gain @ matrix @ v


@pytest.mark.parametrize(("v", "s"), [(1e4, 1e-2), (100.0, 1e-6), (1e8, 1e-8), (1e-6, 100.0)])
def test_a_sharp_observation_of_a_vague_prior(v: float, s: float) -> None:
    one = np.ones((1, 1), np.float32)
    prior = GaussianMixture.normal(jnp.ones(1), v * jnp.eye(1))
    law = prior.conditioned(jnp.asarray([3.0]), jnp.eye(1), s * jnp.eye(1))
    assert float(law.covariance[0, 0]) == pytest.approx(v * s / (v + s), rel=1e-4)
    assert float(law.mean[0]) == pytest.approx((s + 3 * v) / (v + s), rel=1e-5)
    broken = covariance_form(prior, 3.0, one, s * one)[0, 0]
    if v > s:
        assert not abs(broken / (v * s / (v + s)) - 1) < 0.05


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_correlated_priors_and_evidence_agree_with_double_precision(scale: float) -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(2, 3, 3))
    covariances = scale * (half @ half.swapaxes(1, 2) + 0.1 * np.eye(3))
    means, matrix = rng.normal(size=(2, 3)) * scale**0.5, rng.normal(size=(2, 3))
    noise, z = 1e-3 * np.eye(2) + 5e-4, np.array([1.0, 2.0])
    factors = np.linalg.cholesky(covariances)
    log_w = np.log([0.3, 0.7])
    law = GaussianMixture(*(jnp.asarray(a, float) for a in (log_w, means, factors)))
    found = law.conditioned(*(jnp.asarray(a, float) for a in (z, matrix, noise)))
    weights = []
    for k in range(2):
        total = matrix @ covariances[k] @ matrix.T + noise
        gain = covariances[k] @ matrix.T @ np.linalg.inv(total)
        after = covariances[k] - gain @ matrix @ covariances[k]
        mean = means[k] + gain @ (z - matrix @ means[k])
        ours = np.asarray(found.factors[k], float)
        np.testing.assert_allclose(ours @ ours.T, after, rtol=2e-3, atol=1e-4 * after.max())
        np.testing.assert_allclose(found.means[k], mean, atol=0.02 * np.sqrt(after.diagonal()))
        left = z - matrix @ means[k]
        weights.append(-0.5 * left @ np.linalg.solve(total, left))
        weights[-1] -= 0.5 * np.linalg.slogdet(total)[1]
    exact = log_w + weights
    np.testing.assert_allclose(found.log_w, exact - np.logaddexp(*exact), rtol=1e-3, atol=1e-3)


def test_a_motion_may_be_without_noise_and_an_observation_may_not() -> None:
    law = GaussianMixture.normal(jnp.zeros(2), jnp.diag(jnp.asarray([1e-6, 1e6])))
    moved = law.moved(jnp.eye(2), jnp.diag(jnp.asarray([0.0, 1.0])))
    np.testing.assert_allclose(moved.covariance.diagonal(), [1e-6, 1e6 + 1], rtol=1e-5)
    with pytest.raises(ArrayError, match="noise must be positive definite"):
        law.conditioned(jnp.zeros(1), jnp.ones((1, 2)), jnp.zeros((1, 1)))


SENSOR = np.array([[1.0, 0.0]])


def departing(steps: int):
    """A target that moves away at unit speed, and what Kalman's filter says of it."""
    rng = np.random.default_rng(0)
    z = np.arange(1.0, steps + 1) + 0.5 * rng.normal(size=steps)
    motion = LinearMotion(jnp.asarray([[1.0, 1.0], [0.0, 1.0]]), 0.01 * jnp.eye(2))
    law = GaussianMixture.normal(jnp.asarray([0.0, 1.0]), jnp.eye(2))
    means = []
    for value in z:
        law = law.conditioned(jnp.asarray([value], float), jnp.asarray(SENSOR, float),
                              0.25 * jnp.eye(1))  # fmt: skip
        means.append(np.asarray(law.mean))
        law = law.moved(*motion)
    return z, motion, np.stack(means)


def test_a_filter_that_leaves_its_training_says_at_which_step() -> None:
    network = pi.amortized.load("dt-position")
    z, motion, exact = departing(40)
    start = GaussianMixture.normal(jnp.asarray([0.0, 1.0]), jnp.eye(2), components=3)
    with pytest.warns(RangeWarning, match=r"steps are outside .* step \d+: .*sensor=matrix"):
        lost = pi.amortized.filter(network, motion, start, z)
    assert abs(lost.means[-1, 0] - exact[-1, 0]) > 1
    with pytest.raises(RangeError, match="the first of them step"):
        pi.amortized.filter(network, motion, start, z, out_of_range="raise")
    # in coordinates centred on each prior it never leaves
    found = pi.amortized.filter(
        network, motion, start, z, sensor=SENSOR, out_of_range="raise"
    )  # fmt: skip
    assert not any(found.outside)
    np.testing.assert_allclose(found.means, exact, atol=0.15)
    with pytest.raises(ArrayError, match=r"sensor \(2, 1\) must be \(1, 2\)"):
        pi.amortized.filter(network, motion, start, z, sensor=SENSOR.T)
    with pytest.raises(RangeError, match="out_of_range must be"):
        pi.amortized.filter(network, motion, start, z, out_of_range="no")
