"""Cold runs taken apart: import, check, trace, compile, run, for each engine and three models.

Run from the project's root: ``python -m bench.cold [ENGINE ...]``. Every row is a fresh Python
process. Seconds of tracing, lowering and compiling are JAX's own events, of whichever thread;
``programs`` counts what XLA compiled, and ``cpu`` is the processor time of the whole process, which
other work on the machine disturbs least.
"""

from __future__ import annotations

import json
import subprocess
import sys

HEAD = """
import json, time
began = time.perf_counter()
import jax, numpy as np, numpyro, numpyro.distributions as dist
base = time.perf_counter() - began
seconds, count = dict(trace=0.0, lower=0.0, compile=0.0), [0]
def listen(event, duration, **_):
    for part, name in dict(trace="jaxpr_trace", lower="to_mlir", compile="backend_compile").items():
        if name in event:
            seconds[part] += duration
            count[0] += part == "compile"
jax.monitoring.register_event_duration_secs_listener(listen)
rng = np.random.default_rng(0)

def schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("J", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)

def logistic(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

def intercepts(group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("group", 30):
        a = numpyro.sample("a", dist.Normal(mu, tau))
    numpyro.sample("y", dist.StudentT(4, a[group], sigma), obs=y)

SIGMA = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)
Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
MODELS = dict(
    schools=(schools, SIGMA, Y),
    logistic=(logistic, rng.normal(size=(300, 8)).astype("f"), rng.integers(0, 2, 300)),
    intercepts=(intercepts, np.arange(240) % 30, rng.normal(size=240).astype("f")),
)
model, x, y = MODELS["{model}"]
marks = dict(base=base)
def mark(name):
    marks[name] = time.perf_counter() - began
"""

TAIL = """
mark("end")
print("ROW" + json.dumps(dict(marks, **seconds, programs=count[0], cpu=time.process_time())))
"""

PROBINF = """
import probinf as pi
pi.sample, pi.from_numpyro, engine = pi.sample, pi.from_numpyro, pi.{engine}
mark("imported")
program = pi.from_numpyro(model, x, y=y)
from probinf.core.doctor import refuse
refuse(program)
mark("checked")
posterior = pi.sample(program, engine, key=0, progress=False)
str(posterior.summary())
marks["run"] = posterior.provenance["run_seconds"]
"""

NUMPYRO = """
from numpyro.infer import MCMC, NUTS
mark("imported")
mark("checked")
mcmc = MCMC(NUTS(model), num_warmup=1000, num_samples=1000, num_chains=4,
            chain_method="vectorized", progress_bar=False)
mcmc.run(jax.random.key(0), x, y=y)
jax.block_until_ready(mcmc.get_samples())
"""

BLACKJAX = """
import blackjax
from numpyro.infer.util import initialize_model
mark("imported")
mark("checked")
info = initialize_model(jax.random.key(0), model, model_args=(x,), model_kwargs=dict(y=y))
log_density = lambda z: -info.potential_fn(z)
start = info.param_info.z
"""

BLACKJAX_NUTS = """
def chain(key):
    warm, key = jax.random.split(key)
    (state, found), _ = blackjax.window_adaptation(blackjax.nuts, log_density).run(
        warm, start, 1000)
    kernel = blackjax.nuts(log_density, **found)
    step = lambda state, key: (lambda s: (s, s.position))(kernel.step(key, state)[0])
    return jax.lax.scan(step, state, jax.random.split(key, 1000))[1]
jax.block_until_ready(jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(1), 4)))
"""

ENGINES = {
    "NUTS": "NUTS()",
    "MAMS": "MCMC(pi.kernels.MAMS())",
    "ChEES": "ChEES()",
    "ParallelTempering": "ParallelTempering()",
    "SMC": "SMC()",
    "Nested": "Nested()",
}
ROWS = {
    **{name: PROBINF.format(engine=call) for name, call in ENGINES.items()},
    "NumPyro": NUMPYRO,
    "BlackJAX": BLACKJAX + BLACKJAX_NUTS,
}


def main(names: list[str]) -> None:
    """Run every row in a process of its own and print the table."""
    columns = ("base", "import", "check", "trace", "lower", "compile", "run", "total", "cpu")
    print(f"{'':18} {'model':11} {'programs':>8} " + " ".join(f"{c:>8}" for c in columns))
    for name in names or ROWS:
        for model in ("schools", "logistic", "intercepts"):
            code = HEAD.replace("{model}", model) + ROWS[name] + TAIL
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            rows = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
            if not rows:
                print(f"{name:18} {model:11} failed: {out.stderr.strip().splitlines()[-1]}")
                continue
            r = json.loads(rows[0][3:])
            spent = r["trace"] + r["lower"] + r["compile"]
            r["import"], r["check"] = r["imported"] - r["base"], r["checked"] - r["imported"]
            r["total"] = r["end"]
            r.setdefault("run", r["end"] - r["checked"] - spent)
            values = " ".join(f"{r[c]:8.2f}" for c in columns)
            print(f"{name:18} {model:11} {r['programs']:8} {values}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
