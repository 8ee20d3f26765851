"""Whether the laws hold: laws and their mutants, coverage, calibration by simulation, z of log Z.

Run from the project's root::

    python -m bench.validity                    # all parts
    python -m bench.validity coverage sbc       # some; the others stay as they were measured
    python -m bench.validity laws --slow        # with the slow tier of the laws

Writes ``docs/measured/validity.json``, which is all that the page ``docs/validity.md`` reads. The
part ``evidence`` sums up what ``python -m bench.evidence_calibration`` has measured.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "measured" / "validity.json"
ALPHA = 0.1


def laws(slow: bool) -> dict[str, Any]:
    """Tests of the laws and of their broken twins, file by file."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        report = pathlib.Path(place) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}"]
        tier = ["-m", "slow or not slow"] if slow else []
        subprocess.run(
            [*command, *tier, "tests/laws", "tests/mutants"], cwd=ROOT, capture_output=True
        )
        cases = list(ET.parse(report).getroot().iter("testcase"))
    for case in cases:
        parts = case.attrib["classname"].split(".")
        file = "/".join(parts[1:3])
        row = rows.setdefault(file, {"what": _first_line(file), "passed": 0, "failed": 0})
        if case.find("skipped") is None:
            bad = case.find("failure") is not None or case.find("error") is not None
            row["failed" if bad else "passed"] += 1
    return {file: row for file, row in rows.items() if row["passed"] + row["failed"]}


def _first_line(file: str) -> str:
    text = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or file).splitlines()[0]


def coverage(slow: bool) -> dict[str, Any]:
    """How often what was promised to hold with 90 per cent does."""
    return _conformal(20_000 if slow else 2000) | _few_labels(20_000 if slow else 2000)


def _conformal(replications: int) -> dict[str, Any]:
    """Split sizes of 60 and 40, skewed errors whose size depends on x; exchangeable by design."""
    import probinf.conformal as pc

    found: dict[str, list[float]] = {}
    for seed in range(replications):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (100, 3))
        y = x @ [1.0, -1.0, 0.5] + (0.5 + np.abs(x[:, 0])) * (rng.exponential(size=100) - 1)
        mu, spread = x @ [0.9, -0.9, 0.3], 0.3 + np.abs(x[:, 0])  # a model that is a little off
        cal, test = slice(0, 60), slice(60, 100)
        odds = np.exp(2 * mu[:, None] * np.arange(3) + 0.5 * rng.normal(size=(100, 3)))
        p = odds / odds.sum(1, keepdims=True)
        label = np.array([rng.choice(3, p=row) for row in np.sqrt(p) / np.sqrt(p).sum(1)[:, None]])
        ends = mu - spread, mu + 1.5 * spread
        cut = (ends[0][cal], ends[1][cal]), y[cal], (ends[0][test], ends[1][test])
        scaled = (mu[cal], spread[cal]), y[cal], (mu[test], spread[test])
        sets = {
            "split, absolute": pc.split(pc.Absolute(), mu[cal], y[cal], mu[test], alpha=ALPHA),
            "split, normalised": pc.split(pc.Normalised(), *scaled, alpha=ALPHA),
            "split, CQR": pc.split(pc.CQR(), *cut, alpha=ALPHA),
            "full, ridge": pc.full_ridge(x[cal], y[cal], x[test][:1], ridge=0.1, alpha=ALPHA),
            "jackknife+": pc.jackknife_plus_ridge(x[cal], y[cal], x[test], ridge=0.1, alpha=ALPHA),
            "labels, LAC": pc.split(pc.LAC(), p[cal], label[cal], p[test], alpha=ALPHA),
            "labels, APS": pc.split(pc.APS(), p[cal], label[cal], p[test], alpha=ALPHA, key=seed),
        }
        for name, out in sets.items():
            truth = label[test] if "labels" in name else y[test]
            truth = truth[:1] if name.startswith("full") else truth
            found.setdefault(name, []).append(float(out.contains(truth).mean()))
        v = pc.selection.clipped_scores(mu[cal], y[cal], 0.5)
        chosen = pc.cfbh(v, pc.selection.clipped_scores(mu[test]), q=ALPHA).selected
        false = float((y[test][chosen] <= 0.5).mean()) if len(chosen) else 0.0
        found.setdefault("selection, true discoveries", []).append(1 - false)
    promises = {"jackknife+": ">= .8", "selection, true discoveries": ">= .9"}
    return {
        f"conformal: {name}": {
            "promise": promises.get(name, ".9 to .9 + 1/61"),
            "found": float(np.mean(values)),
            "error": float(np.std(values) / np.sqrt(len(values))),
            "replications": len(values),
        }
        for name, values in found.items()
    }


def _few_labels(replications: int) -> dict[str, Any]:
    """Intervals of prediction-powered inference, 2,000 predictions each."""
    import jax

    from bench.ppi_coverage import NOISE, mean_sample, ols_sample
    from bench.ppi_coverage import coverage as covered
    from probinf.ppi.inference import losses

    gaussian = losses.Linear(losses.Gaussian())
    cases = {
        f"{what}, {n} labels, {noise} errors": (sample, gaussian, truth, n, noise)
        for what, sample, truth in (
            ("mean", mean_sample, np.zeros(1)),
            ("least squares", ols_sample, np.array([0.5, 1.0])),
        )
        for n in (50, 200)
        for noise in NOISE
    }
    rows = {}
    for name, (sample, model, truth, n, noise) in cases.items():
        with jax.enable_x64(True):
            share = covered(sample, model, truth, n, 2000, noise, reps=replications)
        rows[f"few labels: {name}"] = {
            "promise": ".9, asymptotically",
            "found": float(np.mean(share)),
            "error": float(np.sqrt(ALPHA * (1 - ALPHA) / replications)),
            "replications": replications,
        }
    return rows


def sbc(slow: bool) -> dict[str, Any]:
    """Ranks of true parameters among posterior draws, over data simulated from the prior."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    import probinf as pi
    from tests.cases.eight_schools import eight_schools

    def counts(y: Any = None) -> None:
        rate = numpyro.sample("rate", dist.Gamma(2.0, 0.5))
        share = numpyro.sample("share", dist.Beta(2.0, 2.0))
        numpyro.sample("y", dist.Poisson(rate * jnp.array([share, 1 - share])).to_event(1), obs=y)

    small = pi.from_numpyro(counts, np.array([3, 1]))
    cases: dict[str, tuple[Any, Any]] = {
        "eight schools, NUTS": (eight_schools(), None),
        "two counts, NUTS": (small, None),
        "two counts, SMC": (small, pi.SMC(particles=256, islands=1)),
    }
    rows = {}
    for name, (program, method) in cases.items():
        began, size = time.perf_counter(), 1000 if slow else 300
        found = pi.validity.sbc(program, method, key=0, replications=size)
        u = np.sort((found.ranks + 0.5) / (found.draws + 1), axis=0)
        at = np.linspace(0.0, 1.0, 65)
        ecdf = [np.searchsorted(column, at) / size - at for column in u.T]
        rows[name] = {
            "replications": size,
            "scalars": len(found.names),
            "smallest_p": float(min(found.p_values.values())),
            "passed": bool(found),
            "ecdf": [[round(float(v), 4) for v in line] for line in ecdf],
            "seconds": round(time.perf_counter() - began, 1),
        }
    return rows


def evidence(slow: bool) -> dict[str, Any]:
    """Engines against known evidences: what bench.evidence_calibration has measured, summed up."""
    measured = json.loads((RESULTS.parent / "evidence_calibration.json").read_text())["rows"]
    rows: dict[str, Any] = {}
    for key, row in measured.items():
        model, engine = key.split(" | ")
        if row["z_sd"] is not None and not row["refused"]:
            mine = rows.setdefault(engine, {"models": [], "bias": [], "z_sd": [], "seeds": []})
            mine["models"].append(model)
            mine["bias"].append(round(row["bias_in_errors"], 2))
            mine["z_sd"].append(round(row["z_sd"], 3))
            mine["seeds"].append(row["seeds"])
    return rows


PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "laws": laws,
    "coverage": coverage,
    "sbc": sbc,
    "evidence": evidence,
}


def main() -> None:
    """Measure the parts asked for and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--slow", action="store_true", help="more replications, and the slow tier")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        raise SystemExit(f"There is no part {', '.join(sorted(unknown))}, only {', '.join(PARTS)}.")
    for name in chosen.parts or PARTS:
        began = time.perf_counter()
        found = {
            "rows": PARTS[name](chosen.slow),
            "date": datetime.date.today().isoformat(),
            "cores": os.cpu_count(),
            "slow": chosen.slow,
            "versions": {p: importlib.metadata.version(p) for p in ("probinf", "jax", "numpyro")},
        }
        whole = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
        chosen.out.write_text(json.dumps({**whole, name: found}, indent=1, sort_keys=True) + "\n")
        print(
            f"{name}: {len(found['rows'])} rows in {time.perf_counter() - began:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
