"""Dynamic against static nested sampling at about equal likelihood evaluations.

Run from the project's root: ``python -m bench.dynamic [seeds] [problem ...]``. Prints, per problem
and kind of run, evaluations, effective sample size, stated and actual error of log Z; then the
gains: effective draws per evaluation of the posterior goal, and the inverse of variance times
evaluations of the evidence goal, each relative to the static run.
"""

from __future__ import annotations

import sys

import numpy as np
import numpyro.distributions as dist

import probinf as pi
from bench.evidence_problems import PROBLEMS
from probinf.diagnostics import kish_ess


def measured(program: pi.Program, method: pi.Nested, truth: float, seeds: int) -> np.ndarray:
    """Means over seeds: evaluations, ESS, stated variance, squared error."""
    rows = []
    for seed in range(seeds):
        fit = pi.sample(program, method, key=seed, progress=False, check=False)
        error = fit.log_evidence.value - truth
        spent = fit.provenance["likelihood_evaluations"]
        rows.append([spent, kish_ess(fit.log_weights), fit.log_evidence.error**2, error**2])
    return np.mean(rows, axis=0)


def main(seeds: int, names: list[str]) -> None:
    """Print the table."""
    print("problem        run         evaluations     ESS  stated error  actual error")
    for name in names:
        problem = PROBLEMS[name]
        box = dist.Uniform(problem.low, problem.high).expand([problem.size]).to_event(1)
        program = pi.from_log_likelihood(problem.log_likelihood, box)
        rows = {"static": measured(program, pi.Nested(live=400), problem.log_evidence, seeds)}
        budget = int(rows["static"][0])
        for goal in ("posterior", "evidence"):
            method = pi.Nested(live=100, goal=goal, max_evaluations=budget)
            rows[goal] = measured(program, method, problem.log_evidence, seeds)
        for kind, (spent, ess, variance, square) in rows.items():
            print(
                f"{name:14} {kind:10} {spent:12.0f} {ess:7.0f} {np.sqrt(variance):13.3f} "
                f"{np.sqrt(square):13.3f}",
                flush=True,
            )
        static, posterior, evidence = rows["static"], rows["posterior"], rows["evidence"]
        draws = posterior[1] / posterior[0] / (static[1] / static[0])
        precision = static[2] * static[0] / (evidence[2] * evidence[0])
        print(f"{name:14} posterior: {draws:.2f} times the effective draws per evaluation")
        print(f"{name:14} evidence: {precision:.2f} times the precision per evaluation", flush=True)


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["10"])[0]), sys.argv[2:] or ["eggbox 2", "shells 5", "correlated 5"])
