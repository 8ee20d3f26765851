"""Dynamic nested sampling: another batch of live points where they help most."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Program
from probinf.runtime.lanes import Lane, start_lanes
from probinf.runtime.method import Method
from probinf.samplers.nested.allocation import stretch
from probinf.samplers.nested.constrained import Walkers
from probinf.samplers.nested.merging import Merged
from probinf.samplers.nested.state import LanePoints

_STALE = 1_000_000  # age of directions that are fitted anew
_FIRST_DRAWS = 1_000_000_000  # beyond the steps, whose number makes their keys


def next_batch(
    method: Method[Any], program: Program, lanes: Lane, merged: Merged, goal: float
) -> Lane:
    """Lanes that start a batch where one more live point helps most.

    A batch above a floor starts from copies of the points that were alive there, all of which
    are replaced by slice moves before the first is removed. One from the whole base is drawn.

    Args:
        method: of the run.
        program: on flat positions.
        lanes: at the end of the run or of the batch before.
        merged: all points so far.
        goal: 0 for the evidence, 1 for the posterior.
    """
    where = stretch(merged.log_likelihood, merged.volumes, goal)
    states: Any = jax.tree.map(np.asarray, lanes.state)
    if np.isnan(where.floor):
        started = _from_base(method, program, lanes, states)
    else:
        started = _from_copies(states, merged.lanes, where.floor, merged.rng)
    zeros = np.zeros_like(states.log_x)
    started = started._replace(
        log_x=zeros + where.log_x,
        log_z=zeros + merged.log_z,
        ceiling=zeros + where.ceiling,
        age=np.full_like(states.age, _STALE),
        batches=states.batches + 1,
    )
    placed = jax.tree.map(_placed, started, lanes.state)
    return Lane(lanes.key, lanes.taken, placed)


def _placed(new: np.ndarray, old: jax.Array) -> jax.Array:
    """As a twin of the old array, so that nothing is compiled again."""
    value = jnp.asarray(np.asarray(new, old.dtype))
    return jax.device_put(value, old.sharding) if old.committed else value


def _from_base(method: Method[Any], program: Program, lanes: Lane, states: Any) -> Any:
    keys = jax.vmap(partial(jax.random.fold_in, data=_FIRST_DRAWS))(lanes.key)
    keys = jax.vmap(jax.random.fold_in)(keys, states.batches)
    fresh: Any = jax.tree.map(np.asarray, start_lanes(method, program, keys).state)
    return fresh._replace(
        stage=states.stage,
        params=states.params,
        nan_count=states.nan_count + fresh.nan_count,
        first_evaluations=states.first_evaluations + fresh.first_evaluations,
    )


def _from_copies(
    states: Any, lanes: list[LanePoints], floor: float, rng: np.random.Generator
) -> Any:
    runs, n = states.birth.shape
    everyone = LanePoints(*(np.concatenate(parts) for parts in zip(*lanes, strict=True)))
    copies: list[Any] = []
    for own in lanes:
        # a run that ended below the floor starts from the points of the others
        found = own if _alive(own, floor).size else everyone
        chosen = np.resize(rng.permutation(_alive(found, floor)), n)
        copies.append([leaf[chosen] for leaf in found[:3]])
    stacked: Any = [np.stack(leaves) for leaves in zip(*copies, strict=True)]
    size = states.dead.shape[1]
    return states._replace(
        live=Walkers(*stacked),
        birth=np.full_like(states.birth, floor),
        dead=np.tile(np.arange(size), (runs, 1)),
        gap=np.full_like(states.gap, np.inf),
        exhausted=np.zeros(runs, bool),
        floor=np.full_like(states.floor, floor),
        waiting=np.full(runs, n),
    )


def _alive(found: LanePoints, floor: float) -> np.ndarray:
    """Index of the points that are draws from above the floor."""
    born = np.isnan(found.birth) | (found.birth <= floor)
    return np.flatnonzero(born & (found.log_likelihood > floor))
