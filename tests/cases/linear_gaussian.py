"""A short linear-Gaussian series with a missing observation, and its exact laws by algebra."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import probinf as pi

RHO, Q, R = 0.8, 0.6, 0.5
Y = np.array([0.4, 1.1, np.nan, -0.3, -1.0, -1.6])


def initial():
    return dist.Normal(0.0, 1.0)


def transition(x, rho, q):
    return dist.Normal(rho * x, q)


def emission(x, r):
    return dist.Normal(x, r)


def program(y: np.ndarray = Y) -> pi.Program:
    return pi.from_state_space(
        initial, transition, emission, y, parameters={"rho": RHO, "q": Q, "r": R}, missing="nan"
    )


def proposal(x, observation, rho, q, r):
    """A guess at the best one: the observation pulls a little less than it should."""
    return dist.Normal(0.6 * rho * x + 0.4 * observation, 1.1 * q)


def initial_proposal(observation):
    return dist.Normal(0.5 * observation, 1.0)


def first_stage(x, observation, rho, q, r):
    return 0.7 * dist.Normal(rho * x, jnp.sqrt(q**2 + r**2)).log_prob(observation)


def exact(y: np.ndarray = Y) -> tuple[float, np.ndarray, np.ndarray]:
    """Log likelihood, and the mean and covariance of all states given all observations."""
    steps = np.arange(y.size)
    variances = RHO ** (2 * steps) + Q**2 * (1 - RHO ** (2 * steps)) / (1 - RHO**2)
    early = np.minimum.outer(steps, steps)
    prior = RHO ** np.abs(np.subtract.outer(steps, steps)) * variances[early]
    seen = ~np.isnan(y)
    noisy = prior[np.ix_(seen, seen)] + R**2 * np.eye(seen.sum())
    gain = np.linalg.solve(noisy, prior[seen]).T
    mean, covariance = gain @ y[seen], prior - gain @ prior[seen]
    _, log_det = np.linalg.slogdet(2 * np.pi * noisy)
    log_z = -0.5 * (log_det + y[seen] @ np.linalg.solve(noisy, y[seen]))
    return float(log_z), mean, covariance
