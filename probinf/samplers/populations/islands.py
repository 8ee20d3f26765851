"""What an island of SMC carries along, and what all of them leave."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.base import Params
from probinf.runtime.method import Run
from probinf.samplers.populations.base import Islands
from probinf.samplers.populations.descent import Descent


class Particle(NamedTuple):
    """What travels together when a population is resampled."""

    position: Any
    terms: Float[Array, "n ..."]
    eve: Int[Array, " n"]
    line: Int[Array, " n"]


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
    varied: Bool[Array, ""]
    descent: Descent
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
    acceptance_by_place: Float[Array, ""]
    acceptance_by_likelihood: Float[Array, ""]
    variance: Float[Array, ""]
    fourth: Float[Array, ""]


def gathered(run: Run) -> Islands:
    """What the islands of tempered or data-tempered SMC have come to."""
    states: IslandState = run.states
    origin = float(states.origin[0])
    log_z = np.array([-np.inf if r is None else _log_evidence(r, origin) for r in run.records])
    terms = np.asarray(states.particles.terms, float)
    if terms.ndim == 3:  # by data: a term for each
        terms = terms.sum(axis=-1)
    variance, fourth = (np.asarray(v, float) for v in jax.vmap(Descent.sums)(states.descent))
    return Islands(
        position=states.particles.position,
        log_w=np.asarray(states.log_w, float),
        log_z=np.where(states.dead, -np.inf, log_z),
        eves=np.asarray(states.particles.eve),
        firsts=states.log_w.shape[1],
        variances=variance,
        fourths=fourth,
        stats={"log_likelihood": terms},
        nan_count=int(states.nan_count.sum()),
        moves=last_moves(run, states.particles.position),
    )


def last_moves(run: Run, position: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the acceptances of a last stage belong to and go with, of islands that are alive.

    Of the last stage in which particles moved twice by the whole step. Where coordinates are
    random keys, acceptances vary with the estimate that a key gives, and nothing is said.
    """
    found = []
    for record, dead in zip(run.records, np.asarray(run.states.dead), strict=True):
        if record is None or dead or not isinstance(position, jax.Array | np.ndarray):
            continue
        known = np.flatnonzero(np.isfinite(record.acceptance_by_place))
        if known.size:
            last = known[-1]
            found.append((record.acceptance_by_place[last], record.acceptance_by_likelihood[last]))
    place, along = np.array(found, float).reshape(-1, 2).T
    return place, along


def unfinished(run: Run, most: int) -> str:
    """Why some island has not come to the end of its path in ``most`` stages; empty if all have."""
    states: IslandState = run.states
    if not (states.t < states.end).any():
        return ""
    if run.provenance["interrupted"]:
        return "the run was interrupted before the end of the path was reached."
    if states.dead.any():
        return ""
    return (
        f"the end of the path was not reached in {most} stages. Lower target_ess or use more "
        "particles."
    )


def _log_evidence(record: Any, origin: float) -> float:
    """Sum over stages of the increment and the largest likelihood's share, in float64."""
    steps = np.diff(record.t.astype(float), prepend=origin)
    return float(np.sum(record.log_increment.astype(float) + steps * record.rate.astype(float)))
