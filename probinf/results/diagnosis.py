"""diagnose: what is wrong with a posterior, where, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from probinf.core.doctor import indefinite
from probinf.core.gradients import hidden_nan
from probinf.results.both_ends import both_ends
from probinf.results.chain_findings import of_chains
from probinf.results.findings import Diagnosis, Finding, Tells
from probinf.results.precision import of_precision
from probinf.results.statistics.weighted import kish_ess, weights_of

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior


_CARRIES = 1e-3  # of the weight that an equal share would be


def diagnose(posterior: Posterior) -> Diagnosis:
    """Findings on convergence, divergences, effective sizes, weights and lost evaluations.

    What only an engine can know it has found itself (``posterior.findings``).
    """
    own = list(posterior.findings)
    if posterior.kind == "chains":
        found = [*_hidden(posterior), *of_chains(posterior), *own]
    else:
        found = [*own, *_of_weights(posterior)]
    found += [*both_ends(posterior), *_lost(posterior), *of_precision(posterior)]
    found += _told(posterior)
    summary = posterior.summary()
    finite = np.isfinite(summary.columns["mean"])
    if posterior.log_weights.size > 1:  # a single draw has no sd
        finite &= np.isfinite(summary.columns["sd"])
    if broken := [name for name, fine in zip(summary.names, finite, strict=True) if not fine]:
        found.insert(
            0,
            Finding(
                "not_finite",
                f"some draws of {', '.join(broken[:3])} are infinite or NaN, so nothing can be "
                "said about them. Rescale the quantity or work with its logarithm.",
            ),
        )
    if posterior.provenance.get("interrupted"):
        found.append(Finding("interrupted", "the run was stopped before its end; draws are few."))
    return Diagnosis(tuple(found), _notes(posterior))


def _told(posterior: Posterior) -> list[Finding]:
    """What parts of the program's data know."""
    data = None if posterior.program is None else posterior.program.data
    parts = jax.tree.leaves(data, is_leaf=lambda part: isinstance(part, Tells))
    return [f for part in parts if isinstance(part, Tells) for f in part.findings(posterior)]


def _notes(posterior: Posterior) -> tuple[str, ...]:
    """How far an approximation is from its program, where it is close enough."""
    told = posterior.provenance.get("approximation", {})
    if "pareto_k" not in told or "pareto_k" in {f.code for f in posterior.findings}:
        return ()
    share = kish_ess(posterior.stats["log_density"] - posterior.stats["log_approximation"])
    return (
        f"Pareto k of the approximation: {told['pareto_k']:.2f} (it can be corrected by weights "
        f"below 0.7, which are worth {share / posterior.log_weights.size:.0%} of its draws).",
    )


def _hidden(posterior: Posterior) -> list[Finding]:
    """What keeps chains out of a region: gradients or covariances that fail there."""
    if posterior.program is None or "divergent" not in posterior.stats:
        return []
    found = []
    if hidden := hidden_nan(posterior.program):
        told = f"{hidden}. Draws miss that region, and divergences mark its edge."
        found.append(Finding("nan_gradient", told))
    if posterior.stats["divergent"].any() and (told := indefinite(posterior.program)):
        found.append(Finding("not_positive_definite", f"{told} Divergences mark its edge."))
    return found


def _of_weights(posterior: Posterior) -> list[Finding]:
    found = []
    n = posterior.log_weights.size
    kish = kish_ess(posterior.log_weights)
    if kish < 100 and n > 1:  # a mode is one point on purpose
        found.append(
            Finding(
                "low_ess",
                f"the weights are worth {kish:.0f} of {n} draws. Use more particles or live "
                "points, or SMC instead of Importance.",
            )
        )
    if posterior.kind == "population" and (ancestors := _ancestors(posterior)) < 50:
        found.append(
            Finding(
                "ancestry",
                f"all particles descend from {ancestors} first particles: Monte Carlo errors are "
                "themselves uncertain. Use more particles or islands.",
            )
        )
    if "acceptance" in posterior.history:
        acceptance = posterior.history["acceptance"]
        if np.nanmin(acceptance) < 0.02:
            stage = int(np.nanargmin(np.nanmin(acceptance, axis=0)))
            found.append(
                Finding(
                    "acceptance",
                    f"only {np.nanmin(acceptance):.1%} of the moves of stage {stage} were "
                    "accepted. Use another kernel or more moves.",
                )
            )
    return found


def _ancestors(posterior: Posterior) -> int:
    """First ancestors whose offspring carry weight."""
    assert posterior.clusters is not None
    _, label = np.unique(posterior.clusters, return_inverse=True)
    weights = weights_of(posterior.log_weights.ravel())
    return int(np.sum(np.bincount(label.ravel(), weights) > _CARRIES / weights.size))


def _lost(posterior: Posterior) -> list[Finding]:
    asked = posterior.provenance.get("callback", {})
    if kinds := asked.get("failures"):
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return [
            Finding(
                "failures",
                f"{sum(kinds.values())} of {asked['evaluations']} evaluations of the likelihood "
                f"failed ({told}) and count as impossible. The first: {asked['first_failure']}.",
            )
        ]
    lost = int(posterior.provenance.get("nan_evaluations", 0))
    if not lost:
        return []
    what = "the density was" if posterior.kind == "chains" else "the log likelihood was"
    return [
        Finding(
            "nan",
            f"{what} NaN at {lost} of the points that were tried (or +inf), which count as "
            "impossible. Find out where with pi.check(program).",
        )
    ]
