"""Cold start to summary: probinf against NumPyro and BlackJAX on eight schools, in one run.

Run from the project's root: ``python -m bench.nuts``. Every row is a fresh Python process that
imports the library, samples 4 chains of 1,000 + 1,000 transitions and prints a summary; the
second fit on new data of the same shape is timed inside the same process. The rows with a cache are
the second process of two that share ``pi.use_compilation_cache``. ``--repeat N`` prints N tables,
and with N > 1 the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import textwrap

MODEL = """
import time
began = time.perf_counter()
import jax, numpy as np, numpyro, numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS
SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])

def schools(J, sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("J", J):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)

def report(draws, first, second, text):
    import json
    from probinf.diagnostics import ess_bulk
    ess = min(float(np.min(ess_bulk(np.asarray(v)))) for v in draws.values())
    print("ROW" + json.dumps(dict(total=first, second=second, ess=ess, text=text)))
"""

PROBINF = """
import probinf as pi
if {devices} > 1:
    pi.use_cpu_devices({devices})
if "{folder}":
    pi.use_compilation_cache("{folder}")
def fit(y, key):
    posterior = pi.sample(pi.from_numpyro(schools, 8, SIGMA, y=y), key=key, progress=False)
    str(posterior.summary())
    return posterior
posterior = fit(Y, 0)
first = time.perf_counter() - began
again = time.perf_counter()
other = fit(Y + 1, 1)
second = time.perf_counter() - again
overhead = second - other.provenance["run_seconds"]
compiled = posterior.provenance["compile_seconds"]
text = f"compile {{compiled:.1f}} s; second fit's overhead beside sampling {{overhead:.2f}} s"
report(posterior.draws, first, second, text)
"""

NUMPYRO = """
import contextlib, io
if {devices} > 1:
    numpyro.set_host_device_count({devices})
def fit(y, key):
    mcmc = MCMC(NUTS(schools), num_warmup=1000, num_samples=1000, num_chains=4,
                chain_method="{method}", progress_bar=False)
    mcmc.run(jax.random.key(key), 8, SIGMA, y=y)
    draws = mcmc.get_samples(group_by_chain=True)
    with contextlib.redirect_stdout(io.StringIO()):
        mcmc.print_summary()
    return draws
draws = fit(Y, 0)
first = time.perf_counter() - began
again = time.perf_counter()
fit(Y + 1, 1)
second = time.perf_counter() - again
report(draws, first, second, "{method} chains")
"""

BLACKJAX = """
import blackjax
from numpyro.infer.util import initialize_model
import arviz_stats
from arviz_stats.base import array_stats
def fit(y, key):
    key = jax.random.key(key)
    info = initialize_model(key, schools, model_args=(8, SIGMA), model_kwargs=dict(y=y))
    logdensity = lambda x: -info.potential_fn(x)
    start = info.param_info.z
    def chain(key):
        warm_key, key = jax.random.split(key)
        warmup = blackjax.window_adaptation(blackjax.nuts, logdensity)
        (state, parameters), _ = warmup.run(warm_key, start, 1000)
        kernel = blackjax.nuts(logdensity, **parameters)
        def one(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position
        _, positions = jax.lax.scan(one, state, jax.random.split(key, 1000))
        return jax.vmap(info.postprocess_fn)(positions)
    draws = jax.jit(jax.vmap(chain))(jax.random.split(key, 4))
    draws = {{k: np.asarray(v) for k, v in draws.items()}}
    for value in draws.values():
        array_stats.ess(value, chain_axis=0, draw_axis=1)
        array_stats.rhat(value, chain_axis=0, draw_axis=1)
    return draws
draws = fit(Y, 0)
first = time.perf_counter() - began
again = time.perf_counter()
fit(Y + 1, 1)
second = time.perf_counter() - again
report(draws, first, second, "window adaptation, vmap")
"""

ROWS = {
    "probinf, 1 device": PROBINF.format(devices=1, folder=""),
    "probinf, 2 devices": PROBINF.format(devices=2, folder=""),
    "NumPyro, sequential": NUMPYRO.format(devices=1, method="sequential"),
    "NumPyro, vectorized": NUMPYRO.format(devices=1, method="vectorized"),
    "NumPyro, parallel on 4 devices": NUMPYRO.format(devices=4, method="parallel"),
    "BlackJAX": BLACKJAX.format(),
}


def timed(name: str, body: str) -> dict[str, float]:
    """What a fresh process of one row reports; empty where it failed, which is printed."""
    code = textwrap.dedent(MODEL) + textwrap.dedent(body)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
    if not lines:
        print(f"{name}: failed\n{out.stderr[-800:]}")
        return {}
    return json.loads(lines[0][3:])


def table() -> dict[str, float]:
    """Run every row in a process of its own and print the table; the ratios to NumPyro's best."""
    found = {name: timed(name, body) for name, body in ROWS.items()}
    for devices in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            name = f"probinf, {devices} device{'s' * (devices > 1)}, cached"
            body = PROBINF.format(devices=devices, folder=folder)
            timed(name, body)
            found[name] = timed(name, body)
    found = {name: row for name, row in found.items() if row}
    best = min(r["total"] for n, r in found.items() if n.startswith("NumPyro"))
    print(f"{'':32} cold s  vs NumPyro  2nd fit s  min bulk ESS  ESS / cold s")
    for name, r in found.items():
        print(
            f"{name:32} {r['total']:6.1f} {r['total'] / best:11.2f} {r['second']:10.2f} "
            f"{r['ess']:13.0f} {r['ess'] / r['total']:13.0f}   {r['text']}",
            flush=True,
        )
    return {name: row["total"] / best for name, row in found.items()}


def main() -> None:
    """Print the tables, and the medians of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=1)
    tables = [table() for _ in range(parser.parse_args().repeat)]
    if len(tables) > 1:
        for name in tables[0]:
            ratios = [t[name] for t in tables if name in t]
            print(f"{name:32} median of {len(ratios)} ratios {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
