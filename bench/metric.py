"""The default metric of NUTS against variances alone and the low-rank metric, on many models.

Run from the project's root::

    python -m bench.metric                      # what is missing in the file of results
    python -m bench.metric horseshoe-200 nile   # some models
    python -m bench.metric --table              # print the file, run nothing

Every model is a fresh process: 4 chains of 1,000 + 1,000 transitions for each metric and three
keys. ``worth`` is the smallest bulk effective size of any scalar per 1,000 gradients after the
warm-up, the geometric mean over keys; the last column is that of ``"auto"`` relative to the better
of the other two. The default has to be at least .9 of it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.diagnostics import ess_bulk, rhat
from tests.cases import posteriordb

RESULTS = pathlib.Path("docs/measured/metric.json")
METRICS = ("auto", "diagonal", "low_rank")
KEYS = (0, 1, 2)
_LIMIT = 3000  # seconds of a model

Case = tuple[Callable[..., None], dict[str, Any]]


def normal(name: str, size: int, spread: float = 1.0) -> Any:
    """A vector site of independent normals."""
    return numpyro.sample(name, dist.Normal(0, spread).expand([size]).to_event(1))


def schools(y: Any, sigma: Any) -> None:
    """Eight schools, not centred."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    numpyro.sample("y", dist.Normal(mu + tau * normal("z", 8), sigma), obs=y)


def logistic(x: Any, y: Any) -> None:
    """Regression of a class."""
    numpyro.sample("y", dist.Bernoulli(logits=x @ normal("beta", x.shape[1])), obs=y)


def robust(x: Any, y: Any) -> None:
    """Regression with Student-t noise."""
    beta = normal("beta", x.shape[1], 5.0)
    nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(1))
    numpyro.sample("y", dist.StudentT(nu, x @ beta, sigma), obs=y)


def horseshoe(x: Any, y: Any) -> None:
    """The regularised horseshoe of Piironen & Vehtari (2017)."""
    p = x.shape[1]
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    slab = numpyro.sample("slab", dist.InverseGamma(2.0, 8.0))
    local = numpyro.sample("local", dist.HalfCauchy(jnp.ones(p)).to_event(1))
    width = tau * local * jnp.sqrt(slab / (slab + (tau * local) ** 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    numpyro.sample("y", dist.Normal(x @ (normal("z", p) * width), sigma), obs=y)


def slopes(x: Any, group: Any, y: Any) -> None:
    """Correlated intercepts and slopes of twenty groups."""
    mu, tau = normal("mu", 2, 5.0), numpyro.sample("tau", dist.HalfNormal(jnp.full(2, 2.0)))
    root = numpyro.sample("root", dist.LKJCholesky(2, 2.0))
    with numpyro.plate("groups", 20):
        z = normal("z", 2)
    beta = mu + z @ (tau[:, None] * root).T
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    numpyro.sample("y", dist.Normal(beta[group, 0] + beta[group, 1] * x, sigma), obs=y)


def level(y: Any) -> None:
    """A local level, as of the Nile's flow, by its innovations."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    step = numpyro.sample("step", dist.HalfNormal(1))
    start = numpyro.sample("start", dist.Normal(0, 2))
    numpyro.sample("y", dist.Normal(start + jnp.cumsum(step * normal("z", 100)), sigma), obs=y)


def volatility(y: Any) -> None:
    """Returns with a volatility that walks."""
    step = numpyro.sample("step", dist.Exponential(10.0))
    h = numpyro.sample("h", dist.GaussianRandomWalk(1.0, num_steps=y.shape[0]))
    numpyro.sample("y", dist.StudentT(5.0, 0.0, jnp.exp(step * h)), obs=y)


def funnel() -> None:
    """Neal's funnel, narrower."""
    v = numpyro.sample("v", dist.Normal(0, 1.5))
    numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)).expand([9]).to_event(1))


def process(x: Any, y: Any) -> None:
    """Counts with a Gaussian process for their logarithm."""
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    height = numpyro.sample("height", dist.HalfNormal(1))
    cover = height**2 * jnp.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-4 * jnp.eye(len(x))
    f = 1 + jnp.linalg.cholesky(cover) @ normal("z", len(x))
    numpyro.sample("y", dist.Poisson(jnp.exp(f)), obs=y)


def items(person: Any, item: Any, y: Any) -> None:
    """Two-parameter item response."""
    slope = numpyro.sample("slope", dist.LogNormal(jnp.zeros(20), 0.5).to_event(1))
    hard, able = normal("hard", 20), normal("able", 60)
    numpyro.sample("y", dist.Bernoulli(logits=slope[item] * (able[person] - hard[item])), obs=y)


def _schools(g: np.random.Generator) -> Case:
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    return schools, {"y": y, "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])}


def _cancer(g: np.random.Generator) -> Case:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return logistic, {"x": (x - x.mean(0)) / x.std(0), "y": y.astype(float)}


def _correlated(g: np.random.Generator) -> Case:
    x = g.multivariate_normal(np.zeros(25), 0.9 + 0.1 * np.eye(25), size=1000)
    p = 1 / (1 + np.exp(-x @ (0.5 * g.normal(size=25))))
    return logistic, {"x": x, "y": (g.random(1000) < p).astype(float)}


def _robust(g: np.random.Generator) -> Case:
    x = g.normal(size=(150, 8))
    return robust, {"x": x, "y": x @ g.normal(size=8) + g.standard_t(3, size=150)}


def _horseshoe(p: int) -> Callable[[np.random.Generator], Case]:
    def case(g: np.random.Generator) -> Case:
        n, beta = min(p, 100), np.zeros(p)
        beta[:5] = [3, -2, 2, 1.5, -1]
        x = g.normal(size=(n, p))
        return horseshoe, {"x": x, "y": x @ beta + g.normal(size=n)}

    return case


def _slopes(g: np.random.Generator) -> Case:
    group, x = np.repeat(np.arange(20), 10), g.normal(size=200)
    beta = np.array([1.0, 0.5]) + g.normal(size=(20, 2)) @ np.array([[1.0, 0.3], [0, 0.6]])
    y = beta[group, 0] + beta[group, 1] * x + g.normal(size=200)
    return slopes, {"x": x, "group": group, "y": y}


def _level(g: np.random.Generator) -> Case:
    y = np.cumsum(0.4 * g.normal(size=100)) + 0.8 * g.normal(size=100)
    return level, {"y": (y - y.mean()) / y.std()}


def _volatility(g: np.random.Generator) -> Case:
    y = np.exp(np.cumsum(0.15 * g.normal(size=203))) * g.standard_t(5, size=203)
    return volatility, {"y": y / y.std()}


def _process(g: np.random.Generator) -> Case:
    x = np.linspace(0, 5, 40)
    return process, {"x": x, "y": g.poisson(np.exp(1 + np.sin(2 * x)))}


def _items(g: np.random.Generator) -> Case:
    able, hard = g.normal(size=60), g.normal(size=20)
    person, item = (part.ravel() for part in np.meshgrid(range(60), range(20), indexing="ij"))
    p = 1 / (1 + np.exp(hard[item] - able[person]))
    return items, {"person": person, "item": item, "y": (g.random(1200) < p).astype(float)}


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "schools": _schools,
    "cancer": _cancer,
    "correlated logistic": _correlated,
    "robust regression": _robust,
    "horseshoe-60": _horseshoe(60),
    "horseshoe-200": _horseshoe(200),
    "slopes": _slopes,
    "level": _level,
    "volatility": _volatility,
    "funnel": lambda g: (funnel, {}),
    "process": _process,
    "items": _items,
}
REFERENCES = (
    "arK-arK", "kidiq-kidscore_interaction", "mesquite-logmesquite", "sblrc-blr",
)  # fmt: skip


def case_of(name: str) -> Case:
    """A model and its data; those of posteriordb need the reference data beside the checkout."""
    if name in CASES:
        return CASES[name](np.random.default_rng(3))
    folder = posteriordb.find_folder()
    for case in posteriordb.cases(folder) if folder is not None else ():
        if case.name == name:
            return case.model, case.kwargs
    raise SystemExit(f"no model named {name!r}")


def measured(name: str) -> dict[str, Any]:
    """Rows of one model, by metric."""
    pi.use_cpu_devices()
    model, data = case_of(name)
    program, rows = pi.from_numpyro(model, **data), {}
    for metric in METRICS:
        found = []
        for key in KEYS:
            run = pi.sample(program, pi.NUTS(metric=metric), key=key, progress=False)
            draws = [np.asarray(v) for v in run.draws.values()]
            ess = min(float(np.nanmin(ess_bulk(v))) for v in draws)
            gradients = int(run.stats["evaluations"].sum())
            found.append(
                {
                    "ess": ess,
                    "worth": 1000 * ess / gradients,
                    "divergent": int(run.stats["divergent"].sum()),
                    "r_hat": max(float(np.nanmax(rhat(v))) for v in draws),
                    "chosen": run.provenance.get("metric", metric).split(":")[0],
                }
            )
        rows[metric] = found
    return rows


def mean(rows: list[dict[str, Any]]) -> float:
    """Geometric mean of the worths over keys."""
    return float(np.exp(np.mean([np.log(row["worth"]) for row in rows])))


def table(known: dict[str, Any]) -> list[str]:
    """The rows as text."""
    lines = [f"{'model':28} {'worth: auto':>12} {'diagonal':>9} {'low-rank':>9} {'ratio':>6}"]
    lines[0] += "   divergent (auto, diagonal, low-rank)   R-hat (same)"
    for name, rows in known.items():
        worth = [mean(rows[m]) for m in METRICS]
        ratio = worth[0] / max(worth[1:])
        apart = [round(np.mean([r["divergent"] for r in rows[m]]), 1) for m in METRICS]
        hats = ", ".join(f"{max(r['r_hat'] for r in rows[m]):.3f}" for m in METRICS)
        lines.append(
            f"{name:28} {worth[0]:12.2f} {worth[1]:9.2f} {worth[2]:9.2f} {ratio:6.2f}   "
            f"{', '.join(map(str, apart)):36} {hats}"
        )
    return lines


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=[*CASES, *REFERENCES])
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the file, run nothing")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print("ROW" + json.dumps(measured(options.models[0])))
        return
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.models:
        if name in known or options.table:
            continue
        command = [sys.executable, "-m", "bench.metric", name, "--one"]
        try:
            out = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{name}: not done after {_LIMIT} s")
            continue
        lines = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
        if not lines:
            print(f"{name} failed: {out.stderr.strip().splitlines()[-1:]}")
            continue
        known[name] = json.loads(lines[0][3:])
        options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        print(table({name: known[name]})[1], flush=True)
    print("\n".join(table(known)))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
