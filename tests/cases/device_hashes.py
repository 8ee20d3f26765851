"""Engines on small problems, and a hash of their draws: ``python -m tests.cases.device_hashes``.

Run in a process of its own for each number of devices, or under ``probinf.launch``.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

_EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
_ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def schools(errors, effects=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfNormal(5))
    with numpyro.plate("school", errors.size):
        shift = numpyro.sample("shift", dist.Normal(0, 1))
        numpyro.sample("effect", dist.Normal(mu + tau * shift, errors), obs=effects)


def initial():
    return dist.Normal(0, 1)


def transition(state):
    return dist.Normal(0.9 * state, 1.0)


def emission(state):
    return dist.Normal(state, 0.5)


ENGINES = {
    "NUTS": pi.NUTS(chains=4, warmup=200, draws=50),
    "SMC": pi.SMC(particles=128, islands=4),
    "SMC, one island": pi.SMC(particles=256, islands=1),
    "random walk": pi.SMC(
        particles=64,
        islands=1,
        kernel=pi.kernels.RandomWalk(),
        moves=3,
        schedule=(0.0, 0.1, 1.0),
        tune=False,
    ),
    "Nested": pi.Nested(live=60, runs=4, moves=10),
    "PersistentSMC": pi.PersistentSMC(particles=64, islands=4),
    "ParallelTempering": pi.ParallelTempering(chains=4, warmup=100, draws=50),
    "ParticleFilter": pi.ParticleFilter(particles=512, islands=4),
}


def hashed(posterior: pi.Posterior) -> str:
    """Of all draws and weights, bit by bit."""
    found = hashlib.sha256()
    for name in sorted(posterior.draws):
        found.update(np.ascontiguousarray(posterior.draws[name]).tobytes())
    found.update(np.ascontiguousarray(posterior.log_weights).tobytes())
    return found.hexdigest()[:16]


def main(names: list[str]) -> None:
    """Print a line for each engine."""
    for name in names or ENGINES:
        if name == "ParticleFilter":
            program = pi.from_state_space(initial, transition, emission, np.sin(np.arange(30.0)))
        else:
            program = pi.from_numpyro(schools, _ERRORS, effects=_EFFECTS)
        told = {"progress": False, "check": False, "precision": "single"}
        posterior = pi.sample(program, ENGINES[name], key=0, **told)
        first = next(iter(posterior.draws.values()))
        weights = np.exp(posterior.log_weights - posterior.log_weights.max())
        mean = np.average(first.reshape(weights.shape), weights=weights)
        print(f"{name}: {hashed(posterior)} {mean:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
