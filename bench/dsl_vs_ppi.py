"""DSL against PPI: logistic regression on surrogate labels, few expert labels.

Run from the project's root: ``python -m bench.dsl_vs_ppi [--reps 250] [--sources affairs ...]``.
The protocol follows arXiv 2506.09627: four simulators and four tables (`bench.dsl_sources`; the
published tables are not to be had, and their annotators are language models, ours are classifiers
trained on a tenth of the rows), expert labels on a simple random sample of n rows, and per arm

- the standardised root mean squared error of the coefficients against the large-sample fit,
- the share of 95 % intervals that cover it, and the mean standard error over the spread,
- the mean width of the intervals, in units of those of the labels alone.

``--accuracy`` runs the first simulator with surrogates of other accuracies instead.

Arms: labels alone; PPI++; PPI with a matrix of weights; DSL (cross-fitted, one split); RePPI; and
the naive fit that takes surrogates for labels.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from bench.dsl_sources import SOURCES, Source
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


def study(source: Source, rows: int, n: int, reps: int, truth: np.ndarray) -> dict[str, Any]:
    """Error, coverage (d,), standard error over spread (d,) and width (d,) of every arm."""
    found: dict[str, list[tuple[np.ndarray, ...]]] = {}
    for i in range(reps):
        for name, r in arms(source.draw(rows, 1000 + i), n, i).items():
            limits = r.conf_int()
            hit = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
            found.setdefault(name, []).append((r.theta, limits[:, 1] - limits[:, 0], hit, r.bse))
    table = {}
    alone = np.mean([width for _, width, *_ in found["labels alone"]], axis=0)
    for name, rows_ in found.items():
        theta, width, hit, se = (np.array(a) for a in zip(*rows_, strict=True))
        error = np.sqrt(np.mean(((theta - truth) / truth) ** 2))
        spread = theta.std(axis=0, ddof=1)
        ratio = width.mean(axis=0) / alone
        table[name] = (error, hit.mean(axis=0), se.mean(axis=0) / spread, ratio)
    return table


def run(what: str, source: Source, rows: int, n: int, reps: int) -> None:
    """Print and record one table."""
    began = time.perf_counter()
    large = source.draw(source.large or 0, 1 if source.large else -1)
    truth = logistic(large.x, large.y).theta
    table = study(source, rows, n, reps, truth)
    right = (large.f == large.y).mean()
    print(
        f"\n{what}: {100 * right:.0f} % of surrogates right, n = {n} of {rows}, {reps} repetitions"
    )
    print("large-sample coefficients:", np.round(truth, 4))
    print(f"{'arm':14} {'std RMSE':>8}  coverage of 95 % intervals     SE / spread      width")
    for name, (error, hit, ratio, width) in table.items():
        cover = " ".join(f"{100 * h:5.1f}" for h in hit)
        ratios = " ".join(f"{r:.2f}" for r in ratio)
        print(f"{name:14} {error:8.3f}  {cover}  {ratios}  {width.mean():.3f}")
        figures = {
            "std RMSE": round(float(error), 4),
            "least coverage of 95 %": round(float(hit.min()), 3),
            "mean coverage": round(float(hit.mean()), 3),
            "SE / spread": [round(float(r), 2) for r in ratio],
            "width": round(float(width.mean()), 3),
            "surrogates right": round(float(right), 3),
            "repetitions": reps,
        }
        row = f"{what}, {n} of {rows} labelled: {name}"
        record("dsl_vs_ppi.json", row, figures, packages=("numpy", "jax"))
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)


def main() -> None:
    """Print one table per source (or accuracy) and number of expert labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=250)
    parser.add_argument("--rows", type=int, default=5500)
    parser.add_argument("--labels", type=int, nargs="+", default=[500])
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--accuracy", type=float, nargs="+")
    options = parser.parse_args()
    warnings.simplefilter("ignore", PredictionWarning)
    sources = {name: SOURCES[name] for name in options.sources}
    if options.accuracy:
        sources = {
            f"accuracy {a}": Source(lambda rows, key, a=a: ppi.dsl_sim(rows, a, key=key), 1_000_000)
            for a in options.accuracy
        }
    for what, source in sources.items():
        for n in options.labels:
            run(what, source, options.rows, n, options.reps)


if __name__ == "__main__":
    main()
