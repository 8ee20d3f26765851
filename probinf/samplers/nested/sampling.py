"""Nested sampling: live points climb through likelihood contours of any drawable base."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from probinf.core.coordinates import Layout, layout_of, vector_of
from probinf.core.inputs.limits import at_least, inside, positive
from probinf.core.population import drawn, scored
from probinf.core.program import Key, Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.kernels.base import Params
from probinf.results.assembling import assemble
from probinf.results.posterior import Posterior
from probinf.runtime.codec import encoded
from probinf.runtime.lanes import Lane
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.runtime.records import Collector, Pieces
from probinf.samplers.nested.allocation import Allocation, check_allocation
from probinf.samplers.nested.ancestry import parents, parted
from probinf.samplers.nested.clusters import cells_for_halves
from probinf.samplers.nested.constrained import Walkers, insertion_ranks, slice_above, survivors
from probinf.samplers.nested.dynamic import next_batch
from probinf.samplers.nested.findings import judged
from probinf.samplers.nested.further import further
from probinf.samplers.nested.merging import Merged, merge
from probinf.samplers.nested.periodic import (
    check_periodic,
    mask_of,
    on_circle,
    to_line,
    told,
    unwrapped,
    wrapped,
)
from probinf.samplers.nested.state import (
    DeathRecord,
    NestedState,
    evaluations,
    first_state,
    inserted_ranks,
    lane_points,
    remaining,
)
from probinf.samplers.nested.volumes import insertion_p_value
from probinf.samplers.populations.tuning import cross_fitted

_MAX_STEPS = 1_000_000
_MAX_SHRINKAGE = 100
_LOOKS = 64  # batches between two looks from the host
_STALE = 0.5  # share of the live points that die before directions are fitted again


@dataclasses.dataclass(frozen=True)
class Nested(Method[Posterior]):
    """Nested sampling: evidence and posterior, for any base that can be drawn from.

    The lowest live points are removed in batches and replaced by draws of
    ``above(program, level)``, made by slice moves from a random survivor, every other one along
    directions that fit its cluster. It needs no gradient, no hypercube and no path of
    temperatures, and stays right where the likelihood has plateaus, jumps or phase transitions.

    Args:
        live: live points per run; the error of the log evidence is about sqrt(H / live), with
            H the information in nats.
        runs: independent runs, merged; they spread over devices.
        moves: slice moves per replacement, or None for max(10, 2 d) in d dimensions.
        batch: points removed at once, or None for a fifth of the live points.
        tolerance: stop when the live points hold less than this share of the evidence.
        goal: makes the run dynamic: after it, further batches of ``live`` points are born
            where they help most, for ``"posterior"``, for ``"evidence"``, or for a mixture, a
            number between 0 (evidence) and 1 (posterior). They go on until the targets below
            are reached; when one of two is, the rest go to the other.
        min_ess: target of a dynamic run: Kish's effective sample size of the weights. The
            summary's counts unknown volumes too, and is smaller for what follows the likelihood.
        max_error: target of a dynamic run: standard error of the log evidence.
        max_evaluations: no batch begins after so many likelihood evaluations of all runs,
            whether the targets are reached or not.
        periodic: sites whose values go round: angles, phases, hours. Their priors live on an
            interval (``Uniform``, ``VonMises``), whose ends are one point: moves go through it,
            and the summary is circular.

    Raises:
        MethodError: an option is out of range; ``periodic`` names no site on an interval.

    Source: Skilling (2006); batches: Henderson & Goggans (2014); plateaus: Fowlie, Handley &
    Su (2021); dynamic: Higson, Handley, Hobson & Lasenby (2019). With a goal the batches
    depend on the points before them, which adds a bias of order 1 / live to the evidence.
    """

    live: int = 500
    runs: int = 1
    moves: int | None = None
    batch: int | None = None
    tolerance: float = 1e-3
    goal: Literal["posterior", "evidence"] | float | None = None
    min_ess: int | None = None
    max_error: float | None = None
    max_evaluations: int | None = None
    periodic: Sequence[str] = ()

    def __post_init__(self) -> None:
        at_least(1, live=self.live, batch=self.batch, min_ess=self.min_ess)
        at_least(1, max_evaluations=self.max_evaluations)
        positive(max_error=self.max_error)
        sites = (self.periodic,) if isinstance(self.periodic, str) else self.periodic
        object.__setattr__(self, "periodic", tuple(sites))
        if self.live < 4 or self.live % 2:
            raise MethodError(f"live must be an even number of at least 4, got {self.live}.")
        at_least(1, runs=self.runs, moves=self.moves)
        inside(0, 1, tolerance=self.tolerance)
        if self.batch is not None and not 1 <= self.batch <= self.live // 2:
            raise MethodError(
                f"batch must lie between 1 and half of the {self.live} live points, "
                f"got {self.batch}."
            )
        check_allocation(self._allocation)

    @property
    def _circles(self) -> tuple[str, ...]:
        return tuple(self.periodic)

    @property
    def _allocation(self) -> Allocation:
        return Allocation(self.goal, self.min_ess, self.max_error, self.max_evaluations)

    @property
    def _batch(self) -> int:
        return self.batch or max(1, self.live // 5)

    @property
    def _lasting(self) -> int:
        """Batches for which directions serve: the contour shrinks little meanwhile."""
        return max(1, int(_STALE * self.live) // self._batch)

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each run.

        Raises:
            MethodError: a coordinate is a random key.
        """
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
        if layout.has_keys:
            raise MethodError(
                "Nested moves along straight lines, but this program has a random-key "
                "coordinate. Use SMC, whose random walk can redraw it."
            )
        check_periodic(program, layout, self._circles)
        return Plan(lanes=self.runs, chunk=_LOOKS)

    def init(self, key: Key, program: Program) -> NestedState:
        """Draws from the base."""
        n, program = self.live, on_circle(program, self._circles)
        x = drawn(key, program, n)
        log_base, log_l, lost = scored(program, x)
        state = first_state(Walkers(vector_of(x), log_base, log_l), lost, self._batch)
        circle = mask_of(layout_of(program), self._circles)
        scales = jax.eval_shape(partial(_fitted, circle=circle), state, jnp.ones((n,), bool))[1]
        scales = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), scales)
        return self._looked_ahead(state._replace(scales=scales, age=jnp.asarray(self._lasting)))

    def _looked_ahead(self, state: NestedState) -> NestedState:
        """Whether any live point lies strictly above the next contour, and what is left."""
        log_l = state.live.log_likelihood
        dead = jax.lax.top_k(-log_l, self._batch)[1]
        exhausted = ~jnp.any(log_l > log_l[dead[-1]])  # of the values, XLA would sort them all
        # copies are replaced in the order of their places
        copies = (self.live - state.waiting + jnp.arange(self._batch)) % self.live
        dead = jnp.where(state.waiting > 0, copies, dead)
        rest = state.log_x + jax.scipy.special.logsumexp(log_l) - jnp.log(self.live)
        gap = jnp.where(jnp.isneginf(state.log_z), jnp.inf, rest - state.log_z)
        return state._replace(dead=dead, gap=gap, exhausted=exhausted)

    def step(
        self, key: Key, program: Program, state: NestedState
    ) -> tuple[NestedState, DeathRecord]:
        """Remove the lowest batch, and replace it from above its highest likelihood."""
        n, k = self.live, self._batch
        move_key, other_key = jax.random.split(key)
        u = jax.random.uniform(other_key, (2 * k,))
        live = state.live
        log_l = live.log_likelihood
        dead = state.dead
        copies = state.waiting > 0
        level = jnp.where(copies, state.floor, log_l[dead[-1]])
        above = log_l > level
        circle = mask_of(layout_of(program), self._circles)
        due = state.age >= self._lasting
        params, scales = jax.lax.cond(
            due,
            lambda: _fitted(state, above, circle=circle),
            lambda: (state.params, state.scales),
        )
        # a half is renewed from its own survivors, so the other half may shape its moves
        group = (dead >= n // 2).astype(int)
        start = survivors(u[:k], above, group)
        moves = self.moves or max(10, 2 * live.x.shape[1])
        found, report = slice_above(
            move_key,
            on_circle(program, self._circles),
            jax.tree.map(lambda leaf: leaf[start], live),
            level,
            scales,
            group,
            moves=moves,
            max_shrinkage=_MAX_SHRINKAGE,
            place=partial(wrapped, circle=circle),
        )
        found = found._replace(x=wrapped(found.x, circle))
        record = DeathRecord(
            position=live.x[dead],
            log_base=live.log_base[dead],
            log_likelihood=jnp.where(copies, jnp.nan, log_l[dead]),
            birth=state.birth[dead],
            rank=insertion_ranks(u[k:], log_l, above, found.log_likelihood),
            slot=dead,
            parent=start,
            evaluations=report.evaluations,
            stuck=report.stuck,
        )
        alive = n - jnp.arange(k)
        log_x = state.log_x + jnp.cumsum(jnp.log1p(-1 / alive))
        before = jnp.concatenate([state.log_x[None], log_x[:-1]])
        shells = jax.scipy.special.logsumexp(log_l[dead] + before - jnp.log(alive))
        state = state._replace(
            live=jax.tree.map(lambda old, new: old.at[dead].set(new), live, found),
            birth=state.birth.at[dead].set(level),
            params=params,
            log_x=jnp.where(copies, state.log_x, log_x[-1]).astype(log_l.dtype),
            log_z=jnp.where(copies, state.log_z, jnp.logaddexp(state.log_z, shells)).astype(
                log_l.dtype
            ),
            scales=scales,
            age=jnp.where(due, 1, state.age + 1),
            stage=state.stage + 1,
            nan_count=state.nan_count + report.nan_count,
            waiting=jnp.maximum(state.waiting - k, 0),
        )
        return self._looked_ahead(state), record

    def done(self, state: NestedState) -> Bool[Array, ""]:
        """Little evidence left, all live points equal, or all above a batch's ceiling."""
        enough = state.gap < math.log(self.tolerance)
        arrived = jnp.min(state.live.log_likelihood) > state.ceiling
        ended = (state.waiting == 0) & (enough | state.exhausted | arrived)
        return ended | (state.stage >= _MAX_STEPS)

    def again(
        self, program: Program, lanes: Lane, collector: Collector
    ) -> tuple[Lane, list[Any]] | None:
        """Another batch of live points, until the targets of a dynamic run are reached."""
        states: NestedState = jax.tree.map(np.asarray, lanes.state)
        if self.goal is None or (states.stage >= _MAX_STEPS).any():
            return None
        assert isinstance(collector, Pieces)
        records = collector.so_far()
        seed = [*np.asarray(jax.random.key_data(lanes.key)).ravel(), int(states.batches[0])]
        merged = self._merged(states, records, np.random.default_rng(seed))
        goal = self._allocation.next_goal(merged, evaluations(states, records))
        if goal is None:
            return None
        started = next_batch(self, program, lanes, merged, goal)
        return started, [remaining(states, k, self._batch) for k in range(self.runs)]

    def further(self, posterior: Posterior, **wanted: Any) -> Posterior:
        """More live points, see :meth:`probinf.Posterior.more`."""
        return further(self, posterior, **wanted)

    def _merged(self, states: NestedState, records: list[Any], rng: np.random.Generator) -> Merged:
        return merge([lane_points(states, r, k) for k, r in enumerate(records)], rng)

    def status(self, states: NestedState) -> Status:
        """How much of the evidence is still ahead."""
        gap = float(np.max(states.gap))
        goal = math.log(self.tolerance)
        fraction = 0.0 if not np.isfinite(gap) else float(np.clip(1 - (gap - goal) / 30, 0, 1))
        left = f"log X {float(np.max(states.log_x)):.1f}, {math.exp(min(gap, 0)):.1%} of Z ahead"
        batch = int(np.max(states.batches))
        return Status(fraction, f"batch {batch}, {left}" if batch else left)

    def finish(self, run: Run) -> Posterior:
        """All removed points and the last live ones, weighted by the volumes they stand for."""
        states: NestedState = run.states
        merged = self._merged(states, run.records, np.random.default_rng(run.provenance["key"]))
        if np.isneginf(merged.log_likelihood).all():
            seen = f"the likelihood is zero or NaN at all {self.runs * self.live} live points"
            raise zero_likelihood(run.flat, run.layout, seen)
        total, information, single = merged.evidences()
        modes = parted(
            merged.lanes,
            [
                parents(r, self.live, lane.birth.size)
                for r, lane in zip(run.records, merged.lanes, strict=True)
            ],
            merged.volumes.order,
            merged.log_weights,
            merged.rng,
        )
        few = [mode for mode in modes if mode.doubtful(total.error)]
        if few:
            few = [min(few, key=lambda mode: mode.lines)]
            total = total._replace(error=math.hypot(total.error, few[0].error))
        inserted = np.concatenate([np.zeros(0), *(inserted_ranks(r) for r in run.records)])
        p_value = insertion_p_value(inserted, self.live)
        circle = mask_of(run.layout, self._circles)
        return assemble(
            run,
            "weighted",
            np.asarray(to_line(jnp.asarray(merged.ordered("position")), circle))[None],
            log_weights=merged.log_weights[None],
            stats={
                "log_likelihood": merged.log_likelihood[None],
                "birth_log_likelihood": merged.ordered("birth")[None].astype(float),
                "live_points": merged.volumes.live[None],
            },
            history={
                "log_evidence": np.array([[e.value] for e in single]),
                "log_evidence_error": np.array([[e.error] for e in single]),
            },
            findings=judged(p_value, single, few),
            clusters=np.arange(merged.log_likelihood.size)[None],
            evidence=total,
            provenance={
                "nan_evaluations": int(states.nan_count.sum()),
                "likelihood_evaluations": evaluations(states, run.records),
                "information": information,
                "insertion_p_value": p_value,
                "stuck_moves": sum(int(r.stuck.sum()) for r in run.records if r is not None),
                "exhausted": bool(states.exhausted.any()),
                "batches": int(states.batches[0]),
                "options": encoded(self),
                **told(run.program, self._circles),
            },
        )


def _fitted(
    state: NestedState, above: Bool[Array, " n"], *, circle: tuple[bool, ...]
) -> tuple[Params, Any]:
    """What shapes the directions of each half: the other half's points above the contour.

    Where these are too few, all of its points.
    """
    x = state.live.x
    enough = above.sum() >= 2 * x.shape[1] + 8
    shaping = jnp.where(above | ~enough, 0.0, -jnp.inf).astype(x.dtype)
    params = cross_fitted(state.params, unwrapped(x, shaping, circle), shaping)
    if params.covariance.ndim == 3:
        return params, cells_for_halves(params, wrapped(x, circle), shaping)
    return params, jax.vmap(Params.scale)(params)
