"""Weak scaling over devices and processes, and rows of one plate over devices.

Run from the project's root, on a machine with two idle cores:
``python -m bench.scale [islands] [chains] [rows] [COUNT]``; all three by default, with 2,000,000
rows. Every figure is of a process of its own that is bound to the cores it may use. Weak scaling is
the time of k replicas on one core over that of 2 k replicas on two, as two devices of one process
and as two processes apart; 1 is perfect. On a busy machine the clock tells little: then ratios of
processor seconds say what spreading costs, and the control what anything else would reach. Rows:
seconds of one gradient of a logistic regression with 20 columns, as NumPyro's model on one device
with two cores and with one, and by ``pi.shard_data``. Compilation is left out; of nine runs (forty
gradients) the fastest counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

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
    "islands": pi.SMC(
        particles=1000, islands=count, moves=5, schedule=tuple(np.linspace(0, 1, 13) ** 3)
    ),
    "chains": pi.NUTS(chains=count, warmup=500, draws=1500),
}[TASK["what"]]
told = dict(progress=False, check=False, precision="single")
pi.sample(program, method, key=TASK["key"], **told)
seconds, processor = [], []
for _ in range(9):
    began = time.process_time()
    posterior = pi.sample(program, method, key=TASK["key"], **told)
    processor.append(time.process_time() - began)
    seconds.append(posterior.provenance["run_seconds"])
print("ROW" + json.dumps([min(seconds), min(processor)]))
"""

CONTROL = """
seconds, processor = [], []
for _ in range(9):
    began = time.perf_counter(), time.process_time()
    sum(k * k for k in range(3_000_000))
    seconds.append(time.perf_counter() - began[0])
    processor.append(time.process_time() - began[1])
print("ROW" + json.dumps([min(seconds), min(processor)]))
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


def told(process: subprocess.Popen[str]) -> Any:
    """The figures that it prints."""
    lines = [line for line in process.communicate()[0].splitlines() if line.startswith("ROW")]
    return json.loads(lines[0][3:])


def weak(what: str) -> None:
    """Replicas on one core, and twice as many on two: by the clock, and by processor seconds."""
    k = 2
    one = told(begun(REPLICAS, "0", 1, what=what, count=k, key=0))
    devices = told(begun(REPLICAS, "0,1", 2, what=what, count=2 * k, key=0))
    apart = _both(REPLICAS, what=what, count=k)
    print(f"{what}, weak scaling by the clock, and by processor seconds")
    for name, (seconds, processor), copies in (
        (f"{2 * k} on two devices of one process", devices, 2),
        (f"{k} in each of two processes", apart, 1),
    ):
        ratios = one[0] / seconds, copies * one[1] / processor
        print(f"  {name:36}{ratios[0]:7.2f}{ratios[1]:7.2f}   ({seconds:.2f} s)", flush=True)


def control() -> None:
    """What a loop in Python makes of two cores: 1 where they are idle otherwise."""
    one, both = told(begun(CONTROL, "0", 1)), _both(CONTROL)
    print(f"control, two loops of Python            {one[0] / both[0]:5.2f}{one[1] / both[1]:7.2f}")


def _both(body: str, **task: Any) -> tuple[float, float]:
    """The slower one of two processes, each on a core of its own."""
    found = [told(p) for p in [begun(body, str(c), 1, key=0, **task) for c in (0, 1)]]
    return max(v[0] for v in found), max(v[1] for v in found)


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
    if names != ["rows"]:
        control()
    for name in names:
        if name == "rows":
            rows(count)
        else:
            weak(name)


if __name__ == "__main__":
    main(sys.argv[1:])
