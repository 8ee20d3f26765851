"""Effective draws per second of PMMH, particle Gibbs and SMC squared on the Nile.

Run it with ``python -m bench.pmcmc``: for each engine the seconds of compilation and of the run,
the smallest effective size of a parameter, and effective draws per second of the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist
from statsmodels.datasets import nile

import probinf as pi

PRIORS = {
    "level_sd": dist.LogNormal(np.log(40.0), 0.7),
    "noise_sd": dist.LogNormal(np.log(120.0), 0.4),
}
METHODS = {
    "PMMH": pi.PMMH(particles=100, chains=2, warmup=500, draws=2000),
    "PMMH, 10 blocks": pi.PMMH(particles=100, chains=2, warmup=500, draws=2000, blocks=10),
    "ParticleGibbs": pi.ParticleGibbs(particles=30, chains=2, warmup=300, draws=2000),
    "SMC2": pi.SMC2(particles=400, state_particles=100),
}


def initial() -> Any:
    return dist.Normal(1000.0, 300.0)


def transition(level: Any, level_sd: Any) -> Any:
    return dist.Normal(level, level_sd)


def emission(level: Any, noise_sd: Any) -> Any:
    return dist.Normal(level, noise_sd)


def main() -> None:
    """Print a line for each engine."""
    flow = nile.load_pandas().data["volume"].to_numpy()
    program = pi.from_state_space(initial, transition, emission, flow, parameters=PRIORS)
    for name, method in METHODS.items():
        found = pi.sample(program, method, key=0, progress=False, keep=tuple(PRIORS))
        columns = found.summary().columns
        ess = float(np.min(columns["ess"] if "ess" in columns else columns["ess_bulk"]))
        seconds, compiling = (found.provenance[f"{k}_seconds"] for k in ("run", "compile"))
        print(
            f"{name:16} compile {compiling:6.1f} s, run {seconds:6.2f} s, "
            f"ESS {ess:6.0f}, {ess / seconds:7.1f} per second"
        )


if __name__ == "__main__":
    main()
