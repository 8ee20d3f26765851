"""Trainings against exact heavy-tailed predictives: ``python -m bench.oracle_gaps [NAME ...]``.

``linear`` is Bayesian linear regression with a normal-inverse-gamma prior, ``student`` a Student-t
process; both have Student-t predictives. Each network is trained for a few minutes on one core,
then compared with the exact answer on tasks that no training saw. Gaps are in nats.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.stats import t as student

from probinf.amortized import PFN, GaussianProcess, Mixture, oracles

ROWS, QUERIES, TASKS = 20, 20, 400
SIZES = (0, 1, 3, 5, 10, 20)
GAMMA = (3.0, 2.0)
PRIORS: dict[str, dict[str, Any]] = {
    "linear": {"inputs": 2, "kernel": "linear", "outputscale": 4.0, "noise": 1.0},
    "student": {"inputs": 1, "kernel": "rbf", "lengthscale": 0.2, "noise": 0.01},
}


def prior_of(name: str) -> GaussianProcess:
    """The task prior, process and noise with one inverse-gamma variance."""
    design = dist.Uniform(-1.0, 1.0) if name == "linear" else None
    return GaussianProcess(**PRIORS[name], variance=dist.InverseGamma(*GAMMA), design=design)


def exact(name: str, x: np.ndarray, y: np.ndarray, new: np.ndarray) -> oracles.Exact:
    """The predictive in closed form."""
    if name == "linear":
        scale = PRIORS[name]["outputscale"] * np.eye(x.shape[1])
        return oracles.conjugate_regression(
            x, y, new, prior_mean=np.zeros(x.shape[1]), prior_covariance=scale,
            a=GAMMA[0], b=GAMMA[1],
        )  # fmt: skip
    options = {k: v for k, v in PRIORS[name].items() if k != "inputs"}
    return oracles.gaussian_process(x, y, new, inverse_gamma=GAMMA, **options)


@eqx.filter_jit
def _answers(network: Any, head: Any, prior: Any, n: Any, keys: Any) -> Any:
    """Tasks, with the network's log density and probability transform at each query."""

    def one(key: Any) -> Any:
        d = prior.draw(key, n, ROWS, QUERIES)
        law = head.distribution(network(d.x[:ROWS], d.y[:ROWS], jnp.arange(ROWS) < n, d.x[ROWS:]))
        return d.x, d.y, law.log_density(d.y[ROWS:]), law.cdf(d.y[ROWS:])

    return jax.lax.map(one, keys, batch_size=50)


def figures(name: str, fitted: Any) -> dict[str, Any]:
    """Gap and coverage for each number of context rows."""
    keys = jax.random.split(jax.random.key(99), TASKS)
    gaps, inside, exact_inside = {}, [], []
    for n in SIZES:
        found = _answers(fitted.network, fitted.head, prior_of(name), jnp.asarray(n), keys)
        x, y, ours, u = (np.asarray(v, float) for v in found)
        laws = [exact(name, x[k, :n], y[k, :n], x[k, ROWS:]) for k in range(TASKS)]
        theirs = np.array([law.log_density(y[k, ROWS:]) for k, law in enumerate(laws)])
        task = np.mean(theirs - ours, 1)
        gaps[str(n)] = [round(float(task.mean()), 4), round(float(task.std() / TASKS**0.5), 4)]
        inside.append(np.mean((u > 0.025) & (u < 0.975)))
        z = np.array([(y[k, ROWS:] - law.mean) / law.scale for k, law in enumerate(laws)])
        exact_inside.append(np.mean(np.abs(z) < student(laws[0].degrees).ppf(0.975)))
    return {
        "gap and its standard error": gaps,
        "mean gap": round(float(np.mean([g[0] for g in gaps.values()])), 4),
        "coverage of 95 %": round(float(np.mean(inside)), 4),
        "coverage of 95 %, exact": round(float(np.mean(exact_inside)), 4),
        "training": fitted.training,
    }


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(PRIORS))
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--work", type=pathlib.Path, help="a folder for checkpoints")
    options = parser.parse_args()
    for name in options.names:
        network = PFN(
            head=Mixture(8), context=ROWS, queries=12, batch=16, width=48, layers=3,
            fourier=0 if name == "linear" else 8,
        )  # fmt: skip
        fitted = network.fit(
            prior_of(name), key=0, steps=options.steps, learning_rate=2e-3,
            checkpoint=None if options.work is None else options.work / name,
        )  # fmt: skip
        print(name, json.dumps(figures(name, fitted), indent=1), flush=True)


if __name__ == "__main__":
    main()
