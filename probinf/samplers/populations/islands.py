"""Islands: what a population of SMC carries along, and what all of them leave."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.base import Params
from probinf.results.posterior import Posterior, assemble
from probinf.runtime.loop import Run
from probinf.samplers.populations.pooling import pooled_evidence


class Particle(NamedTuple):
    """What travels together when a population is resampled."""

    position: Any
    terms: Float[Array, "n ..."]
    eve: Int[Array, " n"]


class IslandState(NamedTuple):
    """One island: its population, place on the path since ``origin``, kernel tuning and counts."""

    particles: Particle
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]
    t: Float[Array, ""]
    end: Float[Array, ""]
    origin: Float[Array, ""]
    passed: Float[Array, " t"]
    params: Params
    stage: Int[Array, ""]
    resamplings: Int[Array, ""]
    nan_count: Int[Array, ""]
    dead: Bool[Array, ""]


class StageRecord(NamedTuple):
    """What is kept of one stage."""

    t: Float[Array, ""]
    ess: Float[Array, ""]
    log_increment: Float[Array, ""]
    rate: Float[Array, ""]
    acceptance: Float[Array, ""]
    moves: Int[Array, ""]
    evaluations: Int[Array, ""]
    step_size: Float[Array, ""]
    correlation: Float[Array, ""]


def pooled(run: Run, *, place: str, noisy: bool) -> Posterior:
    """All islands, each weighted by its evidence.

    Args:
        run: finished; its states are of ``IslandState``.
        place: what the history calls the points of the path.
        noisy: whether resampling drew every ancestor on its own.
    """
    states: IslandState = run.states
    islands, particles = states.log_w.shape
    log_z = np.array([_log_evidence(r, float(states.origin[0])) for r in run.records])
    log_z = np.where(states.dead, -np.inf, log_z)
    log_w = np.asarray(states.log_w, float)
    log_w = log_w - np.logaddexp.reduce(log_w, axis=1, keepdims=True)
    within = np.exp(log_w)
    log_w = log_w + log_z[:, None]
    eves = np.asarray(states.particles.eve)
    resamplings = np.asarray(states.resamplings) if noisy else np.zeros(islands, int)
    history = {
        name: padded([getattr(r, name) for r in run.records])
        for name in StageRecord._fields
        if name not in ("t", "rate")
    }
    terms = np.asarray(states.particles.terms, float)
    if terms.ndim == 3:  # by data: a term for each
        terms = terms.sum(axis=-1)
        history["log_evidence_of_first"] = np.asarray(states.passed, float)
    return assemble(
        run,
        states.particles.position,
        log_weights=log_w - log_w.max(),
        stats={"log_likelihood": terms},
        history={place: padded([r.t for r in run.records]), **history},
        clusters=eves + particles * np.arange(islands)[:, None],
        evidence=pooled_evidence(log_z, within, eves, resamplings),
        provenance={"nan_evaluations": int(states.nan_count.sum())},
    )


def _log_evidence(record: Any, origin: float) -> float:
    """Sum over stages of the increment and the largest likelihood's share, in float64."""
    steps = np.diff(record.t.astype(float), prepend=origin)
    return float(np.sum(record.log_increment.astype(float) + steps * record.rate.astype(float)))


def padded(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of different length, filled up with NaN."""
    longest = max(len(r) for r in rows)
    out = np.full((len(rows), longest), np.nan)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out
