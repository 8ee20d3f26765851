"""Whether the errors that engines state of log Z are those that they make: ten models, many seeds.

Run from the project's root::

    python -m bench.evidence_calibration
    python -m bench.evidence_calibration --targets "LKJ 3 x 3" --engines SMC waste-free --seeds 200
    python -m bench.evidence_calibration --table

A row is one engine on one model: the bias of log Z in units of its own standard error over seeds
(within 3 where there is none), and the standard deviation of z = (log Z - truth) / stated error
(.85 to 1.15 over a hundred seeds where the stated errors are right). Rows that the file of results
holds already are not run again, and each is saved as it is done. The last lines count the engines'
rows that meet both.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import time
from typing import Any

import numpy as np

import probinf as pi
from bench.calibration_targets import TARGETS, Target
from probinf.errors import ProbinfError
from probinf.runtime.method import Method

RESULTS = pathlib.Path("docs/measured/evidence_calibration.json")
_MOST_BIAS, _Z_SD = 3.0, (0.85, 1.15)

ENGINES: dict[str, Method] = {
    "SMC": pi.SMC(particles=500, islands=1),
    "SMC x 4": pi.SMC(particles=500, islands=4),
    "waste-free": pi.SMC(particles=500, islands=1, waste_free=10),
    "waste-free x 4": pi.SMC(particles=500, islands=4, waste_free=10),
    "persistent x 8": pi.PersistentSMC(particles=200, islands=8),
    "importance": pi.Importance(draws=10_000),
    "Nested": pi.Nested(live=200),
    "Nested x 4": pi.Nested(live=200, runs=4),
    "tempering": pi.ParallelTempering(temperatures=8, warmup=300, draws=500),
}
HEADER = (
    f"{'model':18} {'engine':15} {'seeds':>5} {'bias':>8} {'bias/s.e.':>9} {'z sd':>6} "
    f"{'error':>7} {'stated':>7} {'first s':>8} {'s a run':>8}"
)


def measured(target: Target, method: Method, seeds: int) -> dict[str, Any]:
    """One row: ``seeds`` runs of one engine on one model."""
    found, seconds, refused = [], [], ""
    for seed in range(seeds):
        began = time.perf_counter()
        try:
            fit = pi.sample(target.program, method, key=seed, progress=False, check=False)
            found.append(fit.log_evidence)
        except ProbinfError as error:
            refused = str(error)
        seconds.append(time.perf_counter() - began)
    value, stated = np.array(found, float).reshape(-1, 2).T
    error = value - target.log_evidence
    row: dict[str, Any] = {"seeds": seeds, "failed": seeds - len(found), "refused": refused}
    names = ("bias", "bias_in_errors", "z_mean", "z_sd", "error", "stated")
    if len(found) < 2:
        row |= dict.fromkeys(names)
    else:
        spread, z = error.std(ddof=1), error / stated
        numbers = (
            error.mean(),
            error.mean() / spread * np.sqrt(len(found)),
            z.mean(),
            z.std(ddof=1),
            spread,
            np.sqrt(np.mean(stated**2)),
        )
        row |= {n: float(v) for n, v in zip(names, numbers, strict=True)}
    return row | {"first_seconds": seconds[0], "later_seconds": float(np.median(seconds[1:]))}


def meets(row: dict[str, Any]) -> bool:
    """No bias that can be seen, and errors as stated."""
    if row["failed"]:
        return False
    return abs(row["bias_in_errors"]) < _MOST_BIAS and _Z_SD[0] <= row["z_sd"] <= _Z_SD[1]


def line(name: str, engine: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    start = f"{name:18} {engine:15} {row['seeds']:5}"
    if row["z_sd"] is None:
        return f"{start} failed: {row['refused'][:80]}"
    return (
        f"{start} {row['bias']:8.4f} {row['bias_in_errors']:9.1f} {row['z_sd']:6.2f} "
        f"{row['error']:7.4f} {row['stated']:7.4f} {row['first_seconds']:8.1f} "
        f"{row['later_seconds']:8.3f}{'' if meets(row) else '  *'}"
    )


def counts(rows: dict[str, dict[str, Any]]) -> list[str]:
    """How many models each engine is calibrated on."""
    lines = []
    for engine in ENGINES:
        own = [row for key, row in rows.items() if key.split(" | ")[1] == engine]
        if own:
            z_sd = [row["z_sd"] for row in own if row["z_sd"] is not None]
            middle = f"{np.median(z_sd):.2f}" if z_sd else "-"
            met = sum(map(meets, own))
            lines.append(f"{engine}: {met} of {len(own)} models, median z sd {middle}")
    return lines


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the file, run nothing")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    print(HEADER)
    for engine in options.engines:
        for name in options.targets:
            key = f"{name} | {engine}"
            if not options.table and known["rows"].get(key, {}).get("seeds", 0) < options.seeds:
                row = measured(TARGETS[name](), ENGINES[engine], options.seeds)
                row["version"] = f"probinf {importlib.metadata.version('probinf')}"
                row["date"] = datetime.date.today().isoformat()
                row["cores"] = len(os.sched_getaffinity(0))
                known["rows"][key] = row
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            if key in known["rows"]:
                print(line(name, engine, known["rows"][key]), flush=True)
    print("\n".join(["* bias of 3 standard errors or z sd off", *counts(known["rows"])]))


if __name__ == "__main__":
    main()
