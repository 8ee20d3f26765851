"""Evidences against known values, by every engine here and by other packages, in one run.

Run from the project's root, with the peers installed (``pip install dynesty ultranest``)::

    python -m bench.evidence --problems "eggbox 2" "shells 5" --seeds 5
    python -m bench.evidence --engines Nested dynesty --out rows.json
    python -m bench.evidence --table

A row that the file of results holds already is not run again, so that an interrupted bench goes
on where it was. Each row has the bias of log Z, the standard deviation of its z-scores (1 when
the stated errors are right), likelihood evaluations, and seconds of a first call (with
compilation) and of later ones. The last lines are seconds times squared error, ours over theirs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpyro.distributions as dist

import probinf as pi
from bench.evidence_peers import PEERS, Outcome
from bench.evidence_problems import PROBLEMS, Problem
from probinf.runtime.method import Method

RESULTS = pathlib.Path("docs/measured/evidence.json")

# half the particles of PersistentSMC, which keeps them all: about the same evaluations
OURS: dict[str, Method] = {
    "Nested": pi.Nested(live=500),
    "SMC": pi.SMC(particles=1000, islands=4),
    "waste-free": pi.SMC(particles=1000, islands=4, waste_free=10),
    "persistent": pi.PersistentSMC(particles=500, islands=4),
    "tempering": pi.ParallelTempering(temperatures=12, warmup=500, draws=1000),
}
HEADER = (
    f"{'problem':14} {'engine':13} {'seeds':>5} {'bias of log Z':>16} {'z sd':>6} {'rmse':>7} "
    f"{'evaluations':>11} {'first s':>8} {'later s':>8}"
)


def ours(method: Method) -> Callable[[Problem], Callable[[int], Outcome]]:
    """One of our engines, in the form of a peer."""

    def prepared(problem: Problem) -> Callable[[int], Outcome]:
        box = dist.Uniform(problem.low, problem.high).expand([problem.size]).to_event(1)
        program = pi.from_log_likelihood(problem.log_likelihood, box)

        def run(seed: int) -> Outcome:
            fit = pi.sample(program, method, key=seed, progress=False, check=False)
            counted = fit.history.get("evaluations", fit.stats.get("evaluations", 0))
            extra = ("likelihood_evaluations", "warmup_evaluations")
            spent = np.nansum(counted) + sum(fit.provenance.get(name, 0) for name in extra)
            return fit.log_evidence.value, fit.log_evidence.error, float(spent)

        return run

    return prepared


ENGINES: dict[str, Callable[[Problem], Callable[[int], Outcome]]] = {
    **{name: ours(method) for name, method in OURS.items()},
    **PEERS,
}


def measured(problem: Problem, prepare: Any, seeds: int, first: int = 0) -> dict[str, Any]:
    """One row: ``seeds`` runs of one engine on one problem, from the ``first`` seed on."""
    found, seconds = [], []
    run = None
    for seed in range(first, first + seeds):
        began = time.perf_counter()
        run = run or prepare(problem)
        found.append(run(seed))
        seconds.append(time.perf_counter() - began)
    value, stated, spent = (np.array(column) for column in zip(*found, strict=True))
    error = value - problem.log_evidence
    several = seeds > 1
    ratio = np.exp(error)  # 1 on average where the estimate of Z itself is unbiased
    return {
        "seeds": seeds,
        "first_seed": first,
        "ratio": float(ratio.mean()),
        "ratio_error": float(ratio.std(ddof=1) / np.sqrt(seeds)) if several else None,
        "bias": float(error.mean()),
        "standard_error": float(error.std(ddof=1) / np.sqrt(seeds)) if several else None,
        "z_sd": float((error / stated).std(ddof=1)) if several else None,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "evaluations": None if np.isnan(spent).any() else float(spent.mean()),
        "first_seconds": seconds[0],
        "later_seconds": float(np.median(seconds[1:])) if several else None,
    }


def line(name: str, engine: str, row: dict[str, Any]) -> str:
    """A row of the table."""

    def text(name: str, width: int, digits: int) -> str:
        value = row[name]
        return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"

    return (
        f"{name:14} {engine:13} {row['seeds']:5} {text('bias', 8, 3)} ± "
        f"{text('standard_error', 5, 3)} {text('z_sd', 6, 2)} {text('rmse', 7, 3)} "
        f"{text('evaluations', 11, 0)} {text('first_seconds', 8, 1)} {text('later_seconds', 8, 2)}"
    )


def ratios(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Seconds times squared error, ours against the best peer: geometric means over problems."""
    lines = []
    nested = ["dynesty", "UltraNest", "BlackJAX NSS"]
    for label, mine, theirs in (
        ("Nested / nested sampling elsewhere", ["Nested"], nested),
        ("SMC / BlackJAX SMC", ["SMC", "waste-free", "persistent"], ["BlackJAX SMC"]),
        ("best here / best elsewhere", list(OURS), list(PEERS)),
    ):
        for kind in ("first_seconds", "later_seconds"):
            logs = []
            for name in PROBLEMS:
                of = {e: rows.get(f"{name} | {e}") for e in (*mine, *theirs)}
                cost = {e: r[kind] * r["rmse"] ** 2 for e, r in of.items() if r and r[kind]}
                ours, peers = ([cost[e] for e in side if e in cost] for side in (mine, theirs))
                if ours and peers:
                    logs.append(np.log(min(ours) / min(peers)))
            if logs:
                mean = np.exp(np.mean(logs))
                lines.append(f"{label}, {kind}: {mean:.3f} over {len(logs)} problems")
    return lines


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--note", default="", help="what else ran on the machine, say")
    parser.add_argument("--table", action="store_true", help="print the file, run nothing")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    print(HEADER)
    for name in options.problems:
        for engine in options.engines:
            key = f"{name} | {engine}"
            if not options.table and known["rows"].get(key, {}).get("seeds", 0) < options.seeds:
                try:
                    row = measured(PROBLEMS[name], ENGINES[engine], options.seeds, options.first)
                except ImportError as missing:
                    print(f"{name:14} {engine:13} left out: {missing}")
                    continue
                package = engine.split()[0].lower() if engine in PEERS else "probinf"
                row["version"] = f"{package} {importlib.metadata.version(package)}"
                row["date"] = datetime.date.today().isoformat()
                row["cores"] = len(os.sched_getaffinity(0))
                row["note"] = options.note
                known["rows"][key] = row
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            if key in known["rows"]:
                print(line(name, engine, known["rows"][key]), flush=True)
    print("\n".join(ratios(known["rows"])))


if __name__ == "__main__":
    main()
