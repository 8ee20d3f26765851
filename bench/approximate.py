"""Quick approximations: how far off they are, what refine makes of them, and VI beside NumPyro's.

    python -m bench.approximate posteriordb --engine VI --family full_rank
    python -m bench.approximate logistic

The second in a process of its own, without a compilation cache, for cold times.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.results.summary import summarise
from tests.cases import posteriordb


def _off(case: posteriordb.Case, posterior: pi.Posterior, folder: Any) -> tuple[float, float]:
    """Largest error of a mean, in reference sds and in combined Monte Carlo errors."""
    table = summarise(case.extract(posterior.draws), posterior.log_weights, posterior.clusters)
    found, names = table.columns, table.names
    reference = posteriordb.load_reference(folder, case.name)
    at = [names.index(n) for n in reference]
    mean, sd, error = (
        np.array([reference[n][k] for n in reference]) for k in ("mean", "sd", "mcse_mean")
    )
    gap = np.abs(found["mean"][at] - mean)
    return float((gap / sd).max()), float((gap / np.hypot(error, found["mcse"][at])).max())


def on_posteriordb(engine: str, family: str, names: list[str]) -> None:
    """Pareto k and error of means before `refine`, |z| after it, on every proper model."""
    folder = posteriordb.find_folder()
    if folder is None:
        raise SystemExit("the posteriordb references are not beside this checkout")
    print("| model | Pareto k | ELBO | off (sd) | converged | refined by | |z| after | seconds |")
    for case in posteriordb.cases(folder):
        if not case.proper or (names and not any(n in case.name for n in names)):
            continue
        method = pi.VI(family) if engine == "VI" else getattr(pi, engine)()
        program = pi.from_numpyro(case.model, **case.kwargs)
        began = time.perf_counter()
        try:
            quick = pi.sample(program, method, key=1, progress=False)
        except pi.errors.ProbinfError as error:
            print(f"| {case.name} | {type(error).__name__}: {str(error)[:120]} |", flush=True)
            continue
        middle = time.perf_counter()
        exact = pi.refine(program, quick, key=2, progress=False)
        ended = time.perf_counter()
        told = quick.provenance["approximation"]
        report = pi.amortized.refinement(exact)
        settled = told.get("converged", "")
        print(
            f"| {case.name} | {told['pareto_k']:.2f} | {told['elbo']:.2f} ± "
            f"{told['elbo_error']:.3f} | {_off(case, quick, folder)[0]:.2f} | "
            f"{settled} | {report.rung} | {_off(case, exact, folder)[1]:.2f} | "
            f"{middle - began:.1f} + {ended - middle:.1f} |",
            flush=True,
        )


def logistic(x: jax.Array, y: jax.Array | None = None) -> None:
    """Logistic regression with normal priors."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)


def _data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(30, 30)) / np.sqrt(30)
    x = (rng.normal(size=(500, 30)) @ (factor + 0.5 * np.eye(30))).astype("f4")
    beta = rng.normal(size=30)
    return x, (rng.random(500) < 1 / (1 + np.exp(-x @ beta))).astype("f4")


def _bound_of(fitted: Any, guide: Any, x: np.ndarray, y: np.ndarray) -> float:
    """NumPyro's bound from 4,000 draws of its fitted normal law."""
    law = guide.get_posterior(fitted.params)
    draws = law.sample(jax.random.key(9), (4000,))
    log_p = jax.vmap(
        lambda b: (
            dist.Normal(0.0, 1.0).log_prob(b).sum() + dist.Bernoulli(logits=x @ b).log_prob(y).sum()
        )
    )(draws)
    return float(jnp.mean(log_p - law.log_prob(draws)))


def beside_numpyro() -> None:
    """Seconds to one bound, cold and warm, by VI and by NumPyro's SVI."""
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    for kind, seed in (("cold", 0), ("warm", 1)):
        x, y = _data(seed)
        began = time.perf_counter()
        found = pi.sample(pi.from_numpyro(logistic, x, y), pi.VI(), key=0, progress=False)
        ours = time.perf_counter() - began
        told = found.provenance["approximation"]
        print(
            f"{kind}: VI {ours:.2f} s, ELBO {told['elbo']:.3f} ± {told['elbo_error']:.3f}, Pareto "
            f"k {told['pareto_k']:.2f}, {told['steps']} steps",
            flush=True,
        )
        for steps in (500, 1000, 2000, 4000, 8000):
            guide = AutoMultivariateNormal(logistic)
            svi = SVI(logistic, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
            began = time.perf_counter()
            fitted = svi.run(jax.random.key(0), steps, x, y, progress_bar=False)
            jax.block_until_ready(fitted.params)
            took = time.perf_counter() - began
            bound = _bound_of(fitted, guide, x, y)
            print(f"{kind}: SVI {took:.2f} s, {steps} steps, ELBO {bound:.3f}", flush=True)
            if bound > told["elbo"] - 0.1:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("posteriordb", "logistic"))
    parser.add_argument("--engine", default="VI", choices=("VI", "Laplace", "Pathfinder"))
    parser.add_argument("--family", default="full_rank")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    if options.what == "logistic":
        beside_numpyro()
    else:
        on_posteriordb(options.engine, options.family, options.only)
