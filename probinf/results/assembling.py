"""Assembling: from what a run has left to a Posterior."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.core.coordinates import Mixed, vector_of
from probinf.results.collecting import Chains
from probinf.results.findings import Finding
from probinf.results.posterior import Kind, Posterior
from probinf.results.precision import loss_before_letting_go
from probinf.results.sites import site_draws
from probinf.runtime.method import Run


def assemble(
    run: Run,
    kind: Kind,
    positions: Any,
    *,
    draws: dict[str, np.ndarray] | None = None,
    log_weights: np.ndarray | None = None,
    provenance: dict[str, Any] | None = None,
    **fields: Any,
) -> Posterior:
    """A Posterior from flat positions with leading axes (chain, draw).

    Args:
        run: finished.
        kind: of the draws.
        positions: unconstrained.
        draws: by site; by default those of the positions that the run shall keep.
        log_weights: (chain, draw); by default all are equal.
        provenance: what the engine adds to the run's.
        **fields: other fields of :class:`~probinf.Posterior`.
    """
    positions = jax.tree.map(np.asarray, positions)
    vectors = vector_of(positions)
    if draws is None:
        draws = site_draws(run.flat, run.layout, positions, run.kept.sites)
    keys = positions.keys if isinstance(positions, Mixed) else ()
    provenance = dict(provenance or {})
    if not run.kept.everything:
        provenance |= loss_before_letting_go(run.program, positions, log_weights)
        vectors, keys = vectors[:, :, :0], ()
    fields = _with_an_evidence_that_is_a_number({"stats": {}, "history": {}, **fields})
    return Posterior(
        draws=draws,
        log_weights=np.zeros(vectors.shape[:2])
        if log_weights is None
        else np.asarray(log_weights, float),
        unconstrained=vectors,
        keys=keys,
        kind=kind,
        provenance={
            **run.provenance,
            **provenance,
            "layout": str(run.layout.treedef),
        },
        program=run.program,
        axes=run.program.axes,
        **fields,
    )


def _with_an_evidence_that_is_a_number(fields: dict[str, Any]) -> dict[str, Any]:
    """An infinite or NaN evidence is none, with the reason for who asks for it."""
    evidence = fields.get("evidence")
    if evidence is None or np.isfinite(evidence.value):
        return fields
    reason = (
        f"the log evidence came out as {evidence.value}: the log likelihood is infinite or NaN "
        "where the run went. Look at the sites with pi.check(program), or run with "
        "precision='double'."
    )
    findings = (*fields.get("findings", ()), Finding("evidence", reason))
    return {**fields, "evidence": None, "no_evidence": reason, "findings": findings}


def assemble_chains(
    run: Run,
    *,
    stats: dict[str, np.ndarray],
    provenance: dict[str, Any] | None = None,
    **fields: Any,
) -> Posterior:
    """A Posterior from what ``ChainCollector`` collected; fields as in ``assemble``."""
    chains: Chains = run.records
    told = {"warmup_evaluations": chains.warmup_evaluations, **(provenance or {})}
    shape = stats["log_density"].shape[:2]
    if chains.position is None:
        fields |= {"draws": chains.draws or {}, "streamed": chains.summary}
        told |= loss_before_letting_go(run.program, chains.latest, None)
    nowhere = np.zeros((*shape, 0), run.layout.dtype)
    positions = nowhere if chains.position is None else chains.position
    return assemble(run, "chains", positions, stats=stats, provenance=told, **fields)
