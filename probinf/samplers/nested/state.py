"""What a run of nested sampling carries along, what it records, and the points it leaves."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.base import Params
from probinf.samplers.nested.constrained import Walkers
from probinf.samplers.nested.volumes import Points


class NestedState(NamedTuple):
    """Live points of one run.

    ``birth`` is NaN for draws from the whole base; ``dead`` are the next to be removed.
    ``scales`` shape the directions of both halves, for ``age`` batches so far. A batch that is
    added to a finished run lives between ``floor`` and ``ceiling``; the last ``waiting`` of its
    points are still copies of others above the floor.
    """

    live: Walkers
    birth: Float[Array, " n"]
    params: Params
    scales: Any
    age: Int[Array, ""]
    log_x: Float[Array, ""]
    log_z: Float[Array, ""]
    dead: Int[Array, " k"]
    gap: Float[Array, ""]
    exhausted: Bool[Array, ""]
    stage: Int[Array, ""]
    nan_count: Int[Array, ""]
    first_evaluations: Int[Array, ""]
    floor: Float[Array, ""]
    ceiling: Float[Array, ""]
    waiting: Int[Array, ""]
    batches: Int[Array, ""]


def first_state(live: Walkers, lost: Int[Array, ""], batch: int) -> NestedState:
    """Draws from the whole base, of which nothing is removed yet.

    Args:
        live: the draws.
        lost: how many of them have no usable likelihood.
        batch: points removed at once.
    """
    (n, d), dtype = live.x.shape, live.x.dtype
    unit = jnp.eye(d) if n > 8 * d else jnp.ones((d,))
    params = Params(jnp.ones(()), jnp.zeros((d,)), unit)
    zero, none = jnp.zeros((), live.log_likelihood.dtype), jnp.zeros((), int)
    return NestedState(
        live=live,
        birth=jnp.full((n,), jnp.nan, zero.dtype),
        params=jax.tree.map(lambda a: jnp.stack([a, a]).astype(dtype), params),
        scales=None,
        age=none,
        log_x=zero,
        log_z=zero - jnp.inf,
        dead=jnp.zeros((batch,), int),
        gap=zero + jnp.inf,
        exhausted=jnp.asarray(False),
        stage=none,
        nan_count=lost,
        first_evaluations=jnp.asarray(n),
        floor=zero + jnp.nan,
        ceiling=zero + jnp.inf,
        waiting=none,
        batches=none,
    )


class DeathRecord(NamedTuple):
    """One batch of removed points, and how their replacements were found.

    ``log_likelihood`` is NaN where a mere copy was replaced: nothing died there. ``slot`` is the
    place among the live points that was emptied, ``parent`` that of the point whose moves filled
    it again; both are -1 where there was none.
    """

    position: Float[Array, "k d"]
    log_base: Float[Array, " k"]
    log_likelihood: Float[Array, " k"]
    birth: Float[Array, " k"]
    rank: Float[Array, " k"]
    slot: Int[Array, " k"]
    parent: Int[Array, " k"]
    evaluations: Int[Array, ""]
    stuck: Int[Array, ""]


class LanePoints(NamedTuple):
    """All points of one run, removed and remaining, in the order of their removal."""

    position: np.ndarray
    log_base: np.ndarray
    log_likelihood: np.ndarray
    birth: np.ndarray

    @property
    def points(self) -> Points:
        """What the volumes are counted from, in double precision."""
        return Points(self.log_likelihood.astype(float), self.birth.astype(float))


def lane_points(states: NestedState, record: DeathRecord | None, lane: int) -> LanePoints:
    """Removed and remaining points of one run; copies that still wait are left out."""
    live = [np.asarray(leaf[lane]) for leaf in (*states.live, states.birth)]
    count = live[-1].shape[0] - int(states.waiting[lane])
    found = [leaf[:count] for leaf in live]
    if record is not None:
        died = ~np.isnan(record.log_likelihood)
        removed = record.position, record.log_base, record.log_likelihood, record.birth
        found = [
            np.concatenate([np.asarray(r)[died], leaf])
            for r, leaf in zip(removed, found, strict=True)
        ]
    return LanePoints(*found)


def remaining(states: NestedState, lane: int, batch: int) -> DeathRecord:
    """The live points of one run as a record, so that the state is free for the next batch."""
    live: list[Any] = [np.asarray(leaf[lane]) for leaf in (*states.live, states.birth)]
    steps = -(-live[-1].shape[0] // batch)
    spare = steps * batch - live[-1].shape[0]

    def rows(leaf: np.ndarray) -> Any:
        gap = np.full((spare, *leaf.shape[1:]), np.nan, leaf.dtype)
        return np.concatenate([leaf, gap]).reshape(steps, batch, *leaf.shape[1:])

    nothing: Any = np.zeros(steps, int)
    position, log_base, log_likelihood, birth = (rows(leaf) for leaf in live)
    unranked: Any = np.full_like(birth, np.nan)
    places = np.concatenate([np.arange(live[-1].shape[0]), np.full(spare, -1)])
    slot: Any = places.reshape(steps, batch)
    nobody: Any = np.full_like(slot, -1)
    return DeathRecord(
        position, log_base, log_likelihood, birth, unranked, slot, nobody, nothing, nothing
    )


def evaluations(states: NestedState, records: list[Any]) -> int:
    """Likelihood evaluations of all runs."""
    moved = sum(int(r.evaluations.sum()) for r in records if r is not None)
    return int(states.first_evaluations.sum()) + moved


def inserted_ranks(record: DeathRecord | None) -> np.ndarray:
    """Insertion ranks of the points that replaced a dead one."""
    if record is None:
        return np.zeros(0)
    ranks = np.where(np.isnan(record.log_likelihood), np.nan, record.rank)
    return ranks[~np.isnan(ranks)]
