"""Any-marginal models against enumeration: Ising models on a 4 x 4 grid and a net of ten nodes.

Run from the project's root::

    python -m bench.any_marginal                     # 3 seeds, both modes
    python -m bench.any_marginal --seeds 1 --problems "Ising 0.3"

Each problem is learned from its density (energy mode) and from 50,000 exact draws (likelihood
mode). Marginals are those of 300 random parts of up to half of the coordinates, by the network in
one pass; single ones are all with one entry known. Log evidence is the network's own importance
estimate. What the seeds come to is written to ``docs/measured/any_marginal.json``.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from bench.recording import record
from probinf.amortized import AnyMarginal, refinement

FIELD = 0.2 * np.random.default_rng(0).normal(size=(4, 4))
PARENTS = [sorted(np.random.default_rng(k).permutation(k)[:3].tolist()) for k in range(10)]
WEIGHTS = np.random.default_rng(11).normal(scale=1.5, size=(10, 4))
PACKAGES = ("probinf", "jax")


def ising(coupling: float) -> None:
    """Sixteen spins."""
    s = numpyro.sample("s", dist.Bernoulli(0.5 * jnp.ones((4, 4))))
    s = 2 * s - 1
    pairs = jnp.sum(s[1:] * s[:-1]) + jnp.sum(s[:, 1:] * s[:, :-1])
    numpyro.factor("energy", coupling * pairs + jnp.sum(FIELD * s))


def net() -> None:
    """Ten nodes with up to three parents each, and what two noisy sensors saw of the last two."""
    x: list[Any] = []
    for k, parents in enumerate(PARENTS):
        logit = WEIGHTS[k, 3] + sum(
            w * (2 * x[j] - 1) for w, j in zip(WEIGHTS[k], parents, strict=False)
        )
        x.append(numpyro.sample(f"x{k}", dist.Bernoulli(logits=logit)))
    for k in (8, 9):
        numpyro.sample(f"seen{k}", dist.Bernoulli(0.1 + 0.8 * x[k]), obs=1)


PROBLEMS: dict[str, Any] = {
    "Ising 0.3": lambda: pi.from_numpyro(ising, 0.3, allow_discrete=True),
    "Ising 0.44": lambda: pi.from_numpyro(ising, 0.44, allow_discrete=True),
    "net": lambda: pi.from_numpyro(net, allow_discrete=True),
}


def enumerated(program: pi.Program) -> tuple[np.ndarray, np.ndarray]:
    """All points as vectors, and the log density of each."""
    template = program.template()
    size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(template))
    every = np.array(list(itertools.product([0, 1], repeat=size)), np.int32)

    def one(row: Any) -> Any:
        return sum(program.score(split(template, row), program.data))

    return every, np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(every)), float)


def split(template: Any, row: Any) -> dict[str, Any]:
    """A vector, or rows of them, by site in the order of the names."""
    found, first = {}, 0
    for name in sorted(template):
        size = int(np.prod(template[name].shape))
        part = row[..., first : first + size]
        found[name] = part.reshape(*row.shape[:-1], *template[name].shape)
        first += size
    return found


def one(program: pi.Program, mode: str, seed: int, steps: int) -> dict[str, Any]:
    """A training and its errors."""
    every, log_gamma = enumerated(program)
    template, total = program.template(), np.logaddexp.reduce(log_gamma)
    p = np.exp(log_gamma - total)
    rng = np.random.default_rng(seed)
    source: Any = program
    if mode == "likelihood":
        source = split(template, every[rng.choice(len(p), 50_000, p=p)])
    began = time.perf_counter()
    fitted = AnyMarginal().fit(source, key=seed, steps=steps, learning_rate=3e-3, progress=False)
    seconds = time.perf_counter() - began
    size = every.shape[1]
    known = rng.uniform(size=(300, size)) < 0.5 * rng.uniform(size=(300, 1))
    known[np.arange(300), rng.integers(size, size=300)] = True
    points = every[rng.choice(len(p), 300, p=p)]
    truth = [p[(every[:, k] == x[k]).all(1)].sum() for k, x in zip(known, points, strict=True)]
    found = fitted.log_marginal(split(template, np.where(known, points, np.nan)))
    alone = np.where(np.eye(size, dtype=bool), 1, np.nan)
    singles = np.exp(fitted.log_marginal(split(template, alone)))
    parts = fitted.probabilities()
    first = np.concatenate([np.ravel(parts[name][..., 1]) for name in sorted(parts)])
    judged = fitted.exact(program, key=seed, draws=10_000)
    posterior = pi.refine(program, fitted.as_program(program), key=seed, progress=False)
    w = np.exp(posterior.log_weights.ravel())
    draws = np.concatenate(
        [posterior.draws[name].reshape(len(w), -1) for name in sorted(template)], 1
    )
    told = refinement(posterior)
    return {
        "MAE": float(np.abs(np.exp(found) - truth).mean()),
        "MAE singles": float(np.abs(singles - p @ every).mean()),
        "MAE first step": float(np.abs(first - p @ every).mean()),
        "rms log error": float(np.sqrt(np.mean((found - np.log(truth)) ** 2))),
        "log Z error": judged.log_z.value - float(total),
        "log Z z": judged.log_z.z(float(total)),
        "k": judged.pareto_k,
        "rung": told.rung,
        "refined MAE": float(np.abs(w @ draws / w.sum() - p @ every).mean()),
        "refined log Z error": posterior.log_evidence.value - float(total)
        if posterior.evidence is not None
        else float("nan"),
        "seconds": seconds,
    }


def together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of the seeds, and their mean where it says more."""
    worst = {
        name: float(np.max(np.abs([run[name] for run in runs])))
        for name in ("MAE", "MAE singles", "MAE first step", "rms log error", "log Z error",
                     "log Z z", "refined MAE", "refined log Z error", "seconds")
    }  # fmt: skip
    k = float(np.max([run["k"] for run in runs]))
    return {"seeds": len(runs), **worst, "largest k": k, "runs": runs}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    given = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed, name, mode in itertools.product(
        range(given.seeds), given.problems, ("energy", "likelihood")
    ):
        row = one(PROBLEMS[name](), mode, seed, given.steps)
        found = runs.setdefault(f"{name} | {mode}", [])
        found.append(row)
        record("any_marginal.json", f"{name} | {mode}", together(found), packages=PACKAGES)
        print(f"{name:10} {mode:10} {seed}", {k: v if isinstance(v, str) else round(v, 4)
                                              for k, v in row.items()}, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
