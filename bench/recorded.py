"""Rows of the other benchmarks, written to files that the page on benchmarks reads.

Run from the project's root::

    python -m bench.recorded                     # filter, cold
    python -m bench.recorded cold --small        # one of them, small problems

Each area writes ``docs/measured/AREA.json``: its rows, the date, versions, the number of CPU cores
and the load of the machine when it began. A row that cannot be measured says why.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "docs" / "measured"
PEERS = ("probinf", "jax", "numpyro", "blackjax", "cuthbert")


def filter(small: bool) -> dict[str, Any]:
    """A bootstrap filter of a stochastic-volatility model, in fresh processes."""
    from bench.filter import alone

    n, steps = (10_000, 300) if small else (100_000, 1000)
    arguments = ["--particles", str(n), "--steps", str(steps), "--repeats", "4"]
    found: dict[str, Any] = {}
    python = {"particles": os.environ.get("PARTICLES_PYTHON")}
    for name in ("probinf, method", "probinf, function", "cuthbert", "particles"):
        runner = python.get(name, sys.executable)
        if runner is None:
            found[name] = {"why": "particles needs an environment of its own (bench.filter)"}
            continue
        try:
            row = alone(name, runner, arguments)
        except subprocess.CalledProcessError as error:
            found[name] = {"why": error.stderr.strip().splitlines()[-1][:100]}
            continue
        found[name] = {"process": row["process"], "warm": min(row["seconds"][1:])}
        found[name] |= {"log_z": row["log_z"], "particles": n, "steps": steps}
    return found


def cold(small: bool) -> dict[str, Any]:
    """Fresh processes from the imports to a printed summary, 4 chains of 1,000 + 1,000."""
    from bench.cold import HEAD, ROWS, TAIL

    found: dict[str, Any] = {}
    for name in ("NUTS", "SMC", "Nested", "NumPyro", "BlackJAX") if small else ROWS:
        for model in ("schools",) if small else ("schools", "logistic", "intercepts"):
            code = HEAD.replace("{model}", model) + ROWS[name] + TAIL
            env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
            out = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=env
            )
            rows = [line for line in out.stdout.splitlines() if line.startswith("ROW")]
            if not rows:
                found[f"{model} | {name}"] = {"why": out.stderr.strip().splitlines()[-1][:100]}
                continue
            r = json.loads(rows[0][3:])
            compiling = r["trace"] + r["lower"] + r["compile"]
            found[f"{model} | {name}"] = {
                "imports": r["imported"],
                "compiling": compiling,
                "total": r["end"],
                "cpu": r["cpu"],
                "programs": r["programs"],
            }
    return found


AREAS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "filter": filter,
    "cold": cold,
}


def versions() -> dict[str, str]:
    """Of what is installed among the packages compared."""
    found = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Measure the areas asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("areas", nargs="*", help=f"of {', '.join(AREAS)}; all by default")
    parser.add_argument("--small", action="store_true", help="small problems, few rows")
    chosen = parser.parse_args()
    if unknown := set(chosen.areas) - set(AREAS):
        raise SystemExit(f"There is no area {', '.join(sorted(unknown))}, only {', '.join(AREAS)}.")
    for name in chosen.areas or AREAS:
        load = os.getloadavg()[0]
        found = {
            "rows": AREAS[name](chosen.small),
            "date": datetime.date.today().isoformat(),
            "cores": os.cpu_count(),
            "load": round(load, 1),
            "versions": versions(),
        }
        (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {len(found['rows'])} rows", flush=True)


if __name__ == "__main__":
    main()
