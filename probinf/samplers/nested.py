"""Nested sampling: live points climb through likelihood contours of any drawable base."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.coordinates import Layout, vector_of
from probinf.errors import MethodError
from probinf.estimate import Estimate
from probinf.kernel import Params
from probinf.population import no_nan
from probinf.posterior import Posterior, assemble
from probinf.program import Key, Program
from probinf.run import Method, Run, Status
from probinf.samplers.constrained import Walkers, slice_above
from probinf.samplers.tuning import cross_fitted
from probinf.samplers.volumes import Points, evidence, insertion_p_value, volumes
from probinf.zero import zero_likelihood

_MAX_STEPS = 1_000_000
_MAX_SHRINKAGE = 100


class NestedState(NamedTuple):
    """Live points of one run.

    ``birth`` is NaN for draws from the whole base; ``dead`` are the next to be removed.
    """

    live: Walkers
    birth: Float[Array, " n"]
    params: Params
    log_x: Float[Array, ""]
    log_z: Float[Array, ""]
    dead: Int[Array, " k"]
    gap: Float[Array, ""]
    exhausted: Bool[Array, ""]
    stage: Int[Array, ""]
    nan_count: Int[Array, ""]
    first_evaluations: Int[Array, ""]


class DeathRecord(NamedTuple):
    """One batch of removed points, and how their replacements were found."""

    position: Float[Array, "k d"]
    log_likelihood: Float[Array, " k"]
    birth: Float[Array, " k"]
    rank: Float[Array, " k"]
    evaluations: Int[Array, ""]
    stuck: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class Nested(Method):
    """Nested sampling: evidence and posterior, for any base that can be drawn from.

    The lowest live points are removed in batches and replaced by draws of
    ``above(program, level)``, made by slice moves from a random survivor. It needs no
    gradient, no hypercube and no path of temperatures, and stays right where the likelihood
    has plateaus, jumps or phase transitions.

    Args:
        live: live points per run; the error of the log evidence is about sqrt(H / live), with
            H the information in nats.
        runs: independent runs, merged; they spread over devices.
        moves: slice moves per replacement, or None for max(5, 2 d) in d dimensions.
        batch: points removed at once, or None for a tenth of the live points.
        tolerance: stop when the live points hold less than this share of the evidence.

    Raises:
        MethodError: an option is out of range.

    Source: Skilling (2006); batches: Henderson & Goggans (2014); plateaus: Fowlie, Handley &
    Su (2021).
    """

    live: int = 500
    runs: int = 1
    moves: int | None = None
    batch: int | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.live < 4 or self.live % 2:
            raise MethodError(f"live must be an even number of at least 4, got {self.live}.")
        if self.runs < 1:
            raise MethodError(f"runs must be at least 1, got {self.runs}.")
        if self.moves is not None and self.moves < 1:
            raise MethodError(f"moves must be at least 1, got {self.moves}.")
        if self.batch is not None and not 1 <= self.batch <= self.live // 2:
            raise MethodError(
                f"batch must lie between 1 and half of the {self.live} live points, "
                f"got {self.batch}."
            )
        if not 0 < self.tolerance < 1:
            raise MethodError(f"tolerance must lie in (0, 1), got {self.tolerance}.")

    @property
    def lanes(self) -> int:
        """The runs."""
        return self.runs

    @property
    def chunk(self) -> int:
        """Batches between two looks from the host."""
        return 64

    @property
    def _batch(self) -> int:
        return self.batch or max(1, self.live // 10)

    def validate(self, program: Program, layout: Layout) -> None:
        """The base must be drawable, and all coordinates continuous."""
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
        if layout.has_keys:
            raise MethodError(
                "Nested moves along straight lines, but this program has a random-key "
                "coordinate. Use SMC, whose random walk can redraw it."
            )

    def init(self, key: Key, program: Program) -> NestedState:
        """Draws from the base."""
        n = self.live
        x = jax.vmap(program.draw, (0, None))(jax.random.split(key, n), program.data)
        score = jax.vmap(program.score, (0, None))(x, program.data)
        usable = jnp.isfinite(score.log_base)
        log_l, lost = no_nan(jnp.where(usable, score.log_weight, jnp.nan))
        vector = vector_of(x)
        d = vector.shape[1]
        unit = jnp.eye(d) if n > 8 * d else jnp.ones((d,))
        params = Params(jnp.ones(()), jnp.zeros((d,)), unit)
        zero = jnp.zeros((), log_l.dtype)
        state = NestedState(
            Walkers(vector, score.log_base, log_l),
            jnp.full((n,), jnp.nan, log_l.dtype),
            jax.tree.map(lambda a: jnp.stack([a, a]).astype(vector.dtype), params),
            zero,
            zero - jnp.inf,
            jnp.zeros((self._batch,), int),
            zero + jnp.inf,
            jnp.asarray(False),
            jnp.zeros((), int),
            lost.astype(int),
            jnp.asarray(n),
        )
        return self._looked_ahead(state)

    def _looked_ahead(self, state: NestedState) -> NestedState:
        """Whether any live point lies strictly above the next contour, and what is left."""
        log_l = state.live.log_likelihood
        lowest, dead = jax.lax.top_k(-log_l, self._batch)
        rest = state.log_x + jax.scipy.special.logsumexp(log_l) - jnp.log(self.live)
        gap = jnp.where(jnp.isneginf(state.log_z), jnp.inf, rest - state.log_z)
        exhausted = ~jnp.any(log_l > -lowest[-1])
        return state._replace(dead=dead, gap=gap, exhausted=exhausted)

    def step(
        self, key: Key, program: Program, state: NestedState
    ) -> tuple[NestedState, DeathRecord]:
        """Remove the lowest batch, and replace it from above its highest likelihood."""
        n, k = self.live, self._batch
        start_key, move_key, rank_key = jax.random.split(key, 3)
        live = state.live
        log_l = live.log_likelihood
        dead = state.dead
        level = log_l[dead[-1]]
        above = log_l > level
        # directions are shaped by the points above the contour, unless these are too few
        enough = above.sum() >= 2 * live.x.shape[1] + 8
        shaping = jnp.where(above | ~enough, 0.0, -jnp.inf).astype(log_l.dtype)
        params = cross_fitted(state.params, live.x, shaping)
        # a half is renewed from its own survivors, so the other half may shape its moves
        group = (dead >= n // 2).astype(int)
        start = _survivors(start_key, above, group)
        moves = self.moves or max(5, 2 * live.x.shape[1])
        found, report = slice_above(
            move_key,
            program,
            jax.tree.map(lambda leaf: leaf[start], live),
            level,
            jax.vmap(Params.scale)(params),
            group,
            moves=moves,
            max_shrinkage=_MAX_SHRINKAGE,
        )
        record = DeathRecord(
            live.x[dead],
            log_l[dead],
            state.birth[dead],
            _insertion_ranks(rank_key, log_l, above, found.log_likelihood),
            report.evaluations,
            report.stuck,
        )
        alive = n - jnp.arange(k)
        log_x = state.log_x + jnp.cumsum(jnp.log1p(-1 / alive))
        before = jnp.concatenate([state.log_x[None], log_x[:-1]])
        shells = jax.scipy.special.logsumexp(log_l[dead] + before - jnp.log(alive))
        state = state._replace(
            live=jax.tree.map(lambda old, new: old.at[dead].set(new), live, found),
            birth=state.birth.at[dead].set(level),
            params=params,
            log_x=log_x[-1].astype(log_l.dtype),
            log_z=jnp.logaddexp(state.log_z, shells).astype(log_l.dtype),
            stage=state.stage + 1,
            nan_count=state.nan_count + report.nan_count,
        )
        return self._looked_ahead(state), record

    def done(self, state: NestedState) -> Bool[Array, ""]:
        """Little evidence left, or all live points equal."""
        enough = state.gap < math.log(self.tolerance)
        return enough | state.exhausted | (state.stage >= _MAX_STEPS)

    def status(self, states: NestedState) -> Status:
        """How much of the evidence is still ahead."""
        gap = float(np.max(states.gap))
        goal = math.log(self.tolerance)
        fraction = 0.0 if not np.isfinite(gap) else float(np.clip(1 - (gap - goal) / 30, 0, 1))
        left = f"log X {float(np.max(states.log_x)):.1f}, {math.exp(min(gap, 0)):.1%} of Z ahead"
        return Status(fraction, left)

    def finish(self, run: Run) -> Posterior:
        """All removed points and the last live ones, weighted by the volumes they stand for."""
        states: NestedState = run.states
        log_l = np.asarray(states.live.log_likelihood, float)
        if np.isneginf(log_l).all():
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"the likelihood is zero or NaN at all {self.runs * self.live} live points",
            )
        rng = np.random.default_rng(run.provenance["key"])
        single, positions, points, ranks = [], [], [], []
        evaluations, stuck = int(states.first_evaluations.sum()), 0
        for lane, record in enumerate(run.records):
            position, each = _lane_points(states, record, lane)
            found = volumes(each, rng)
            single.append(evidence(each.log_likelihood[found.order], found, rng)[0])
            positions.append(position)
            points.append(each)
            if record is not None:
                ranks.append(record.rank.ravel())
                evaluations += int(record.evaluations.sum())
                stuck += int(record.stuck.sum())
        merged = Points(*(np.concatenate(parts) for parts in zip(*points, strict=True)))
        found = volumes(merged, rng)
        sorted_l = merged.log_likelihood[found.order]
        total, information = evidence(sorted_l, found, rng)
        total = total._replace(error=max(total.error, _spread(single)))
        log_w = sorted_l + found.log_shell
        history = {
            "log_evidence": np.array([[e.value] for e in single]),
            "log_evidence_error": np.array([[e.error] for e in single]),
        }
        inserted = np.concatenate(ranks) if ranks else np.zeros(0)
        return assemble(
            run,
            np.concatenate(positions)[found.order][None],
            log_weights=(log_w - log_w.max())[None],
            stats={
                "log_likelihood": sorted_l[None],
                "birth_log_likelihood": merged.birth[found.order][None],
                "live_points": found.live[None],
            },
            history=history,
            clusters=np.arange(log_w.size)[None],
            evidence=total,
            provenance={
                "nan_evaluations": int(states.nan_count.sum()),
                "likelihood_evaluations": evaluations,
                "information": information,
                "insertion_p_value": insertion_p_value(inserted, self.live),
                "stuck_moves": stuck,
                "exhausted": bool(states.exhausted.any()),
            },
        )


def _spread(single: list[Estimate]) -> float:
    """Standard error of the mean of four or more runs: it also sees modes that some runs lost."""
    if len(single) < 4:
        return 0.0
    return float(np.std([e.value for e in single], ddof=1) / np.sqrt(len(single)))


def _survivors(key: Key, above: Bool[Array, " n"], group: Int[Array, " k"]) -> Int[Array, " k"]:
    """A random point above the contour for each new one, from its own half where there is one."""
    n = above.shape[0]
    half = jnp.arange(n) >= n // 2
    own = jnp.stack([above & ~half, above & half])
    usable = jnp.where(own.any(axis=1, keepdims=True), own, above)
    counts = jnp.cumsum(usable, axis=1)
    u = jax.random.uniform(key, group.shape)
    last = counts[group, -1]
    wanted = jnp.minimum(jnp.floor(u * last).astype(counts.dtype), last - 1)
    return jax.vmap(lambda c, w: jnp.searchsorted(c, w, side="right"))(counts[group], wanted)


def _insertion_ranks(
    key: Key,
    log_likelihood: Float[Array, " n"],
    above: Bool[Array, " n"],
    inserted: Float[Array, " k"],
) -> Float[Array, " k"]:
    """Randomised rank in (0, 1) of each point among the survivors and those inserted before."""
    survivors = jnp.where(above, log_likelihood, jnp.inf)
    k = inserted.shape[0]
    u = jax.random.uniform(key, (k,))
    earlier = jnp.tril(jnp.ones((k, k), bool), -1)
    lower = (survivors < inserted[:, None]).sum(axis=1)
    lower += (earlier & (inserted < inserted[:, None])).sum(axis=1)
    tied = (survivors == inserted[:, None]).sum(axis=1)
    tied += (earlier & (inserted == inserted[:, None])).sum(axis=1)
    return (lower + u * (tied + 1)) / (above.sum() + jnp.arange(k) + 1)


def _lane_points(
    states: NestedState, record: DeathRecord | None, lane: int
) -> tuple[np.ndarray, Points]:
    """Removed and remaining points of one run."""
    live = [np.asarray(leaf[lane]) for leaf in (*states.live, states.birth)]
    x, _, log_l, birth = live
    if record is not None:
        x = np.concatenate([record.position.reshape(-1, x.shape[1]), x])
        log_l = np.concatenate([record.log_likelihood.ravel(), log_l])
        birth = np.concatenate([record.birth.ravel(), birth])
    return x, Points(log_l.astype(float), birth.astype(float))
