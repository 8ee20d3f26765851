"""DSL against PPI: logistic regression on surrogate labels, few expert labels.

Run from the project's root: ``python -m bench.dsl_vs_ppi [--reps 250] [--rows 5000]``. The
protocol follows arXiv 2506.09627: data simulated by `probinf.ppi.dsl_sim`, expert labels on a
simple random sample of n rows, and per arm

- the standardised root mean squared error of the coefficients against the large-sample fit,
- the share of 95 % intervals that cover it, and the mean standard error over the spread.

Arms: labels alone; PPI++; PPI with a matrix of weights; DSL (cross-fitted, one split); RePPI; and
the naive fit that takes surrogates for labels.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from bench.recording import record
from probinf import ppi
from probinf.errors import PredictionWarning


def logistic(x: np.ndarray, y: np.ndarray) -> ppi.Result:
    """The ordinary fit."""
    return ppi.logistic(x, y, y, x[:2], y[:2], method="classical", alpha=0.05)


def arms(data: ppi.Labels, n: int, seed: int) -> dict[str, ppi.Result]:
    """One replication of every arm; the first n rows carry expert labels."""
    x, y, f, w = data.x, data.y, data.f, data.features
    mine, other = {"x": x[:n], "y": y[:n]}, {"x": x[n:]}
    split = (x[:n], y[:n], f[:n], x[n:], f[n:])
    return {
        "labels alone": ppi.logistic(*split, method="classical", alpha=0.05),
        "PPI++": ppi.logistic(*split, alpha=0.05),
        "PPI matrix": ppi.logistic(*split, tune="matrix", alpha=0.05),
        "DSL": ppi.dsl("binomial", mine, other, w[:n], w[n:], repeats=1, key=seed, alpha=0.05),
        "RePPI": ppi.reppi("binomial", mine, w[:n], w[n:], key=seed, alpha=0.05),
        "naive": logistic(x, f),
    }


def study(rows: int, n: int, accuracy: float, reps: int, truth: np.ndarray) -> dict[str, Any]:
    """Error, coverage (d,) and ratio of standard error to spread (d,) per arm."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for i in range(reps):
        data = ppi.dsl_sim(rows, accuracy, key=1000 + i)
        for name, r in arms(data, n, i).items():
            limits = r.conf_int()
            hit = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
            found.setdefault(name, []).append((r.theta, r.bse, hit))
    table = {}
    for name, rows_ in found.items():
        theta, se, hit = (np.array(a) for a in zip(*rows_, strict=True))
        error = np.sqrt(np.mean(((theta - truth) / truth) ** 2))
        table[name] = (error, hit.mean(axis=0), se.mean(axis=0) / theta.std(axis=0, ddof=1))
    return table


def main() -> None:
    """Print one table per accuracy of the surrogates and number of expert labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=250)
    parser.add_argument("--rows", type=int, default=5500)
    parser.add_argument("--labels", type=int, nargs="+", default=[500])
    parser.add_argument("--accuracy", type=float, nargs="+", default=[0.7, 0.8, 0.9])
    options = parser.parse_args()
    warnings.simplefilter("ignore", PredictionWarning)
    large = ppi.dsl_sim(2_000_000, 0.9, key=1)
    truth = logistic(large.x, large.y).theta
    print("large-sample coefficients:", np.round(truth, 4))
    for accuracy in options.accuracy:
        for n in options.labels:
            began = time.perf_counter()
            table = study(options.rows, n, accuracy, options.reps, truth)
            print(f"\naccuracy {accuracy}, n = {n} of {options.rows}, {options.reps} repetitions")
            print(f"{'arm':14} {'std RMSE':>8}  coverage of 95 % intervals     SE / spread")
            for name, (error, hit, ratio) in table.items():
                cover = " ".join(f"{100 * h:5.1f}" for h in hit)
                print(f"{name:14} {error:8.3f}  {cover}  " + " ".join(f"{r:.2f}" for r in ratio))
                figures = {
                    "std RMSE": round(float(error), 4),
                    "least coverage of 95 %": round(float(hit.min()), 3),
                    "mean coverage": round(float(hit.mean()), 3),
                    "SE / spread": [round(float(r), 2) for r in ratio],
                    "repetitions": options.reps,
                }
                row = f"accuracy {accuracy}, {n} of {options.rows} labelled: {name}"
                record("dsl_vs_ppi.json", row, figures, packages=("numpy", "jax"))
            print(f"({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
