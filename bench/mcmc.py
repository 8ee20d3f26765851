"""MCMC against its peers, in one run: NumPyro, BlackJAX and nutpie.

Run from the project's root, with the peers installed (``pip install nutpie statsmodels``)::

    python -m bench.mcmc "eight schools" volatility
    python -m bench.mcmc posteriordb:arK-arK --engines "probinf NUTS" "NumPyro parallel"
    python -m bench.mcmc --table

Every row is a fresh process that imports the library and fits 4 chains of 1,000 + 1,000
transitions twice: cold (imports and compilation included) and warm (another key, everything
compiled). A row that the file of results holds already is not run again. Gradients are counted
after the warm-up. All libraries get the same NumPyro model, in double precision where it comes
from posteriordb; the effective sizes are computed by one function. The last lines are geometric
means over models of ``min bulk ESS / second`` relative to the best peer.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np

RESULTS = pathlib.Path("docs/measured/mcmc.json")
_LIMIT = 900  # seconds of a row

MODELS = """
import time
began = time.perf_counter()
import jax
if NAME.startswith("posteriordb:"):
    jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist

def schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("J", 8):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)

def logistic(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)

def horseshoe(x, y=None):
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    with numpyro.plate("feature", x.shape[1]):
        local = numpyro.sample("local", dist.HalfCauchy(1))
        z = numpyro.sample("z", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(x @ (z * tau * local), sigma), obs=y)

def volatility(r, y=None):
    step = numpyro.sample("step", dist.Exponential(10.0))
    h = numpyro.sample("h", dist.GaussianRandomWalk(1.0, num_steps=r.shape[0]))
    numpyro.sample("y", dist.StudentT(5.0, 0.0, jnp.exp(step * h)), obs=y)

def problem(name):
    if name == "eight schools":
        y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
        sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
        return schools, dict(sigma=sigma, y=y)
    if name == "cancer logistic":
        from sklearn.datasets import load_breast_cancer
        x, y = load_breast_cancer(return_X_y=True)
        return logistic, dict(x=(x - x.mean(0)) / x.std(0), y=y.astype(float))
    if name == "diabetes horseshoe":
        from sklearn.datasets import load_diabetes
        x, y = load_diabetes(return_X_y=True)
        return horseshoe, dict(x=(x - x.mean(0)) / x.std(0), y=(y - y.mean()) / y.std())
    if name == "correlated logistic":
        rng = np.random.default_rng(0)
        x = rng.multivariate_normal(np.zeros(25), 0.9 + 0.1 * np.eye(25), size=1000)
        y = rng.random(1000) < 1 / (1 + np.exp(-x @ (0.5 * rng.normal(size=25))))
        return logistic, dict(x=x, y=y.astype(float))
    if name == "volatility":
        import statsmodels.api as sm
        cpi = np.asarray(sm.datasets.macrodata.load_pandas().data["cpi"])
        r = np.diff(np.log(cpi))
        r = (r - r.mean()) / r.std()
        return volatility, dict(r=r, y=r)
    if name.startswith("posteriordb:"):
        from tests.cases import posteriordb
        for case in posteriordb.cases(posteriordb.find_folder()):
            if case.name == name.removeprefix("posteriordb:"):
                return case.model, case.kwargs
    raise SystemExit(f"no model named {name!r}")

model, data = problem(NAME)

def report(draws, cold, warm, gradients):
    import json, resource
    from probinf.diagnostics import ess_bulk, rhat
    values = {k: np.asarray(v) for k, v in draws.items()}
    ess = min(float(np.min(ess_bulk(v))) for v in values.values())
    r_hat = max(float(np.max(rhat(v))) for v in values.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ROW" + json.dumps(dict(cold=cold, warm=warm, ess=ess, gradients=int(gradients),
                                  r_hat=r_hat, peak=peak)))

def twice(fit):
    draws, gradients = fit(0)
    cold = time.perf_counter() - began
    again = time.perf_counter()
    fit(1)
    report(draws, cold, time.perf_counter() - again, gradients)
"""

PROBINF = """
import probinf as pi
if {devices} > 1:
    pi.use_cpu_devices({devices})
def fit(key):
    posterior = pi.sample(pi.from_numpyro(model, **data), {method}, key=key, progress=False)
    return posterior.draws, posterior.stats["evaluations"].sum()
twice(fit)
"""

NUMPYRO = """
from numpyro.infer import MCMC, NUTS
if "{method}" == "parallel":
    numpyro.set_host_device_count(4)
mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=1000, num_chains=4,
            chain_method="{method}", progress_bar=False,
            jit_model_args=not NAME.startswith("posteriordb:"))  # whose sizes must be static
def fit(key):
    mcmc.run(jax.random.key(key), **data, extra_fields=("num_steps",))
    steps = np.asarray(mcmc.get_extra_fields()["num_steps"]).sum()
    return mcmc.get_samples(group_by_chain=True), steps
twice(fit)
"""

BLACKJAX = """
import blackjax
from numpyro.infer.util import initialize_model
info = initialize_model(jax.random.key(0), model, model_kwargs=data)
logdensity = lambda z: -info.potential_fn(z)
@jax.jit
@jax.vmap
def chains(key):
    warm_key, key = jax.random.split(key)
    warmup = blackjax.{warmup}(blackjax.nuts, logdensity)
    (state, parameters), _ = warmup.run(warm_key, info.param_info.z, 1000)
    kernel = blackjax.nuts(logdensity, **parameters)
    def one(state, key):
        state, report = kernel.step(key, state)
        return state, (state.position, report.num_integration_steps)
    _, (positions, steps) = jax.lax.scan(one, state, jax.random.split(key, 1000))
    return jax.vmap(info.postprocess_fn)(positions), steps
def fit(key):
    draws, steps = chains(jax.random.split(jax.random.key(key), 4))
    return {{k: np.asarray(v) for k, v in draws.items()}}, np.asarray(steps).sum()
twice(fit)
"""

NUTPIE = """
import nutpie
from jax.flatten_util import ravel_pytree
from nutpie.compiled_pyfunc import from_pyfunc
from numpyro.infer.util import initialize_model
info = initialize_model(jax.random.key(0), model, model_kwargs=data)
start, unravel = ravel_pytree(info.param_info.z)
both = jax.jit(jax.value_and_grad(lambda v: -info.potential_fn(unravel(v))))
def make_logp():
    def logp(v):
        value, slope = both(v.astype(start.dtype))
        return float(value), np.asarray(slope, np.float64)
    return logp
def make_expand(*_):
    return lambda v: {{"v": np.asarray(v, np.float64)}}
compiled = from_pyfunc(
    start.size, make_logp, make_expand, [np.dtype("float64")], [(start.size,)], ["v"]
)
constrain = jax.jit(jax.vmap(jax.vmap(lambda v: info.postprocess_fn(unravel(v)))))
def fit(key):
    found = nutpie.sample(compiled, draws=1000, tune=1000, chains=4, seed=key,
                          progress_bar=False, low_rank_modified_mass_matrix={low_rank})
    draws = constrain(jnp.asarray(found.posterior["v"].values, start.dtype))
    return draws, found.sample_stats["n_steps"].values.sum()
twice(fit)
"""

NAMES = [
    "eight schools", "cancer logistic", "correlated logistic", "diabetes horseshoe", "volatility",
]  # fmt: skip
CORES = len(os.sched_getaffinity(0))
ENGINES = {
    "probinf NUTS": PROBINF.format(devices=CORES, method="pi.NUTS()"),
    "probinf NUTS diagonal": PROBINF.format(devices=CORES, method='pi.NUTS(metric="diagonal")'),
    "probinf ChEES": PROBINF.format(devices=1, method="pi.ChEES()"),
    "NumPyro vectorized": NUMPYRO.format(method="vectorized"),
    "NumPyro parallel": NUMPYRO.format(method="parallel"),
    "BlackJAX window": BLACKJAX.format(warmup="window_adaptation"),
    "BlackJAX low-rank": BLACKJAX.format(warmup="window_adaptation_low_rank"),
    "nutpie": NUTPIE.format(low_rank=False),
    "nutpie low-rank": NUTPIE.format(low_rank=True),
}


def row(model: str, engine: str) -> dict[str, Any] | None:
    """One process; None when it failed."""
    code = f"NAME = {model!r}\n" + textwrap.dedent(MODELS) + textwrap.dedent(ENGINES[engine])
    try:
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired:
        print(f"{model:32} {engine:22} not done after {_LIMIT} s")
        return None
    lines = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
    if not lines:
        print(f"{model:32} {engine:22} failed: {out.stderr.strip().splitlines()[-1:]}")
        return None
    return json.loads(lines[0][3:])


def line(model: str, engine: str, r: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"{model:32} {engine:22} {r['cold']:6.1f} {r['warm']:7.2f} {r['ess']:8.0f} "
        f"{r['r_hat']:6.3f} {1000 * r['ess'] / r['gradients']:14.1f} "
        f"{r['ess'] / r['cold']:11.0f} {r['ess'] / r['warm']:11.0f} {r['peak']:8.0f}"
    )


def ratios(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Our default against the best peer: ESS per second, and its geometric mean over models."""
    lines = []
    models = sorted({key.split(" | ")[0] for key in rows})
    for kind in ("cold", "warm"):
        found = {}
        for model in models:
            rate = {e: r["ess"] / r[kind] for e in ENGINES if (r := rows.get(f"{model} | {e}"))}
            peers = [v for name, v in rate.items() if not name.startswith("probinf")]
            if peers and "probinf NUTS" in rate:
                found[model] = rate["probinf NUTS"] / max(peers)
        if found:
            mean = np.exp(np.mean(np.log(list(found.values()))))
            each = ", ".join(f"{name} {r:.2f}" for name, r in found.items())
            lines.append(f"probinf NUTS / best peer, ESS per {kind} second: {mean:.2f} ({each})")
    return lines


def main() -> None:
    """Measure what is missing, and print the table and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=NAMES)
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the file, run nothing")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    print(
        f"{'model':32} {'engine':22} cold s  warm s  min ESS  R-hat  ESS/1000 grad  "
        "ESS/cold s  ESS/warm s  peak MB"
    )
    for model in options.models:
        for engine in options.engines:
            key = f"{model} | {engine}"
            if key not in known["rows"] and not options.table:
                found = row(model, engine)
                if found is None:
                    continue
                found |= {"date": datetime.date.today().isoformat(), "cores": CORES}
                known["rows"][key] = found
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            if key in known["rows"]:
                print(line(model, engine, known["rows"][key]), flush=True)
    print("\n".join(ratios(known["rows"])))


if __name__ == "__main__":
    main()
