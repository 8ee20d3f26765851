"""Evidences against known values, by every engine that has one: twenty runs of each problem.

Run from the project's root: ``python -m bench.evidence [problem ...]``. Prints, per problem and
engine, the bias of log Z with its standard error, the standard deviation of the z-scores (1 when
the reported errors are right), likelihood evaluations and seconds of one run. BlackJAX's nested
slice sampling runs beside them; dynesty joins when it is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import probinf as pi
from probinf.run import Method

RUNS = 20


class Problem(NamedTuple):
    """A likelihood on a box with a uniform prior, and its log evidence."""

    log_likelihood: Callable[[Any], Any]
    low: float
    high: float
    size: int
    log_evidence: float


def eggbox(x: Any) -> Any:
    return (2 + jnp.cos(x[0] / 2) * jnp.cos(x[1] / 2)) ** 5


def shells(x: Any) -> Any:
    centre = jnp.zeros(x.shape[-1]).at[0].set(3.5)

    def one(middle: Any) -> Any:
        radius = jnp.linalg.norm(x - middle)
        return -0.5 * ((radius - 2) / 0.1) ** 2 - jnp.log(0.1 * jnp.sqrt(2 * jnp.pi))

    return jnp.logaddexp(one(centre), one(-centre))


def correlated(x: Any) -> Any:
    d = x.shape[-1]
    sums = jnp.sum(x)
    # covariance 0.05 I + 0.95: inverse and determinant in closed form
    square = (jnp.sum(x**2) - 0.95 * sums**2 / (0.05 + 0.95 * d)) / 0.05
    log_det = (d - 1) * jnp.log(0.05) + jnp.log(0.05 + 0.95 * d)
    return -0.5 * (square + log_det + d * jnp.log(2 * jnp.pi))


def spike_slab(x: Any) -> Any:
    d = x.shape[-1]

    def one(place: float, variance: float) -> Any:
        middle = jnp.zeros(d).at[:2].set(place)
        square = jnp.sum((x - middle) ** 2) / variance
        return -0.5 * (square + d * jnp.log(2 * jnp.pi * variance))

    return jnp.logaddexp(one(6.0, 0.08), one(2.5, 0.8))


PROBLEMS = {
    "eggbox 2": Problem(eggbox, 0.0, 10 * np.pi, 2, 235.8559),
    "shells 2": Problem(shells, -6.0, 6.0, 2, -1.7456),
    "shells 5": Problem(shells, -6.0, 6.0, 5, -5.6736),
    "shells 10": Problem(shells, -6.0, 6.0, 10, -14.5905),
    "correlated 5": Problem(correlated, -10.0, 10.0, 5, -5 * np.log(20)),
    "correlated 10": Problem(correlated, -10.0, 10.0, 10, -10 * np.log(20)),
    "correlated 20": Problem(correlated, -10.0, 10.0, 20, -20 * np.log(20)),
    "spike-slab 10": Problem(spike_slab, -4.0, 8.0, 10, -24.1559),
}


def row(name: str, engine: str, errors: np.ndarray, stated: np.ndarray, rest: str) -> None:
    standard = errors.std(ddof=1) / np.sqrt(errors.size) if errors.size > 1 else stated[0]
    spread = (errors / stated).std(ddof=1) if errors.size > 1 else float("nan")
    print(
        f"{name:14} {engine:10} {errors.mean():8.3f} ± {standard:.3f}  {spread:5.2f} "
        f"{np.sqrt((errors**2).mean()):7.3f}  {rest}",
        flush=True,
    )


def with_nested(name: str, problem: Problem, program: pi.Program) -> None:
    began = time.perf_counter()
    fit = pi.sample(program, pi.Nested(live=500, runs=RUNS), key=0, progress=False)
    seconds = time.perf_counter() - began
    errors = fit.history["log_evidence"][:, 0] - problem.log_evidence
    evaluations = fit.provenance["likelihood_evaluations"] / RUNS
    rest = (
        f"{evaluations:9.0f} {fit.provenance['run_seconds'] / RUNS:7.2f} "
        f"{seconds - fit.provenance['run_seconds']:7.1f}  "
        f"insertion p {fit.provenance['insertion_p_value']:.3f} {' '.join(fit.diagnose().codes)}"
    )
    row(name, "Nested", errors, fit.history["log_evidence_error"][:, 0], rest)


# half the particles of PersistentSMC, which keeps them all: about the same evaluations
TEMPERED: dict[str, Method] = {
    "SMC": pi.SMC(particles=1000, islands=4),
    "waste-free": pi.SMC(particles=1000, islands=4, waste_free=10),
    "persistent": pi.PersistentSMC(particles=500, islands=4),
    "tempering": pi.ParallelTempering(temperatures=12, warmup=500, draws=1000),
}


def with_temperatures(
    name: str, engine: str, method: Method, problem: Problem, program: pi.Program
) -> None:
    errors, stated, warm, cold, evaluations = [], [], [], 0.0, []
    for key in range(RUNS):
        began = time.perf_counter()
        fit = pi.sample(program, method, key=key, progress=False)
        seconds = time.perf_counter() - began
        errors.append(fit.log_evidence.value - problem.log_evidence)
        stated.append(fit.log_evidence.error)
        counted = fit.history.get("evaluations", fit.stats.get("evaluations"))
        evaluations.append(np.nansum(counted) + fit.provenance.get("warmup_evaluations", 0))
        warm.append(fit.provenance["run_seconds"])
        cold = seconds - warm[0] if key == 0 else cold
    rest = f"{np.mean(evaluations):9.0f} {np.median(warm):7.2f} {cold:7.1f}"
    row(name, engine, np.array(errors), np.array(stated), rest)


def with_nss(name: str, problem: Problem) -> None:
    """BlackJAX's nested slice sampling, as its documentation drives it."""
    import blackjax

    width = problem.high - problem.low

    def log_prior(x: Any) -> Any:
        inside = jnp.all((x > problem.low) & (x < problem.high))
        return jnp.where(inside, -problem.size * jnp.log(width), -jnp.inf)

    sampler = blackjax.nss(
        logprior_fn=log_prior,
        loglikelihood_fn=problem.log_likelihood,
        num_inner_steps=max(5, 2 * problem.size),
        num_delete=50,
    )
    step = jax.jit(sampler.step)
    errors, stated, warm, cold = [], [], [], 0.0
    for seed in range(RUNS):
        key, first = jax.random.split(jax.random.key(seed))
        began = time.perf_counter()
        start = jax.random.uniform(
            first, (500, problem.size), minval=problem.low, maxval=problem.high
        )
        live, dead = sampler.init(start), []
        # one hundredth of the evidence left, as its users stop
        while float(live.integrator.logZ_live - live.integrator.logZ) > np.log(1e-2):
            key, use = jax.random.split(key)
            live, info = step(use, live)
            dead.append(info)
        every = blackjax.ns.utils.finalise(live, dead)
        log_w = np.asarray(blackjax.ns.utils.log_weights(key, every, shape=400), float)
        log_z = np.logaddexp.reduce(log_w, axis=0)
        seconds = time.perf_counter() - began
        errors.append(log_z.mean() - problem.log_evidence)
        stated.append(log_z.std())
        if seed:
            warm.append(seconds)
        cold = cold if seed else seconds
    rest = f"{'':9} {np.median(warm):7.2f} {cold:7.1f}"
    row(name, "NSS", np.array(errors), np.array(stated), rest)


def with_dynesty(name: str, problem: Problem) -> None:
    try:
        import dynesty
    except ImportError:
        return
    compiled = jax.jit(problem.log_likelihood)
    compiled(jnp.zeros(problem.size)).block_until_ready()
    width = problem.high - problem.low
    began = time.perf_counter()
    sampler = dynesty.NestedSampler(
        lambda x: float(compiled(x)),
        lambda u: problem.low + width * u,
        problem.size,
        nlive=500,
        rstate=np.random.default_rng(0),
    )
    sampler.run_nested(print_progress=False)
    seconds, found = time.perf_counter() - began, sampler.results
    errors = np.array([found["logz"][-1] - problem.log_evidence])
    rest = f"{np.sum(found['ncall']):9.0f} {seconds:7.2f}"
    row(name, "dynesty", errors, np.array([found["logzerr"][-1]]), rest)


def main(names: list[str]) -> None:
    """Print the table."""
    pi.use_cpu_devices()
    print("problem        engine     bias of log Z     z sd    rmse  evaluations  run s  cold s")
    for name, problem in PROBLEMS.items():
        if names and name not in names:
            continue
        box = dist.Uniform(problem.low, problem.high).expand([problem.size]).to_event(1)
        program = pi.from_log_likelihood(problem.log_likelihood, box)
        with_nested(name, problem, program)
        for engine, method in TEMPERED.items():
            with_temperatures(name, engine, method, problem, program)
        with_nss(name, problem)
        with_dynesty(name, problem)


if __name__ == "__main__":
    main(sys.argv[1:])
