"""Models of which single precision loses the answer, with what is right."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

RIGHT = {
    "censored survival": (0.4118, -40.233),
    "millions of trials": (0.35006, -14.509),
    "counts of billions": (22.3327, None),
    "far from the origin": (None, None),
}
"""Posterior mean and log evidence."""


def censored(t: Any, c: Any) -> None:
    """Exponential survival: twenty events at 1, one time censored at 30."""
    rate = numpyro.sample("theta", dist.Gamma(1.0, 1.0))
    numpyro.sample("t", dist.Exponential(rate).expand([20]).to_event(1), obs=t)
    survival = dist.RightCensoredDistribution(dist.Exponential(rate), c)
    numpyro.sample("c", survival, obs=jnp.asarray(30.0))


def trials(y: Any) -> None:
    """Two million trials."""
    p = numpyro.sample("theta", dist.Uniform(0.0, 1.0))
    numpyro.sample("y", dist.Binomial(2_000_000, p), obs=y)


def counts(y: Any) -> None:
    """Counts with a log rate."""
    log_rate = numpyro.sample("theta", dist.Normal(20.0, 5.0))
    numpyro.sample("y", dist.Poisson(jnp.exp(log_rate)), obs=y)


def located(y: Any) -> None:
    """A location whose data may lie far from the origin."""
    loc = numpyro.sample("theta", dist.Normal(0.0, 1e7))
    numpyro.sample("y", dist.Normal(loc, 1.0), obs=y)


def programs() -> dict[str, pi.Program]:
    """By name."""
    far = 1e6 + np.random.default_rng(0).normal(size=100)
    return {
        "censored survival": pi.from_numpyro(censored, np.ones(20), np.array(True)),
        "millions of trials": pi.from_numpyro(trials, np.array(700_123)),
        "counts of billions": pi.from_numpyro(counts, np.full(3, 5_000_000_000)),
        "far from the origin": pi.from_numpyro(located, far),
    }
