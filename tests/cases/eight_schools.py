"""Shared by tests: models and small tools."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

SCHOOLS_Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCHOOLS_SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools_model(J: int, sigma: np.ndarray, y: np.ndarray | None = None) -> None:
    """Eight schools, non-centred."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("J", J):
        z = numpyro.sample("theta_trans", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools() -> pi.Program:
    """The program of the eight schools and their data."""
    return pi.from_numpyro(schools_model, 8, SCHOOLS_SIGMA, y=SCHOOLS_Y)
