"""Weak scaling over devices and processes, and rows of one plate over devices.

Run from the project's root, on a machine with two idle cores:
``python -m bench.scale [islands] [chains] [rows] [COUNT]``; all three by default, with 2,000,000
rows. Every figure is of a process of its own that is bound to the cores it may use. Weak scaling is
the time of k replicas on one core over that of 2 k replicas on two, as two devices of one process
and as two processes apart; 1 is perfect. Rows: seconds of one gradient of a logistic regression
with 20 columns, as NumPyro's model on one device with two cores and with one, and by
``pi.shard_data``. Compilation is left out; of nine runs (forty gradients) the fastest counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

HEAD = """
import json, os, sys, time
import jax, jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist
import probinf as pi
TASK = json.loads(sys.argv[1])
rng = np.random.default_rng(0)

def logistic(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)

def data(rows, columns):
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    return x, (rng.random(rows) < 1 / (1 + np.exp(-x @ np.linspace(-1, 1, columns)))).astype(int)
"""

REPLICAS = """
x, y = data(500, 10)
program, count = pi.from_numpyro(logistic, x, y=y), TASK["count"]
method = {
    "islands": pi.SMC(particles=1000, islands=count),
    "chains": pi.NUTS(chains=count, warmup=500, draws=1500),
}[TASK["what"]]
told = dict(progress=False, check=False, precision="single")
seconds = [
    pi.sample(program, method, key=TASK["key"], **told).provenance["run_seconds"] for _ in range(9)
]
print("ROW" + json.dumps(min(seconds)))
"""

ROWS = """
x, y = data(TASK["rows"], 20)
program = pi.from_numpyro(logistic, x, y=y)
if TASK["blocks"] is not None:
    program = pi.shard_data(program, "row", blocks=TASK["blocks"] or None, check=False)
from probinf.core.rows import placed
gradient = jax.jit(jax.grad(lambda x, data: sum(program.score(x, data))))
at, here = {"beta": jnp.zeros(20)}, placed(program.data)
jax.block_until_ready(gradient(at, here))
seconds = []
for _ in range(40):
    began = time.perf_counter()
    jax.block_until_ready(gradient(at, here))
    seconds.append(time.perf_counter() - began)
print("ROW" + json.dumps(min(seconds)))
"""


def begun(body: str, cores: str, devices: int, **task: object) -> subprocess.Popen[str]:
    """A process bound to these cores."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        ["taskset", "-c", cores, sys.executable, "-c", HEAD + body, json.dumps(task)],
        env={**os.environ, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> float:
    """The figure that it prints."""
    lines = [line for line in process.communicate()[0].splitlines() if line.startswith("ROW")]
    return float(json.loads(lines[0][3:]))


def weak(what: str) -> None:
    """Replicas on one core, and twice as many on two."""
    k = 2
    one = told(begun(REPLICAS, "0", 1, what=what, count=k, key=0))
    devices = told(begun(REPLICAS, "0,1", 2, what=what, count=2 * k, key=0))
    apart = [begun(REPLICAS, str(c), 1, what=what, count=k, key=c) for c in (0, 1)]
    processes = max(map(told, apart))
    print(f"{what}: {k} on one core {one:.2f} s; {2 * k} on two devices {devices:.2f} s, weak "
          f"scaling {one / devices:.2f}; {k} in each of two processes {processes:.2f} s, "
          f"{one / processes:.2f}", flush=True)  # fmt: skip


def rows(count: int) -> None:
    """One gradient, in milliseconds."""
    found = {
        "one device, two cores": told(begun(ROWS, "0,1", 1, rows=count, blocks=None)),
        "one device, one core": told(begun(ROWS, "0", 1, rows=count, blocks=None)),
        "one device, one core, shard_data": told(begun(ROWS, "0", 1, rows=count, blocks=0)),
        "two devices, shard_data": told(begun(ROWS, "0,1", 2, rows=count, blocks=0)),
        "two devices, shard_data(blocks=8)": told(begun(ROWS, "0,1", 2, rows=count, blocks=8)),
    }
    base = found["one device, two cores"]
    print(f"{count} rows, 20 columns, one gradient")
    for name, seconds in found.items():
        print(f"  {name:36}{1e3 * seconds:9.1f} ms{seconds / base:7.2f}", flush=True)


def main(arguments: list[str]) -> None:
    """Print the rows that are asked for."""
    names = [a for a in arguments if not a.isdigit()] or ["islands", "chains", "rows"]
    count = next((int(a) for a in arguments if a.isdigit()), 2_000_000)
    for name in names:
        if name == "rows":
            rows(count)
        else:
            weak(name)


if __name__ == "__main__":
    main(sys.argv[1:])
