"""Peak memory of a long chain in many dimensions, relative to the draws that are kept.

Run from the project's root: ``python -m bench.memory [dimensions] [draws per chain]``; by default
2,000 dimensions and 4 chains of 5,000 draws. Every row is a process of its own. It first makes a
short run, which compiles everything, and then the long one: the figure is how much the peak of
resident memory rose from the one to the other, divided by the bytes of the draws (float32, as
they are in ``posterior.draws``). The last rows keep a single site, or only a summary.
"""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, resource, sys, tempfile, time
import jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist
import probinf as pi
D, N, CHECKPOINT, OPTIONS = json.loads(sys.argv[1])

def model(scale):
    numpyro.sample("x", dist.Normal(0, scale).to_event(1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))

program = pi.from_numpyro(model, np.geomspace(0.1, 10, D))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def fit(draws, folder):
    more = {"checkpoint": folder + "/run"} if CHECKPOINT else {}
    method = pi.MCMC(pi.kernels.HMC(steps=3), chains=4, warmup=200, draws=draws)
    return pi.sample(program, method, key=0, progress=False, check=False, **more, **OPTIONS)
with tempfile.TemporaryDirectory() as folder:
    fit(300, folder)
before, began = peak(), time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    posterior = fit(N, folder)
    held = sum(v.nbytes for v in posterior.draws.values())
    print("ROW" + json.dumps(dict(
        seconds=time.perf_counter() - began, rise=peak() - before, held=held, peak=peak(),
        estimate=posterior.provenance["memory_estimate_mb"])))
"""

ROWS = {
    "everything": (False, {}),
    "everything, checkpoint": (True, {}),
    'keep="tau"': (False, {"keep": "tau"}),
    'keep="tau", checkpoint': (True, {"keep": "tau"}),
    "summaries_only": (False, {"summaries_only": True}),
    "summaries_only, checkpoint": (True, {"summaries_only": True}),
}


def main(dimensions: int = 2000, draws: int = 5000) -> None:
    """Print the table."""
    whole = 4 * dimensions * 4 * draws
    print(f"{dimensions} dimensions, 4 x {draws} draws: {whole / 1e6:.0f} MB of draws")
    print(f"{'':28}{'rise MB':>10}{'/ draws':>10}{'kept MB':>10}{'told MB':>10}{'seconds':>10}")
    for name, (checkpoint, options) in ROWS.items():
        task = json.dumps([dimensions, draws, checkpoint, options])
        out = subprocess.run(
            [sys.executable, "-c", SCRIPT, task], capture_output=True, text=True, check=False
        )
        lines = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
        if not lines:
            print(f"{name:28}failed: {out.stderr.strip().splitlines()[-1:]}")
            continue
        row = json.loads(lines[0][3:])
        print(
            f"{name:28}{row['rise'] / 1e6:10.1f}{row['rise'] / whole:10.2f}"
            f"{row['held'] / 1e6:10.1f}{row['estimate']:10.1f}{row['seconds']:10.1f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
