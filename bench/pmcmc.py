"""PMMH, particle Gibbs and SMC squared: their agreement, and effective draws per second.

    python -m bench.pmcmc --peer /path/to/venv/bin/python

On the Nile (the truth is exact, by a Kalman filter on a grid) and on stochastic volatility (the
truth is NUTS on the NumPyro model with a scan). For each engine the means with their errors, how
many errors they are from the truth, seconds of compilation and of the run, effective draws and
effective draws per second of the run. Those of chains come from autocorrelations, warm-up counted
as time; those of SMC squared from the squared errors of the means of independent runs, since what
its final particles have in common is no autocorrelation.

``particles`` (NumPy < 2) needs an environment of its own: its Python is given by ``--peer`` or by
PARTICLES_PYTHON. Its chains begin at the truth, with the truth's covariance.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.results.statistics.ess import ess_bulk, ess_mean
from tests.cases import state_spaces as cases

RUNS = 8  # of SMC squared


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model, its priors as (law, numbers), its data, and how its truth is found."""

    name: str
    priors: dict[str, tuple[str, tuple[float, float]]]
    data: np.ndarray
    functions: tuple[Callable[..., Any], ...]
    truth: Callable[[Problem], tuple[np.ndarray, np.ndarray, np.ndarray]]

    def laws(self) -> dict[str, Any]:
        """Priors of the parameters."""
        return {n: getattr(dist, kind)(*numbers) for n, (kind, numbers) in self.priors.items()}

    def program(self) -> pi.Program:
        """The state-space program."""
        return pi.from_state_space(*self.functions, self.data, parameters=self.laws())


def level() -> Any:
    return dist.Normal(cases.CENTRE, cases.WIDTH)


def level_moves(level: Any, level_sd: Any) -> Any:
    return dist.Normal(level, level_sd)


def level_seen(level: Any, noise_sd: Any) -> Any:
    return dist.Normal(level, noise_sd)


def volatility(mu: Any, phi: Any, sigma: Any) -> Any:
    return dist.Normal(mu, sigma / jnp.sqrt(1 - phi**2))


def volatility_moves(h: Any, mu: Any, phi: Any, sigma: Any) -> Any:
    return dist.Normal(mu + phi * (h - mu), sigma)


def volatility_seen(h: Any) -> Any:
    return dist.Normal(0.0, jnp.exp(h / 2))


def returns(steps: int = 150) -> np.ndarray:
    """A series of the model with mu = -1, phi = .95, sigma = .3."""
    rng = np.random.default_rng(3)
    h, y = -1 + 0.3 / np.sqrt(1 - 0.95**2) * rng.normal(), []
    for _ in range(steps):
        y.append(np.exp(h / 2) * rng.normal())
        h = -1 + 0.95 * (h + 1) + 0.3 * rng.normal()
    return np.array(y)


def scanned(y: Any, priors: dict[str, Any]) -> None:
    """Stochastic volatility as users of NumPyro write it."""
    mu, phi, sigma = (numpyro.sample(n, priors[n]) for n in ("mu", "phi", "sigma"))
    noise = numpyro.sample("noise", dist.Normal(0, 1).expand([len(y)]).to_event(1))
    first = mu + sigma / jnp.sqrt(1 - phi**2) * noise[0]

    def step(h: Any, e: Any) -> Any:
        h = mu + phi * (h - mu) + sigma * e
        return h, h

    _, rest = jax.lax.scan(step, first, noise[1:])
    numpyro.sample("y", dist.Normal(0, jnp.exp(jnp.append(first, rest) / 2)), obs=y)


def by_grid(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, errors and standard deviations of the parameters, exact."""
    exact = cases.nile_exact(len(problem.data))
    mean = np.array([exact[n] for n in problem.priors])
    square = np.array([exact[f"{n}^2"] for n in problem.priors])
    return mean, np.zeros_like(mean), np.sqrt(square - mean**2)


def by_nuts(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same by NUTS on the model with a scan."""
    program = pi.from_numpyro(scanned, problem.data, problem.laws())
    careful = pi.kernels.NUTS(target_acceptance=0.95)
    method = pi.NUTS(kernel=careful, chains=4, draws=4000)
    found = pi.sample(program, method, key=9, progress=False, keep=tuple(problem.priors))
    report(problem, "NUTS on the scan", found, None)
    columns = in_order(problem, found)
    return columns["mean"], columns["mcse"], columns["sd"]


PROBLEMS = (
    Problem(
        "nile",
        {
            "level_sd": ("LogNormal", (np.log(40.0), 0.7)),
            "noise_sd": ("LogNormal", (np.log(120), 0.4)),
        },
        cases.NILE,
        (level, level_moves, level_seen),
        by_grid,
    ),
    Problem(
        "volatility",
        {
            "mu": ("Normal", (0.0, 1.0)),
            "phi": ("Beta", (20.0, 1.5)),
            "sigma": ("LogNormal", (-1.5, 0.5)),
        },
        returns(),
        (volatility, volatility_moves, volatility_seen),
        by_nuts,
    ),
)
CHAINS = {
    "PMMH": pi.PMMH(particles=100, chains=2, draws=5000),
    "PMMH, 10 blocks": pi.PMMH(particles=100, chains=2, draws=5000, blocks=10),
    "ParticleGibbs": pi.ParticleGibbs(particles=30, chains=2, draws=5000),
}
SQUARED = pi.SMC2(particles=400, state_particles=100, islands=1)


def in_order(problem: Problem, found: pi.Posterior) -> dict[str, np.ndarray]:
    """Columns of the summary, a row for each parameter."""
    summary = found.summary()
    rows = [summary.names.index(n) for n in problem.priors]
    return {n: np.asarray(v, float)[rows] for n, v in summary.columns.items()}


def line(name: str, compiling: float, seconds: float, ess: float, worst: float, means: str) -> None:
    """One row of the table."""
    print(
        f"{name:20}{compiling:9.1f}{seconds:9.2f}{ess:9.0f}{ess / seconds:9.1f}{worst:9.2f}",
        means,
        flush=True,
    )


def shown(problem: Problem, mean: np.ndarray, error: np.ndarray) -> str:
    return ", ".join(
        f"{n} {m:.3f} ± {e:.3f}" for n, m, e in zip(problem.priors, mean, error, strict=True)
    )


def report(problem: Problem, name: str, found: pi.Posterior, truth: Any) -> None:
    """A row for chains."""
    columns = in_order(problem, found)
    z = 0.0 if truth is None else gap(columns["mean"], columns["mcse"], truth)
    seconds, compiling = (found.provenance[f"{k}_seconds"] for k in ("run", "compile"))
    means = shown(problem, columns["mean"], columns["mcse"])
    line(name, compiling, seconds, columns["ess_bulk"].min(), z, means)


def gap(mean: np.ndarray, error: np.ndarray, truth: Any) -> float:
    """The largest distance from the truth in errors."""
    return float(np.abs((mean - truth[0]) / np.hypot(error, truth[1])).max())


def squared(problem: Problem, name: str, means: np.ndarray, truth: Any, times: Any) -> None:
    """A row for independent runs of SMC squared, (run, parameter) means."""
    error = means.std(0, ddof=1) / np.sqrt(len(means))
    worth = 1 / np.mean(((means - truth[0]) / truth[2]) ** 2)  # of one run
    z, text = gap(means.mean(0), error, truth), shown(problem, means.mean(0), error)
    line(f"{name} x {len(means)}", *times, len(means) * worth, z, text)


def own(problem: Problem, truth: Any) -> None:
    """Rows of this package."""
    program = problem.program()
    for name, method in CHAINS.items():
        found = pi.sample(program, method, key=0, progress=False, keep=tuple(problem.priors))
        report(problem, name, found, truth)
    means, times = [], np.zeros(2)
    for key in range(RUNS):
        found = pi.sample(program, SQUARED, key=key, progress=False, keep=tuple(problem.priors))
        means.append(in_order(problem, found)["mean"])
        times += [found.provenance[f"{k}_seconds"] for k in ("compile", "run")]
    squared(problem, "SMC2", np.array(means), truth, times)


def peer(problem: Problem, truth: Any, python: str) -> None:
    """Rows of particles, in the same run."""
    file = pathlib.Path(__file__).with_name("pmcmc_particles.py")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def asked(engine: str, **numbers: int) -> dict[str, Any]:
        task = {
            "seed": 1,
            "problem": problem.name,
            "engine": engine,
            "priors": problem.priors,
            "data": problem.data.tolist(),
            "centre": dict(zip(problem.priors, truth[0].tolist(), strict=True)),
            "spread": dict(zip(problem.priors, truth[2].tolist(), strict=True)),
            "numbers": numbers,
        }
        out = subprocess.run(
            [python, str(file)], input=json.dumps(task), check=True, capture_output=True,
            text=True, env=env,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
        return found

    found = asked("PMMH", chains=2, warmup=200, draws=1500, particles_=100)
    draws = [np.array(found["draws"][n]) for n in problem.priors]
    mean = np.array([d.mean() for d in draws])
    error = np.array([d.std() / np.sqrt(ess_mean(d)) for d in draws])
    ess = min(float(ess_bulk(d)) for d in draws)
    text = shown(problem, mean, error)
    line("particles, PMMH", 0.0, found["seconds"], ess, gap(mean, error, truth), text)
    found = asked("SMC2", runs=RUNS, starts=40, length=10, particles_=100)
    means = np.array([[run[n] for n in problem.priors] for run in found["means"]])
    squared(problem, "particles, SMC2", means, truth, (0.0, found["seconds"]))


def main() -> None:
    """Print a table for each problem."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", default=os.environ.get("PARTICLES_PYTHON"))
    parser.add_argument("--problem", choices=[p.name for p in PROBLEMS])
    options = parser.parse_args()
    if options.peer is None:
        print("particles is left out: give its Python with --peer or PARTICLES_PYTHON.")
    for problem in PROBLEMS:
        if options.problem not in (None, problem.name):
            continue
        print(f"\n{problem.name}, {len(problem.data)} steps; |z| is the largest from the truth")
        print(f"{'':20}{'compile':>9}{'run s':>9}{'ESS':>9}{'ESS/s':>9}{'|z|':>9}")
        truth = problem.truth(problem)
        own(problem, truth)
        if options.peer is not None:
            peer(problem, truth, options.peer)


if __name__ == "__main__":
    main()
