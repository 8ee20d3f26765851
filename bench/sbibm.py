"""C2ST of NPE, NLE and their exact refinement on four tasks with reference posteriors.

    python -m bench.sbibm [--tasks two_moons sir] [--observations 5] [--steps 5000]
    python -m bench.sbibm --from-table --tasks two_moons gaussian_linear
    python -m bench.sbibm --rounds 3 --tasks two_moons sir slcp --seeds 2 --simulations 2000 \
        --steps 1500

Every task is trained once on 10,000 simulations. NLE's posterior is sampled with NPE's as its
proposal. The published figures are means over observations 1 to 5 (Lueckmann et al. 2021, one
round, 10,000 simulations, 10,000 draws of each; here 4,000, which reads slightly lower). A task
that is measured replaces its row in the file of results. With --from-table NPE learns from the
same number of finished simulations, handed over as a table, and from the simulator beside it, each
of several times (--seeds), since either depends on its simulations; with --rounds it spends a
budget on each observation in one round and in several (TSNPE), as often. These rows have a
file of their own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import probinf as pi
from probinf.amortized import NLE, NPE, refinement
from tests.cases import sbibm

PUBLISHED = {
    "gaussian_linear": (0.549, 0.556),
    "slcp": (0.889, 0.771),
    "two_moons": (0.604, 0.672),
    "sir": (0.737, 0.748),
}
RESULTS = Path("docs/measured/sbibm.json")
BUDGETS = Path("docs/measured/sbibm-budgets.json")
ROWS = 4000
MOVED = pi.SMC(particles=3000, islands=4)
WALK = pi.SMC(particles=3000, islands=4, kernel=pi.kernels.RandomWalk())
"""Where NPE is no proposal for NLE: a network's gradient is dearer than its density."""


def equally_weighted(posterior: pi.Posterior, seed: int) -> np.ndarray:
    """4,000 draws in the user's coordinates, resampled without replacement from three times more.

    Repeated rows would give a sample away to the classifier, whatever its distribution.
    """
    draws = sbibm.vector(posterior.draws)
    log_w = posterior.log_weights.ravel()
    p = np.exp(log_w - log_w.max())
    rng = np.random.default_rng(seed)
    return draws[rng.choice(len(draws), ROWS, replace=False, p=p / p.sum())]


def outside(task: str, draws: np.ndarray) -> int:
    """Draws beyond the prior's support."""
    edge = {"slcp": 3.0, "two_moons": 1.0}.get(task)
    if edge is not None:
        return int((np.abs(draws) > edge).any(axis=1).sum())
    return int((draws <= 0).any(axis=1).sum()) if task == "sir" else 0


def run(task: str, observations: int, steps: int, members: int) -> dict[str, Any]:
    """Train both, then compare every observation."""
    first = sbibm.program(task, sbibm.observation(task, 1).y)
    out: dict[str, Any] = {"task": task, "rows": []}
    fitted = {}
    for name, method in (("npe", NPE(members=members)), ("nle", NLE(members=members))):
        wall, cpu = time.perf_counter(), time.process_time()
        fitted[name] = method.fit(first, key=0, steps=steps, progress=False)
        out[f"{name}_seconds"] = round(time.perf_counter() - wall, 1)
        out[f"{name}_cpu_seconds"] = round(time.process_time() - cpu, 1)
        print(task, name, fitted[name].training.summary(), out[f"{name}_cpu_seconds"], flush=True)
    for number in range(1, observations + 1):
        given = sbibm.observation(task, number)
        exact = sbibm.program(task, given.y)
        observed = {"y": np.asarray(given.y, float).reshape(4, 2) if task == "slcp" else given.y}
        q = fitted["npe"].posterior(observed)
        key = jax.random.key(number)
        row: dict[str, Any] = {"observation": number}
        found = {
            "npe": pi.sample(q, pi.Importance(draws=3 * ROWS), key=key, progress=False),
            "nle": pi.refine(
                fitted["nle"].posterior(observed),
                q,
                key=key,
                draws=40_000,
                fallback=WALK,
                progress=False,
            ),
            "refined": pi.refine(exact, q, key=key, draws=40_000, fallback=MOVED, progress=False),
        }
        for name, posterior in found.items():
            draws = equally_weighted(posterior, number)
            score = pi.validity.c2st(given.reference, draws, key=key)
            row[name] = round(score.accuracy, 4)
            row[f"{name}_outside"] = outside(task, draws)
            if name != "npe":
                report = refinement(posterior)
                row[f"{name}_rung"] = report.rung
                row[f"{name}_k"] = round(report.pareto_k, 2)
        print(task, row, flush=True)
        out["rows"].append(row)
    return out


def scored(posterior: pi.Program, given: sbibm.Observation, number: int) -> float:
    """C2ST of a learned posterior as it is."""
    key = jax.random.key(number)
    found = pi.sample(posterior, pi.Importance(draws=3 * ROWS), key=key, progress=False)
    draws = equally_weighted(found, number)
    return round(float(pi.validity.c2st(given.reference, draws, key=key).accuracy), 4)


def table(
    task: str, count: int, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Finished simulations: parameters and data by site, from another stream of random numbers."""
    program = sbibm.program(task, sbibm.observation(task, 1).y)

    @jax.jit
    @jax.vmap
    def one(key: jax.Array) -> Any:
        first, second = jax.random.split(key)
        x = program.draw(first, program.data)
        return program.constrain(x, program.data), program.simulate(second, x, program.data)

    theta, x = one(jax.random.split(jax.random.key(2026 + seed), count))
    return {k: np.asarray(v) for k, v in theta.items()}, {k: np.asarray(v) for k, v in x.items()}


def from_table(task: str, observations: int, steps: int, count: int, seeds: int) -> dict[str, Any]:
    """C2ST of NPEs that were given their simulations, and of those that made as many themselves."""
    prior = sbibm.program(task, sbibm.observation(task, 1).y)
    rows = []
    for seed in range(seeds):
        theta, x = table(task, count, seed)
        given = {"key": seed, "steps": steps, "progress": False}
        networks = {
            "npe": NPE().fit(prior, theta=theta, x=x, **given),
            "simulated": NPE().fit(prior, simulations=count, **given),
        }
        for number in range(1, observations + 1):
            asked = sbibm.observation(task, number)
            row: dict[str, Any] = {"seed": seed, "observation": number}
            for name, fitted in networks.items():
                observed = np.asarray(asked.y, float).reshape(fitted.sites.shapes[0])
                row[name] = scored(fitted.posterior(observed), asked, number)
            rows.append(row)
            print(task, row, flush=True)
    return {"task": task, "simulations": count, "rows": rows}


def in_rounds(
    task: str, observations: int, steps: int, count: int, rounds: int, seeds: int
) -> dict[str, Any]:
    """C2ST of one round and of several with the same number of simulations."""
    out: dict[str, Any] = {"task": task, "simulations": count, "rounds": rounds, "rows": []}
    first = sbibm.program(task, sbibm.observation(task, 1).y)
    spent = {"simulations": count, "steps": steps, "progress": False}
    for seed in range(seeds):
        once = NPE().fit(first, key=seed, **spent)
        for number in range(1, observations + 1):
            given = sbibm.observation(task, number)
            program = sbibm.program(task, given.y)
            several = NPE().fit(program, key=100 * seed + number, rounds=rounds, **spent)
            row = {
                "seed": seed,
                "observation": number,
                "one_round": scored(
                    once.posterior(several.sites.split(several.only)), given, number
                ),
                "rounds": scored(several.posterior(), given, number),
                "told": several.training.facts["rounds"],
            }
            print(task, row, flush=True)
            out["rows"].append(row)
    return out


def mean(row: dict[str, Any], name: str) -> float:
    """Over the observations of a task."""
    return float(np.mean([r[name] for r in row["rows"]]))


def other(options: argparse.Namespace, known: dict[str, Any]) -> None:
    """Measure tables or rounds."""
    for task in options.tasks:
        given = task, options.observations, options.steps, options.simulations
        name = "from_table" if options.from_table else "in_rounds"
        if options.from_table:
            row = from_table(*given, options.seeds)
        else:
            row = in_rounds(*given, options.rounds, options.seeds)
        row["date"] = datetime.date.today().isoformat()
        known.setdefault(name, {})[task] = row
        options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        columns = ["npe", "simulated"] if options.from_table else ["one_round", "rounds"]
        print(task, name, {c: round(mean(row, c), 3) for c in columns}, flush=True)


def main() -> None:
    """Measure tasks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--observations", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--from-table", action="store_true")
    parser.add_argument(
        "--seeds", type=int, default=3, help="sets of simulations, for tables and rounds"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not sbibm.folder().exists():
        raise SystemExit(f"the reference draws are not at {sbibm.folder()}")
    budgets = options.from_table or options.rounds > 1
    options.out = options.out or (BUDGETS if budgets else RESULTS)
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    if budgets:
        other(options, known)
        return
    for task in options.tasks:
        row = run(task, options.observations, options.steps, options.members)
        row["date"] = datetime.date.today().isoformat()
        row["cores"] = len(os.sched_getaffinity(0))
        known[task] = row
        options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(f"{'task':16} {'NPE':>6} {'publ.':>6} {'NLE':>6} {'publ.':>6} {'refined':>8}  outside")
    for task in (name for name in PUBLISHED if name in known):
        row = known[task]
        lost = sum(v for r in row["rows"] for name, v in r.items() if name.endswith("outside"))
        print(
            f"{task:16} {mean(row, 'npe'):6.3f} {PUBLISHED[task][0]:6.3f} {mean(row, 'nle'):6.3f} "
            f"{PUBLISHED[task][1]:6.3f} {mean(row, 'refined'):8.3f}  {lost}"
        )


if __name__ == "__main__":
    main()
