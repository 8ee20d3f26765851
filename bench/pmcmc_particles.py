"""PMMH and SMC squared of the package particles, run by an environment of its own.

``python -m bench.pmcmc --peer VENV/bin/python`` runs this file with that Python, with the name of
a problem, that of an engine, its numbers and the data as JSON; it prints draws and seconds.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import particles
from particles import distributions as dists
from particles import state_space_models as ssm
from particles.mcmc import PMMH
from particles.smc_samplers import SMC2


class Level(ssm.StateSpaceModel):
    """The Nile's level, which wanders and is seen through noise."""

    def PX0(self):
        return dists.Normal(1000.0, 300.0)

    def PX(self, t, xp):
        return dists.Normal(xp, self.level_sd)

    def PY(self, t, xp, x):
        return dists.Normal(x, self.noise_sd)


class Volatility(ssm.StateSpaceModel):
    """Stochastic volatility, stationary from the beginning."""

    def PX0(self):
        return dists.Normal(self.mu, self.sigma / np.sqrt(1 - self.phi**2))

    def PX(self, t, xp):
        return dists.Normal(self.mu + self.phi * (xp - self.mu), self.sigma)

    def PY(self, t, xp, x):
        return dists.Normal(0.0, np.exp(x / 2))


LAWS = {"Normal": dists.Normal, "Beta": dists.Beta, "LogNormal": dists.LogNormal}
MODELS = {"nile": Level, "volatility": Volatility}


def pmmh(task: dict, common: dict, chains: int, warmup: int, draws: int, particles_: int) -> dict:
    """Chains from the truth, with its variances; the warm-up counts as time, not as draws."""
    seconds, found = [], []
    names = list(common["prior"].laws)
    centre = np.zeros(1, common["prior"].dtype)
    for name in names:
        centre[name] = task["centre"][name]
    spread = np.diag([task["spread"][n] ** 2 for n in names])
    for _ in range(chains):
        start = time.perf_counter()
        run = PMMH(niter=warmup + draws, Nx=particles_, theta0=centre, rw_cov=spread, **common)
        run.run()
        seconds.append(time.perf_counter() - start)
        found.append({n: run.chain.theta[n][warmup:].tolist() for n in names})
    return {"seconds": sum(seconds), "draws": {n: [f[n] for f in found] for n in found[0]}}


def smc2(task: dict, common: dict, runs: int, starts: int, length: int, particles_: int) -> dict:
    """Weighted means of independent runs, waste-free as is the default."""
    seconds, means, log_z = [], [], []
    for _ in range(runs):
        start = time.perf_counter()
        engine = SMC2(init_Nx=particles_, ar_to_increase_Nx=0.1, len_chain=length, **common)
        run = particles.SMC(fk=engine, N=starts)
        run.run()
        seconds.append(time.perf_counter() - start)
        theta = run.X.theta
        means.append({n: float(np.average(theta[n], weights=run.W)) for n in common["prior"].laws})
        log_z.append(float(run.logLt))
    return {"seconds": sum(seconds), "means": means, "log_z": log_z}


def main() -> None:
    """Read the task, print what was found."""
    task = json.loads(sys.stdin.read())
    np.random.seed(task["seed"])
    laws = {n: LAWS[kind](*numbers) for n, (kind, numbers) in task["priors"].items()}
    common = {
        "ssm_cls": MODELS[task["problem"]],
        "prior": dists.StructDist(laws),
        "data": np.asarray(task["data"]),
    }
    run = {"PMMH": pmmh, "SMC2": smc2}[task["engine"]]
    small = {n: 1 if n in ("chains", "runs") else 10 for n in task["numbers"]}
    with warnings.catch_warnings():  # proposals outside the support give NaN, and are refused
        warnings.simplefilter("ignore")
        run(task, common, **small)  # numba compiles
        print(json.dumps(run(task, common, **task["numbers"])))


if __name__ == "__main__":
    main()
