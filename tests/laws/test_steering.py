"""Steering a diffusion whose reverse steps, end and posterior are all known exactly."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import probinf as pi
from probinf.fronts import steering
from tests.cases.tiers import tiers

STEPS = 6
KEPT = jnp.asarray(np.linspace(0.98, 0.02, STEPS + 1), jnp.float32)  # of the signal's variance
# Of the observation. The sums of rewards that "add" and "now" weigh by leave weights that vary
# too much under a sharp one: still unbiased, and no number of runs would show it.
NOISE = {"diff": 0.5, "max": 0.8, "add": 3.0, "now": 2.0}


class Mixture(NamedTuple):
    """A mixture in two dimensions, round components, and an observation with noise."""

    log_weights: jax.Array
    means: jax.Array
    sd: jax.Array
    seen: jax.Array
    noise: jax.Array


CASE = Mixture(
    jnp.log(jnp.array([0.5, 0.3, 0.2])),
    jnp.array([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]]),
    jnp.array(0.4),
    jnp.array([-0.5, 0.6]),
    jnp.array(0.5),
)


def _normal(x, mean, variance):
    return -0.5 * jnp.sum((x - mean) ** 2, -1) / variance - jnp.log(2 * jnp.pi * variance)


def kept(t):
    """The signal's share after the reverse step t; 1 at the end."""
    return jnp.where(t == STEPS, 1.0, KEPT[STEPS - t])


def component(x, alpha, case):
    """Log probabilities of the components given a noisy state."""
    variance = alpha * case.sd**2 + 1 - alpha
    return jax.nn.log_softmax(case.log_weights + _normal(x, jnp.sqrt(alpha) * case.means, variance))


def clean(x, alpha, case):
    """Mean and variance of the clean state given a noisy one, by component."""
    variance = alpha * case.sd**2 + 1 - alpha
    gain = jnp.sqrt(alpha) * case.sd**2 / variance
    return (
        case.means + gain * (x - jnp.sqrt(alpha) * case.means),
        case.sd**2 * (1 - alpha) / variance,
    )


def start(key, case):
    """The law of the noisiest state is a mixture too, drawn exactly."""
    first, second = jax.random.split(key)
    k, alpha = jax.random.categorical(first, case.log_weights), kept(0)
    spread = jnp.sqrt(alpha * case.sd**2 + 1 - alpha)
    return jnp.sqrt(alpha) * case.means[k] + spread * jax.random.normal(second, (2,))


def move(key, x, t, case):
    """A clean state given the noisy one, then the less noisy one given both: no error of steps."""
    keys = jax.random.split(key, 3)
    old, new = kept(t - 1), kept(t)
    k = jax.random.categorical(keys[0], component(x, old, case))
    mean, variance = clean(x, old, case)
    x0 = mean[k] + jnp.sqrt(variance) * jax.random.normal(keys[1], (2,))
    ratio = old / new
    mean = jnp.sqrt(ratio) * (1 - new) * x + jnp.sqrt(new) * (1 - ratio) * x0
    spread = jnp.sqrt((1 - new) * (1 - ratio) / (1 - old))
    return mean / (1 - old) + spread * jax.random.normal(keys[2], (2,))


def reward(x, t, case):
    """Log density of what was seen, at the clean state that is expected."""
    alpha = kept(t)
    mean = jnp.exp(component(x, alpha, case)) @ clean(x, alpha, case)[0]
    return _normal(case.seen, mean, case.noise**2)


def exact(mode: str) -> tuple[float, np.ndarray]:
    """Log mass, and mean of the posterior: a mixture again."""
    total = CASE.sd**2 + NOISE[mode] ** 2
    log_w = np.asarray(CASE.log_weights + _normal(CASE.seen, CASE.means, total), float)
    centres = np.asarray(CASE.means + CASE.sd**2 / total * (CASE.seen - CASE.means), float)
    return float(logsumexp(log_w)), np.exp(log_w - logsumexp(log_w)) @ centres


@partial(jax.jit, static_argnames="mode")
def filtered(key, mode, noise):
    case = CASE._replace(noise=noise)
    sequence = pi.steered(start, move, reward, STEPS, mode=mode, data=case)

    def one(key):
        cloud = pi.particle_filter(key, sequence, 32)
        w = jnp.exp(cloud.log_w)
        return cloud.log_z, w @ cloud.x.x / w.sum()

    return jax.lax.map(one, jax.random.split(key, 3000), batch_size=100)


def scores(mode: str, key: int = 0) -> tuple[float, np.ndarray]:
    """z-scores of the mass, and of the posterior mean by mass."""
    log_z, means = filtered(jax.random.key(key), mode, jnp.array(NOISE[mode]))
    truth, mean = exact(mode)
    ratio = np.exp(np.asarray(log_z, float) - truth)
    error = ratio.std() / np.sqrt(ratio.size)
    off = ratio[:, None] * (np.asarray(means, float) - mean)
    return (ratio.mean() - 1) / error, off.mean(0) / (off.std(0) / np.sqrt(ratio.size))


@pytest.mark.parametrize("mode", tiers(["diff", "max", "add", "now"], ("max",)))
def test_steering_has_the_mass_and_mean_of_the_posterior(mode) -> None:
    mass, mean = scores(mode)
    assert abs(mass) < 4.5
    assert np.abs(mean).max() < 4.5


right = steering._weighed


def published_last_step(state, x, turn, reward, mode, data):
    """The largest reward (or the sum) takes the place of the last one."""
    after, log_g = right(state, x, turn, reward, mode, data)
    stead = data[1] * {"max": after.best, "add": after.total}[mode] - state.spent
    return after, jnp.where(turn.last, stead, log_g)


@pytest.mark.parametrize("mode", tiers(["max", "add"], ("max",)))
def test_the_published_last_step_is_caught(monkeypatch, mode) -> None:
    jax.clear_caches()
    monkeypatch.setattr(steering, "_weighed", published_last_step)
    mass, _ = scores(mode)
    jax.clear_caches()
    assert abs(mass) > 10
