"""Surrogate likelihoods beside plain nested sampling: log evidence and exact evaluations.

Run from the project's root::

    python -m bench.surrogate                    # 20 seeds of each problem
    python -m bench.surrogate --seeds 3 --problems shell

Five parameters of a cosmology-like chi squared (thirty expansion rates, strongly degenerate) and a
Gaussian shell in eight dimensions, each run by ``Nested()`` and by ``Surrogate().sample`` of the
same ``Nested()``, with keys of their own. A surrogate that was trained badly on purpose (no step
of training, one round) must say so. A line is printed for each seed, and what they come to is
written to ``docs/measured/surrogate.json``.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from bench.recording import record

REDSHIFTS = np.linspace(0.05, 1.5, 30)
NOISE = 4.0
CENTRE = np.eye(8)[0]
PACKAGES = ("probinf", "jax")
CAUGHT = {"bad_surrogate", "surrogate_hides", "surrogate_disagrees"}


def expansion(h: Any, matter: Any, dark: Any, w0: Any, wa: Any) -> Any:
    """Expansion rates at thirty redshifts, of dark energy with a changing equation of state."""
    a = 1 / (1 + REDSHIFTS)
    dark_energy = dark * a ** (-3 * (1 + w0 + wa)) * jnp.exp(-3 * wa * (1 - a))
    curvature = 1 - matter - dark
    return 100 * h * jnp.sqrt(jnp.abs(matter / a**3 + curvature / a**2 + dark_energy))


SEEN = np.asarray(expansion(0.7, 0.3, 0.7, -1.0, 0.0))
SEEN = SEEN + NOISE * np.random.default_rng(0).normal(size=30)


def cosmology() -> None:
    """Chi squared of thirty expansion rates, five parameters."""
    low, high = np.array([0.5, 0.1, 0.3, -2.0, -1.0]), np.array([0.9, 0.6, 1.1, -0.3, 1.0])
    v = numpyro.sample("v", dist.Uniform(low, high).to_event(1))
    numpyro.factor("chi squared", -0.5 * jnp.sum(((expansion(*v) - SEEN) / NOISE) ** 2))


def shell() -> None:
    """A Gaussian shell of radius 2 and width .2 in eight dimensions."""
    v = numpyro.sample("v", dist.Uniform(-6 * np.ones(8), 6 * np.ones(8)).to_event(1))
    numpyro.factor("shell", -0.5 * ((jnp.linalg.norm(v - CENTRE) - 2) / 0.2) ** 2)


PROBLEMS = {"cosmology": cosmology, "shell": shell}


def one(program: pi.Program, seed: int) -> dict[str, Any]:
    """Both runs, and the bad surrogate."""
    plain = pi.sample(program, pi.Nested(), key=seed, progress=False)
    run = pi.amortized.Surrogate().sample(program, pi.Nested(), key=1000 + seed)
    bad = pi.amortized.Surrogate(steps=0, rounds=1).sample(program, pi.Nested(), key=2000 + seed)
    told = run.provenance["surrogate"]
    gap = run.log_evidence.value - plain.log_evidence.value
    full = int(plain.provenance["likelihood_evaluations"])
    return {
        "plain": plain.log_evidence.value,
        "surrogate": run.log_evidence.value,
        "z": gap / float(np.hypot(plain.log_evidence.error, run.log_evidence.error)),
        "plain calls": full,
        "calls": int(told["exact_evaluations"]),
        "saved": 1 - told["exact_evaluations"] / full,
        "k": told["pareto_k"],
        "delta": told["delta_log_z"],
        "spread": told["spread"],
        "rounds": told["rounds"],
        "findings": sorted({f.code for f in run.findings}),
        "bad z": (bad.log_evidence.value - plain.log_evidence.value)
        / float(np.hypot(plain.log_evidence.error, bad.log_evidence.error)),
        "bad caught": sorted(CAUGHT & {f.code for f in bad.findings}),
    }


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds come to."""
    z = np.array([run["z"] for run in runs])
    gaps = np.array([run["surrogate"] - run["plain"] for run in runs])
    return {
        "seeds": len(runs),
        "within 2 sd": int(np.sum(np.abs(z) <= 2)),
        "mean z": float(z.mean()),
        "sd z": float(z.std()),
        "mean gap": float(gaps.mean()),
        "plain calls": float(np.mean([run["plain calls"] for run in runs])),
        "calls": float(np.mean([run["calls"] for run in runs])),
        "saved": float(np.mean([run["saved"] for run in runs])),
        "least saved": float(np.min([run["saved"] for run in runs])),
        "largest k": float(np.max([run["k"] for run in runs])),
        "rounds": float(np.mean([run["rounds"] for run in runs])),
        "warned": sum(bool(CAUGHT & set(run["findings"])) for run in runs),
        "bad caught": sum(bool(run["bad caught"]) for run in runs),
        "runs": runs,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    given = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in given.problems}
    programs = {name: pi.from_numpyro(PROBLEMS[name]) for name in given.problems}
    for seed in range(given.seeds):
        for name, found in runs.items():
            row = one(programs[name], seed)
            found.append(row)
            record("surrogate.json", name, together(found), packages=PACKAGES)
            print(
                f"{name:9} {seed:3}  log Z {row['plain']:8.3f} plain, {row['surrogate']:8.3f} "
                f"surrogate, z {row['z']:+.2f}; exact calls {row['plain calls']:7,} and "
                f"{row['calls']:7,} (saved {row['saved']:.0%}); k {row['k']:.2f}, delta "
                f"{row['delta']:+.3f}, rounds {row['rounds']} {row['findings']}; "
                f"bad: z {row['bad z']:+.1f} {row['bad caught']}",
                flush=True,
            )
    for name, found in runs.items():
        told = together(found)
        told.pop("runs")
        print(name, {k: round(v, 3) for k, v in told.items()})


if __name__ == "__main__":
    main()
