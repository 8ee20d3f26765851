"""Posteriors of nested runs put together, and what their provenance says of all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.results.posterior import Posterior
from probinf.samplers.nested.findings import judged
from probinf.samplers.nested.merging import Merged
from probinf.samplers.nested.merging import merge as merge_points
from probinf.samplers.nested.state import LanePoints

_SUMS = ("nan_evaluations", "likelihood_evaluations", "stuck_moves", "run_seconds", "ensembles")


def keys_of(told: Any) -> list[Any]:
    """The keys of all runs that a posterior was merged from, each as a list of numbers."""
    if isinstance(told, list) and told and isinstance(told[0], list):
        return [key for part in told for key in keys_of(part)]
    return [told]


def told_of(runs: list[Posterior]) -> dict[str, Any]:
    """Provenance of all: sums of counts, everything else of the first."""
    told = dict(runs[0].provenance)
    for name in _SUMS:
        if name in told:
            told[name] = sum(run.provenance.get(name, 0) for run in runs)
    told["merged"] = sum(run.provenance.get("merged", 1) for run in runs)
    told["key"] = [key for run in runs for key in keys_of(run.provenance.get("key"))]
    told["interrupted"] = any(run.provenance.get("interrupted") for run in runs)
    return told


def joined_runs(runs: list[Posterior]) -> Posterior:
    """One posterior of several nested runs; how many were alive is counted anew from births."""
    lanes = [
        LanePoints(
            run.unconstrained[0],
            np.zeros(run.log_weights.size),  # base densities are not kept
            run.stats["log_likelihood"][0],
            run.stats["birth_log_likelihood"][0],
        )
        for run in runs
    ]
    seed = np.concatenate([np.ravel(key) for key in told_of(runs)["key"]])
    merged = merge_points(lanes, np.random.default_rng(seed.astype(np.uint32)))
    single = [run.evidence for run in runs if run.evidence is not None]
    total, information = merged.evidence(single)
    ancestry = _ancestry_error(runs, merged)
    few = [f for run in runs for f in run.findings if f.code == "few_ancestors"]
    few = few[:1] if ancestry > total.error else []
    total = total._replace(error=float(np.hypot(total.error, ancestry)))
    order = merged.volumes.order
    p_values = [float(run.provenance["insertion_p_value"]) for run in runs]
    p_value = min(1.0, len(runs) * min(p_values))

    def joined(name: str, of: str = "draws") -> np.ndarray:
        return np.concatenate([getattr(run, of)[name][0] for run in runs])[order][None]

    return dataclasses.replace(
        runs[0],
        draws={name: joined(name) for name in runs[0].draws},
        log_weights=merged.log_weights[None],
        stats={
            "log_likelihood": merged.log_likelihood[None],
            "birth_log_likelihood": joined("birth_log_likelihood", "stats"),
            "live_points": merged.volumes.live[None],
        },
        history={
            name: np.concatenate([run.history[name] for run in runs]) for name in runs[0].history
        },
        unconstrained=np.concatenate([run.unconstrained[0] for run in runs])[order][None],
        clusters=np.arange(order.size)[None],
        evidence=total,
        findings=(*few, *judged(p_value, single)),
        provenance={
            **told_of(runs),
            "information": information,
            "insertion_p_value": p_value,
            "ancestry_error": ancestry,
        },
    )


def _ancestry_error(runs: list[Posterior], merged: Merged) -> float:
    """The error of modes that single runs saw through few points, shared out by their sizes."""
    own = merged.single()
    born = np.array([np.isnan(lane.birth).sum() for lane in merged.lanes], float)
    found = []
    for run, volumes in zip(runs, own, strict=True):
        known = run.provenance.get("ancestry_error")
        if known is None:
            doubtful = any(f.code == "few_ancestors" for f in run.findings)
            error = 0.0 if run.evidence is None or not doubtful else run.evidence.error
            known = np.sqrt(max(error**2 - volumes.error**2, 0.0))
        found.append(known)
    return float(np.sqrt(np.sum((born / born.sum() * np.array(found)) ** 2)))
