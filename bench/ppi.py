"""probinf.ppi against ppi_py on identical arrays: seconds cold and warm, and memory.

Run from the project's root, with ppi-python installed: ``python -m bench.ppi``; options choose
sizes and operations. Every row is a fresh process that makes the arrays, runs the operation once
(cold) and again (warm, the best of three), and reports its peak memory beyond the arrays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from bench.recording import record

BODY = """
import json, resource, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
peer, name, N, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(0)
n, d = 1000, 5
x = rng.normal(size=(n + N, d))
x[:, 0] = 1
eta = x @ (rng.normal(size=d) / 3)
hidden = rng.normal(size=n + N)
if name in ("mean", "quantile", "ols", "bootstrap"):
    y, f = eta + hidden + 0.5 * rng.normal(size=n + N), 0.8 * eta + hidden
elif name == "logistic":
    f = 1 / (1 + np.exp(-eta - hidden))
    y = (rng.uniform(size=n + N) < f).astype(float)
else:
    f = np.exp(0.5 * eta + 0.3 * hidden)
    y = rng.poisson(f).astype(float)
x_l, y_l, f_l, x_u, f_u = x[:n].copy(), y[:n].copy(), f[:n].copy(), x[n:].copy(), f[n:].copy()
del x, y, f, eta, hidden
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

began = time.perf_counter()
if peer == "probinf":
    from probinf import ppi
    def run():
        if name == "mean":
            return ppi.mean(y_l, f_l, f_u).conf_int()
        if name == "quantile":
            return ppi.quantile(y_l, f_l, f_u, 0.5, compat="ppi_py").conf_int()
        if name == "bootstrap":
            draws = ppi.mean(y_l, f_l, f_u).bootstrap(draws=1000, key=0)
            return np.quantile(draws, [0.05, 0.95], axis=0)
        return getattr(ppi, name)(x_l, y_l, f_l, x_u, f_u).conf_int()
else:
    import ppi_py
    def run():
        if name == "mean":
            return ppi_py.ppi_mean_ci(y_l, f_l, f_u)
        if name == "quantile":
            return ppi_py.ppi_quantile_ci(y_l, f_l, f_u, 0.5)
        if name == "bootstrap":
            return ppi_py.ppboot(np.mean, y_l, f_l, f_u, n_resamples=1000)
        return getattr(ppi_py, f"ppi_{name}_ci")(x_l, y_l, f_l, x_u, f_u)
imported = time.perf_counter() - began
began = time.perf_counter()
found = run()
cold = time.perf_counter() - began
warm = []
for _ in range(repeats):
    began = time.perf_counter()
    found = run()
    warm.append(time.perf_counter() - began)
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
row = dict(imported=imported, cold=cold, warm=min(warm, default=cold), peak=peak)
print("ROW" + json.dumps(row))
"""


def measure(peer: str, name: str, N: int, repeats: int, seconds: float) -> dict[str, float] | str:
    """One row, or why there is none."""
    command = [sys.executable, "-c", BODY, peer, name, str(N), str(repeats)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"more than {seconds:.0f} s"
    for line in done.stdout.splitlines():
        if line.startswith("ROW"):
            return dict(json.loads(line[3:]))
    lines = done.stderr.strip().splitlines()
    return lines[-1][:60] if lines else f"exit status {done.returncode}"


def text(row: dict[str, float] | str) -> str:
    """One column of the table."""
    if isinstance(row, str):
        return f"{row:>42}"
    return f"{row['cold']:9.3f} {row['warm']:9.4f} {row['peak']:9.0f} MB".rjust(42)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    names = ["mean", "quantile", "ols", "logistic", "poisson", "bootstrap"]
    parser.add_argument("--operations", nargs="+", default=names)
    parser.add_argument("--seconds", type=float, default=300.0, help="limit per row")
    options = parser.parse_args()
    print(f"{'':20} {'probinf: cold, warm, memory':>42} {'ppi_py':>42}   warm ratio")
    for size in options.sizes:
        N = int(size)
        for name in options.operations:
            rows = [
                measure(peer, name, N, 3 if peer == "probinf" or N < 1e6 else 1, options.seconds)
                for peer in ("probinf", "ppi_py")
            ]
            ours, theirs = rows
            ratio = "-"
            if not isinstance(ours, str) and not isinstance(theirs, str):
                ratio = f"{theirs['warm'] / ours['warm']:.1f}"
            print(f"N={N:<9} {name:9} {text(ours)} {text(theirs)}   {ratio}", flush=True)
            figures = {
                f"{peer} {k}": v
                for peer, row in (("ours", ours), ("ppi_py", theirs))
                for k, v in (row if isinstance(row, dict) else {"failed": row}).items()
            }
            record("ppi.json", f"{name}, N={N}", figures, packages=("numpy", "jax", "ppi-python"))


if __name__ == "__main__":
    main()
