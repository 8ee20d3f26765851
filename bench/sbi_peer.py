"""NPE beside that of the package sbi, from the same finished simulations, in one run.

    python -m bench.sbi_peer --peer FOLDER/bin/python [--tasks two_moons] [--simulations 2000]

``--peer`` is the Python of an environment with sbi and PyTorch, which need not be this one. Both
learn from one table of simulations with one thread of their own library, each as its authors ship
it (sbi: masked autoregressive or spline flow, early stopping; here: the default of `NPE`), give
4,000 draws for each observation, and are scored by one classifier against the reference draws
(C2ST, .5 at best). Seconds are those of training and of drawing, processor time beside the wall's:
other work on the machine does not lengthen it. Written to ``docs/measured/sbi_peer.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

import probinf as pi
from bench.recording import record
from bench.sbibm import PUBLISHED, ROWS, equally_weighted, table
from probinf.amortized import NPE
from tests.cases import sbibm

PEER = """
import json, sys, time, warnings
import numpy as np, torch, sbi
from sbi.inference import NPE
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
path, flow, task = sys.argv[1:4]
given = np.load(path + "/given.npz")
as_tensor = lambda a: torch.as_tensor(a, dtype=torch.float32)
one = torch.distributions.Independent
d = given["theta"].shape[1]
if task in ("two_moons", "slcp"):
    edge = {"two_moons": 1.0, "slcp": 3.0}[task]
    prior = one(torch.distributions.Uniform(-edge * torch.ones(d), edge * torch.ones(d)), 1)
elif task == "gaussian_linear":
    prior = one(torch.distributions.Normal(torch.zeros(d), 0.1**0.5 * torch.ones(d)), 1)
else:
    prior = one(torch.distributions.LogNormal(
        torch.log(torch.tensor([0.4, 0.125])), torch.tensor([0.5, 0.2])), 1)
wall, cpu = time.perf_counter(), time.process_time()
trainer = NPE(prior=prior, density_estimator=flow, show_progress_bars=False)
trainer.append_simulations(as_tensor(given["theta"]), as_tensor(given["x"]))
net = trainer.train()
told = dict(seconds=time.perf_counter() - wall, cpu=time.process_time() - cpu)
told["version"] = sbi.__version__
posterior = trainer.build_posterior(net)
cpu, draws = time.process_time(), []
for y in given["observations"]:
    draws.append(posterior.sample((ROWS,), x=as_tensor(y), show_progress_bars=False).numpy())
told["drawing"] = (time.process_time() - cpu) / len(draws)
np.save(path + "/draws.npy", np.stack(draws))
print("\\nROW" + json.dumps(told))  # sbi ends its own line without a break
""".replace("ROWS", str(ROWS))


def flat(columns: dict[str, np.ndarray]) -> np.ndarray:
    """(n, d) sites side by side."""
    return np.concatenate([np.reshape(a, (len(a), -1)) for a in columns.values()], axis=1)


def peer(python: str, flow: str, task: str, theta: Any, x: Any, seen: list[Any]) -> Any:
    """What sbi tells of its training, and its draws (observations, 4,000, d)."""
    with tempfile.TemporaryDirectory() as folder:
        ys = np.stack([np.ravel(given.y) for given in seen])
        np.savez(Path(folder, "given.npz"), theta=flat(theta), x=flat(x), observations=ys)
        one = {k: "1" for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [python, "-c", PEER, folder, flow, task]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**known, **one}, cwd=folder
        )
        for line in done.stdout.splitlines():
            if line.startswith("ROW"):
                return json.loads(line[3:]), np.load(Path(folder, "draws.npy"))
    raise SystemExit(f"sbi ended with {done.returncode}: {done.stderr[-2000:]}")


def ours(task: str, theta: Any, x: Any, seen: list[Any], steps: int) -> Any:
    """The same of `NPE`."""
    prior = sbibm.program(task, seen[0].y)
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = NPE().fit(prior, theta=theta, x=x, key=0, steps=steps, progress=False)
    told = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    cpu, draws = time.process_time(), []
    for number, given in enumerate(seen, 1):
        q = fitted.posterior(np.asarray(given.y, float).reshape(fitted.sites.shapes[0]))
        key = jax.random.key(number)
        found = pi.sample(q, pi.Importance(draws=3 * ROWS), key=key, progress=False)
        draws.append(equally_weighted(found, number))
    told["drawing"] = (time.process_time() - cpu) / len(draws)
    return told, np.stack(draws)


def scores(seen: list[Any], draws: np.ndarray) -> list[float]:
    """C2ST of each observation, by one classifier for both packages."""
    found = [
        pi.validity.c2st(given.reference, mine, key=jax.random.key(number)).accuracy
        for number, (given, mine) in enumerate(zip(seen, draws, strict=True), 1)
    ]
    return [round(float(a), 4) for a in found]


def main() -> None:
    """Measure both on every task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="a Python that has sbi")
    parser.add_argument("--tasks", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--observations", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000, help="of our training")
    parser.add_argument("--flow", default="nsf", choices=["nsf", "maf"], help="of sbi")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for task in options.tasks:
        seen = [sbibm.observation(task, k + 1) for k in range(options.observations)]
        theta, x = table(task, options.simulations)
        told, draws = ours(task, theta, x, seen, options.steps)
        figures: dict[str, Any] = {"task": task, "simulations": options.simulations}
        for name, facts, found in (
            ("ours", told, draws),
            ("sbi", *peer(options.peer, options.flow, task, theta, x, seen)),
        ):
            c2st = scores(seen, found)
            figures |= {f"{name} {k}": v for k, v in facts.items()}
            figures |= {f"{name} C2ST": float(np.mean(c2st)), f"{name} C2ST each": c2st}
            print(task, name, facts, c2st, flush=True)
        figures |= {"sbi flow": options.flow, "our steps": options.steps}
        row = f"{task}, {options.simulations}"
        record("sbi_peer.json", row, figures, packages=("jax", "numpy"))


if __name__ == "__main__":
    main()
