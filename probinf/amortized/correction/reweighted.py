"""reweighted: draws of an approximation that need not be normalised, weighted by the program."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten, restored
from probinf.core.program import Data, Key, Position, Program
from probinf.core.transformations.nesting import OnInner
from probinf.errors import StructureError
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import chain_blocks
from probinf.samplers.importance import judged


@dataclasses.dataclass(frozen=True)
class _StartFrom:
    """Starting points of chains: rows of a sample."""

    layout: Layout

    def __call__(self, key: Key, data: Data) -> Position:
        rows = data[1]
        count = jax.tree.leaves(rows)[0].shape[0]
        index = jax.random.randint(key, (), 0, count)
        return self.layout.unravel(jax.tree.map(lambda v: v[index], rows))


def reweighted(program: Program, posterior: Posterior) -> tuple[Program, Posterior]:
    """Weights ``gamma / q`` at the draws of a sampled, perhaps unnormalised q."""
    q = posterior.program
    if q is None:
        raise StructureError("refine: this posterior has no program. Load it with program=.")
    flat, layout = flatten(program)
    flat_q, layout_q = flatten(q)
    if layout.size != layout_q.size or layout.has_keys or layout_q.has_keys:
        raise StructureError(
            f"refine: the draws have {layout_q.size} coordinates, the program has {layout.size}"
            f"{' and random keys' if layout.has_keys else ''}; both must be the same parameters."
        )
    view = posterior.resampled(0)
    rows = restored(view.unconstrained.reshape(-1, layout.size))
    log_w = np.asarray(_totals(flat, rows), float) - np.asarray(_totals(flat_q, rows), float)
    log_w = np.where(np.isfinite(log_w), log_w, -np.inf)
    target = dataclasses.replace(
        program,
        start=_StartFrom(layout),
        draw=OnInner(program.draw),
        score=OnInner(program.score),
        constrain=OnInner(program.constrain),
        simulate=None,
        pointwise=None,
        observations=None,
        sites=None,
        data=(program.data, rows),
    )
    clusters = np.arange(log_w.size).reshape(view.log_weights.shape)
    if not posterior.weighted:
        # neighbours in a chain are not independent: the error counts blocks of them
        clusters = chain_blocks(*view.log_weights.shape)
    return target, dataclasses.replace(
        view,
        log_weights=(log_w - log_w.max()).reshape(view.log_weights.shape)
        if np.isfinite(log_w).any()
        else np.full(view.log_weights.shape, -np.inf),
        kind="weighted",
        findings=judged(log_w),
        clusters=clusters,
        evidence=None,
        no_evidence="the draws come from an unnormalised approximation; use SMC for the evidence.",
        provenance={**view.provenance, "engine": f"reweighted {posterior.engine}"},
    )


@jitted
def _totals(flat: Program, rows: Any) -> jax.Array:
    def total(x: Any) -> jax.Array:
        score = flat.score(x, flat.data)
        return score.log_base + score.log_weight

    return jax.vmap(total)(rows)
