"""MCMC against its peers: NumPyro and BlackJAX (window and low-rank adaptation), in one run.

Run from the project's root: ``python -m bench.mcmc [model ...]``. Every row is a fresh process
that imports the library and fits 4 chains of 1,000 + 1,000 transitions twice: cold (imports and
compilation included) and warm (another key, everything compiled). Gradients are counted after the
warm-up. All
libraries get the same NumPyro model; the effective sizes are computed by one function. The last
lines are geometric means over models of ``min bulk ESS / second`` relative to the best peer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np

MODELS = """
import time
began = time.perf_counter()
import jax, jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist

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
        return schools, np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]), y
    if name == "cancer logistic":
        from sklearn.datasets import load_breast_cancer
        x, y = load_breast_cancer(return_X_y=True)
        return logistic, (x - x.mean(0)) / x.std(0), y.astype(float)
    if name == "diabetes horseshoe":
        from sklearn.datasets import load_diabetes
        x, y = load_diabetes(return_X_y=True)
        return horseshoe, (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    if name == "correlated logistic":
        rng = np.random.default_rng(0)
        x = rng.multivariate_normal(np.zeros(25), 0.9 + 0.1 * np.eye(25), size=1000)
        y = rng.random(1000) < 1 / (1 + np.exp(-x @ (0.5 * rng.normal(size=25))))
        return logistic, x, y.astype(float)
    if name == "volatility":
        import statsmodels.api as sm
        cpi = np.asarray(sm.datasets.macrodata.load_pandas().data["cpi"])
        r = np.diff(np.log(cpi))
        r = (r - r.mean()) / r.std()
        return volatility, r, r
    raise SystemExit(f"no model named {name!r}")

model, x, y = problem(NAME)

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
    posterior = pi.sample(pi.from_numpyro(model, x, y=y), {method}, key=key, progress=False)
    return posterior.draws, posterior.stats["evaluations"].sum()
twice(fit)
"""

NUMPYRO = """
from numpyro.infer import MCMC, NUTS
if "{method}" == "parallel":
    numpyro.set_host_device_count(4)
mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=1000, num_chains=4,
            chain_method="{method}", progress_bar=False)
def fit(key):
    mcmc.run(jax.random.key(key), x, y=y, extra_fields=("num_steps",))
    steps = np.asarray(mcmc.get_extra_fields()["num_steps"]).sum()
    return mcmc.get_samples(group_by_chain=True), steps
twice(fit)
"""

BLACKJAX = """
import blackjax
from numpyro.infer.util import initialize_model
info = initialize_model(jax.random.key(0), model, model_args=(x,), model_kwargs=dict(y=y))
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

NAMES = [
    "eight schools", "cancer logistic", "correlated logistic", "diabetes horseshoe", "volatility",
]  # fmt: skip
ENGINES = {
    "probinf NUTS": PROBINF.format(devices=2, method="pi.NUTS()"),
    "probinf NUTS diagonal": PROBINF.format(devices=2, method='pi.NUTS(metric="diagonal")'),
    "probinf ChEES": PROBINF.format(devices=1, method="pi.ChEES()"),
    "NumPyro vectorized": NUMPYRO.format(method="vectorized"),
    "NumPyro parallel": NUMPYRO.format(method="parallel"),
    "BlackJAX window": BLACKJAX.format(warmup="window_adaptation"),
    "BlackJAX low-rank": BLACKJAX.format(warmup="window_adaptation_low_rank"),
}


def row(model: str, engine: str) -> dict[str, float] | None:
    """One process; None when it failed."""
    code = f"NAME = {model!r}\n" + textwrap.dedent(MODELS) + textwrap.dedent(ENGINES[engine])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
    if not lines:
        print(f"{model:20} {engine:22} failed: {out.stderr.strip().splitlines()[-1:]}")
        return None
    return json.loads(lines[0][3:])


def main(names: list[str]) -> None:
    """Print the table and the geometric means."""
    print(
        f"{'model':20} {'engine':22} cold s  warm s  min ESS  R-hat  ESS/1000 grad  "
        "ESS/cold s  ESS/warm s  peak MB"
    )
    ratios: dict[str, list[float]] = {"cold": [], "warm": []}
    for model in names or NAMES:
        rates: dict[str, dict[str, float]] = {"cold": {}, "warm": {}}
        for engine in ENGINES:
            r = row(model, engine)
            if r is None:
                continue
            for kind in rates:
                rates[kind][engine] = r["ess"] / r[kind]
            print(
                f"{model:20} {engine:22} {r['cold']:6.1f} {r['warm']:7.2f} {r['ess']:8.0f} "
                f"{r['r_hat']:6.3f} {1000 * r['ess'] / r['gradients']:14.1f} "
                f"{rates['cold'][engine]:11.0f} {rates['warm'][engine]:11.0f} {r['peak']:8.0f}",
                flush=True,
            )
        for kind, rate in rates.items():
            peers = [v for name, v in rate.items() if not name.startswith("probinf")]
            if peers and "probinf NUTS" in rate:
                ratios[kind].append(rate["probinf NUTS"] / max(peers))
    for kind, found in ratios.items():
        if found:
            mean = np.exp(np.mean(np.log(found)))
            each = ", ".join(f"{r:.2f}" for r in found)
            print(f"probinf NUTS / best peer, ESS per {kind} second: {mean:.2f} ({each})")


if __name__ == "__main__":
    main(sys.argv[1:])
