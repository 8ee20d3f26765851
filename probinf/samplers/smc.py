"""Sequential Monte Carlo: a population moves from the base to the program by tempering."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.coordinates import Layout, vector_of
from probinf.errors import MethodError
from probinf.kernel import Kernel, Params
from probinf.paths import temper
from probinf.population import (
    Population,
    effective_sample_size,
    no_nan,
    resample_if,
    reweight,
)
from probinf.posterior import Posterior, assemble
from probinf.program import Key, Program
from probinf.resampling import Resampler, multinomial, systematic
from probinf.run import Method, Run, Status, advance_lane, start_lane
from probinf.samplers import kernels
from probinf.samplers.evidence import pooled_evidence
from probinf.samplers.schedule import largest_correlation, next_temperature
from probinf.samplers.tuning import cross_fitted, divided, over_groups, united
from probinf.zero import zero_likelihood

_MAX_STAGES = 500
_MIXED = 0.2  # largest |correlation| with the start at which moving may stop
_MIN_MOVES = 3  # one move can look uncorrelated by chance and still keep the energy


class Particle(NamedTuple):
    """What travels together when a population is resampled."""

    position: Any
    log_likelihood: Float[Array, " n"]
    eve: Int[Array, " n"]


class IslandState(NamedTuple):
    """One island: its population, temperature, kernel tuning and counts."""

    particles: Particle
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]
    beta: Float[Array, ""]
    params: Params
    stage: Int[Array, ""]
    resamplings: Int[Array, ""]
    nan_count: Int[Array, ""]
    dead: Bool[Array, ""]


class StageRecord(NamedTuple):
    """What is kept of one stage."""

    beta: Float[Array, ""]
    ess: Float[Array, ""]
    log_increment: Float[Array, ""]
    top: Float[Array, ""]
    acceptance: Float[Array, ""]
    moves: Int[Array, ""]
    evaluations: Int[Array, ""]
    step_size: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class SMC(Method):
    """Tempered sequential Monte Carlo: posterior and evidence, for any kernel and any base.

    Args:
        particles: particles per island.
        islands: independent populations; their spread gives the evidence its error.
        kernel: moves the particles; by default HMC, or a random walk where a coordinate is
            a random key. It is retuned at every stage from the particles.
        temperatures: a fixed schedule from 0 to 1 (both included), or None to choose the
            next temperature by the conditional effective sample size.
        target_ess: with adaptive temperatures, the conditional ESS of a stage, as a share
            of the particles.
        moves: kernel transitions per stage, or None to move until no coordinate's
            correlation with its start exceeds 0.2.
        max_moves: most transitions per stage when ``moves`` is None.
        resample_below: resample when the ESS falls below this share of the particles.
        resampler: from ``probinf.resampling``.
        tune: retune the kernel's covariance from the particles, each half of them on the
            other half, and its step size; False keeps a unit covariance and the kernel's
            first step size.

    Raises:
        MethodError: an option is out of range.

    Source: Del Moral, Doucet & Jasra (2006); adaptive schedule of Zhou, Johansen & Aston
    (2016). With fixed ``temperatures`` and ``moves`` the evidence is unbiased; a schedule
    chosen from the particles adds a bias of order 1 / particles.
    """

    particles: int = 1000
    islands: int = 4
    kernel: Kernel | None = None
    temperatures: tuple[float, ...] | None = None
    target_ess: float = 0.9
    moves: int | None = None
    max_moves: int = 40
    resample_below: float = 0.5
    resampler: Resampler = systematic
    tune: bool = True

    def __post_init__(self) -> None:
        if self.particles < 4:
            raise MethodError(f"particles must be at least 4, got {self.particles}.")
        if self.tune and self.particles % 2:
            raise MethodError(
                f"particles must be even, got {self.particles}: each half is tuned on the other."
            )
        if self.islands < 1:
            raise MethodError(f"islands must be at least 1, got {self.islands}.")
        if not 0 < self.target_ess < 1:
            raise MethodError(f"target_ess must lie in (0, 1), got {self.target_ess}.")
        if not 0 <= self.resample_below <= 1:
            raise MethodError(f"resample_below must lie in [0, 1], got {self.resample_below}.")
        if self.moves is not None and self.moves < 1:
            raise MethodError(f"moves must be at least 1, got {self.moves}.")
        if self.temperatures is not None:
            t = tuple(float(v) for v in self.temperatures)
            if (
                len(t) < 2
                or t[0] != 0
                or t[-1] != 1
                or any(a >= b for a, b in itertools.pairwise(t))
            ):
                raise MethodError(
                    f"temperatures must increase from 0 to 1, both included, got {t}."
                )
            object.__setattr__(self, "temperatures", t)

    @property
    def lanes(self) -> int:
        """The islands."""
        return self.islands

    @property
    def chunk(self) -> int:
        """Stages between two looks from the host."""
        return 64

    def validate(self, program: Program, layout: Layout) -> None:
        """The base must be drawable, and the kernel fit the coordinates."""
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
        if layout.has_keys and self.kernel is not None and self.kernel.needs_gradient:
            raise MethodError(
                f"{type(self.kernel).__name__} needs gradients, but this program has a "
                "random-key coordinate. Leave kernel=None or use kernels.RandomWalk()."
            )

    @property
    def _groups(self) -> int:
        return 2 if self.tune else 1

    def _kernel(self, position: Any) -> Kernel:
        if self.kernel is not None:
            return self.kernel
        if isinstance(position, jax.Array):
            return kernels.HMC(steps=20, length=math.pi / 2)
        return kernels.RandomWalk()

    def init(self, key: Key, program: Program) -> IslandState:
        """Draws from the base."""
        n = self.particles
        position = jax.vmap(program.draw, (0, None))(jax.random.split(key, n), program.data)
        score = jax.vmap(program.score, (0, None))(position, program.data)
        usable = jnp.isfinite(score.log_base)
        log_likelihood, lost = no_nan(jnp.where(usable, score.log_weight, jnp.nan))
        vector = vector_of(position)
        d = vector.shape[1]
        dense = n > 4 * d
        unit = jnp.eye(d, dtype=vector.dtype) if dense else jnp.ones((d,), vector.dtype)
        step = self._kernel(position).first_step_size(d)
        params = Params(jnp.asarray(step, vector.dtype), jnp.zeros((d,), vector.dtype), unit)
        log_w = jnp.full((n,), -jnp.log(n), log_likelihood.dtype)
        return IslandState(
            Particle(position, log_likelihood, jnp.arange(n)),
            log_w,
            jnp.zeros((), log_w.dtype),
            jnp.zeros((), log_w.dtype),
            jax.tree.map(lambda leaf: jnp.stack([leaf] * self._groups), params),
            jnp.zeros((), int),
            jnp.zeros((), int),
            lost.astype(int),
            jnp.all(jnp.isneginf(log_likelihood)),
        )

    def step(
        self, key: Key, program: Program, state: IslandState
    ) -> tuple[IslandState, StageRecord]:
        """Reweight to the next temperature, resample if needed, move."""
        n = self.particles
        resample_key, move_key = jax.random.split(key)
        beta = self._next_beta(state)
        log_likelihood = state.particles.log_likelihood
        # likelihoods are taken relative to the largest one, whose share of the evidence is
        # added in float64 on the host: a large offset then costs no precision
        top = jnp.max(log_likelihood)
        relative = jnp.where(jnp.isneginf(log_likelihood), -jnp.inf, log_likelihood - top)
        increment = jnp.where(jnp.isneginf(relative), -jnp.inf, (beta - state.beta) * relative)
        nothing = jnp.zeros_like(state.log_z)
        weighted = reweight(Population(state.particles, state.log_w, nothing), increment)
        ess = effective_sample_size(weighted.log_w)
        params = state.params
        if self.tune:
            vectors = vector_of(state.particles.position)
            params = cross_fitted(params, vectors, weighted.log_w)
        # particles of weight zero must not be moved from: resample whenever there are any
        needed = (ess < self.resample_below * n) | jnp.any(jnp.isneginf(weighted.log_w))
        population = resample_if(resample_key, weighted, self.resampler, needed)
        moved, params, report = self._move(
            move_key, temper(program, beta), population.x.position, params
        )
        acceptance, moves, evaluations = report
        score = jax.vmap(program.score, (0, None))(moved, program.data)
        fresh, lost = no_nan(score.log_weight)
        record = StageRecord(
            beta,
            ess,
            weighted.log_z,
            top,
            acceptance,
            moves,
            evaluations + n,
            params.step_size.mean(),
        )
        return (
            IslandState(
                Particle(moved, fresh, population.x.eve),
                population.log_w,
                state.log_z + weighted.log_z + (beta - state.beta) * top,
                beta,
                params,
                state.stage + 1,
                state.resamplings + needed,
                state.nan_count + lost,
                state.dead | jnp.isneginf(weighted.log_z),
            ),
            record,
        )

    def _next_beta(self, state: IslandState) -> Float[Array, ""]:
        if self.temperatures is not None:
            schedule = jnp.asarray(self.temperatures, state.beta.dtype)
            return schedule[jnp.minimum(state.stage + 1, len(self.temperatures) - 1)]
        log_likelihood = state.particles.log_likelihood
        relative = log_likelihood - jnp.max(log_likelihood)
        return next_temperature(state.beta, relative, state.log_w, self.target_ess)

    def _move(
        self, key: Key, program: Program, position: Any, params: Params
    ) -> tuple[Any, Params, tuple[Array, Array, Array]]:
        kernel = self._kernel(position)
        start = vector_of(position)
        state = divided(jax.vmap(lambda x: kernel.init(program, x))(position), self._groups)

        def move(keys: Key, state: Any, params: Params) -> Any:
            return jax.vmap(lambda k, s: kernel.step(k, program, s, params))(keys, state)

        def sweep(carry: Any) -> Any:
            moves, state, params, accepted, spent, _ = carry
            keys = jax.random.split(jax.random.fold_in(key, moves), self.particles)
            state, info = over_groups(move, divided(keys, self._groups), state, params)
            acceptance = info.acceptance.mean(axis=1)
            if self.tune and kernel.target_acceptance is not None:
                gain = jnp.exp(acceptance - kernel.target_acceptance)
                params = params._replace(
                    step_size=params.step_size * gain.astype(params.step_size.dtype)
                )
            mixed = largest_correlation(start, vector_of(united(state.position))) < _MIXED
            spent = spent + info.evaluations.sum()
            return moves + 1, state, params, accepted + acceptance.mean(), spent, mixed

        def wanted(carry: Any) -> Bool[Array, ""]:
            moves, mixed = carry[0], carry[-1]
            if self.moves is not None:
                return moves < self.moves
            return (moves < _MIN_MOVES) | ((moves < self.max_moves) & ~mixed)

        zero = jnp.zeros((), int)
        first = (zero, state, params, jnp.zeros((), float), zero, jnp.asarray(False))
        moves, state, params, accepted, spent, _ = jax.lax.while_loop(wanted, sweep, first)
        return united(state.position), params, (accepted / moves, moves, spent)

    def done(self, state: IslandState) -> Bool[Array, ""]:
        """At temperature one, or nothing left alive."""
        return (state.beta >= 1) | state.dead | (state.stage >= _MAX_STAGES)

    def status(self, states: IslandState) -> Status:
        """The lowest inverse temperature."""
        beta, stage = float(states.beta.min()), int(states.stage.max())
        return Status(beta, f"stage {stage}, inverse temperature {beta:.3g}")

    def populate(self, key: Key, program: Program) -> Population:
        """One island from the base to the program, as a pure function of the key."""
        lane = start_lane(self, program, key)
        lane, _, _ = advance_lane(self, program, lane, _MAX_STAGES, 1)
        state = lane.state
        return Population(state.particles.position, state.log_w, state.log_z)

    def finish(self, run: Run) -> Posterior:
        """All islands, each weighted by its evidence."""
        states: IslandState = run.states
        if states.dead.all():
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"the likelihood is zero or NaN at all {self.islands * self.particles} particles",
            )
        if (states.beta < 1).any() and not run.provenance["interrupted"] and not states.dead.any():
            raise MethodError(
                f"temperature one was not reached in {_MAX_STAGES} stages. Lower target_ess or "
                "use more particles."
            )
        if run.provenance["interrupted"] and (states.beta < 1).any():
            raise MethodError("the run was interrupted before temperature one was reached.")
        log_z = np.array([_log_evidence(r) for r in run.records])
        log_z = np.where(states.dead, -np.inf, log_z)
        log_w = np.asarray(states.log_w, float)
        log_w = log_w - np.logaddexp.reduce(log_w, axis=1, keepdims=True)
        within = np.exp(log_w)
        log_w = log_w + log_z[:, None]
        eves = np.asarray(states.particles.eve)
        noisy = self.resampler is multinomial
        resamplings = np.asarray(states.resamplings) if noisy else np.zeros(self.islands, int)
        history = {
            name: _padded([getattr(r, name) for r in run.records]) for name in StageRecord._fields
        }
        del history["top"]
        return assemble(
            run,
            states.particles.position,
            log_weights=log_w - log_w.max(),
            stats={"log_likelihood": np.asarray(states.particles.log_likelihood)},
            history=history,
            clusters=eves + self.particles * np.arange(self.islands)[:, None],
            evidence=pooled_evidence(log_z, within, eves, resamplings),
            provenance={"nan_evaluations": int(states.nan_count.sum())},
        )


def _log_evidence(record: StageRecord) -> float:
    """Sum over stages of the increment and the largest likelihood's share, in float64."""
    steps = np.diff(record.beta.astype(float), prepend=0.0)
    return float(np.sum(record.log_increment.astype(float) + steps * record.top.astype(float)))


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    longest = max(len(r) for r in rows)
    out = np.full((len(rows), longest), np.nan)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out
