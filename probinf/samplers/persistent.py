"""Persistent sampling: tempered SMC that never throws a particle away."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout, vector_of
from probinf.core.inputs.limits import at_least, positive
from probinf.core.population import (
    Population,
    drawn,
    effective_sample_size,
    no_nan,
    normalise,
    scored,
)
from probinf.core.program import Key, Program
from probinf.core.resampling import inverse_cdf, strata_points
from probinf.core.transformations.paths import power, temper
from probinf.errors import MethodError
from probinf.kernels.base import Kernel, check_kernel
from probinf.runtime.method import Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.populations.base import Islands, PopulationMethod
from probinf.samplers.populations.descent import is_few
from probinf.samplers.populations.generations import (
    GenerationRecord,
    Generations,
    PersistentState,
    joined,
    last_log_z,
    line_gains,
    mixture,
)
from probinf.samplers.populations.islands import last_moves
from probinf.samplers.populations.moving import Mover, check_drawable, default_kernel, first_params
from probinf.samplers.populations.schedule import next_point
from probinf.samplers.populations.tuning import cross_fitted


@dataclasses.dataclass(frozen=True)
class PersistentSMC(PopulationMethod):
    """Tempered SMC whose particles of all stages stay, reweighted as draws of a mixture.

    At a given cost its evidence and posterior vary less than those of ``SMC``, whose
    particles of earlier stages are lost; the evidence is consistent, not unbiased. It keeps
    all generations in memory.

    Args:
        particles: particles per generation and island, an even number.
        islands: independent populations; their spread, and what their lines of descent gain
            and lose, give the evidence its error.
        kernel: moves the particles; by default HMC, or a random walk where a coordinate is a
            random key. It is tuned at every stage, each half of the particles on the other.
        target_ess: effective sample size of a stage, in multiples of ``particles``; it may
            exceed one, because all generations count.
        moves: kernel transitions per stage, or None to move until no coordinate's
            correlation with its start exceeds 0.2, or until it has stopped falling. Where one
            step size does not fit all particles, every second one is by a shorter step.
        max_moves: most transitions per stage when ``moves`` is None.
        max_stages: most generations, for which memory is set aside.

    Raises:
        MethodError: an option is out of range.

    Source: Karamanis & Seljak (2024), algorithm 1.
    """

    particles: int = 500
    islands: int = 4
    kernel: Kernel | None = None
    target_ess: float = 2.0
    moves: int | None = None
    max_moves: int = 40
    max_stages: int = 100

    def __post_init__(self) -> None:
        check_kernel(self.kernel, optional=True)
        at_least(1, particles=self.particles, islands=self.islands, max_moves=self.max_moves)
        positive(target_ess=self.target_ess)
        if self.particles < 4 or self.particles % 2:
            raise MethodError(
                f"particles must be an even number of at least 4, got {self.particles}."
            )
        at_least(1, moves=self.moves)
        at_least(2 + self._first, max_stages=self.max_stages)

    @property
    def _first(self) -> int:
        """Generations drawn from the base, enough for ``target_ess`` at temperature zero."""
        return math.floor(self.target_ess) + 1

    @property
    def follows_gradients(self) -> bool:
        """Whether its kernel does."""
        return self.kernel is None or self.kernel.needs_gradient

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each island.

        Raises:
            MethodError: the kernel does not fit the coordinates.
        """
        check_drawable(program, layout, self.kernel)
        return super().plan(program, layout)

    def _mover(self, position: Any) -> Mover:
        return Mover(default_kernel(self.kernel, position), tune=True, groups=2)

    def init(self, key: Key, program: Program) -> PersistentState:
        """The first generations, drawn from the base."""
        n, first, rows = self.particles, self._first, self.max_stages
        position = drawn(key, program, first * n)
        _, log_l, lost = scored(program, position)
        top = jnp.max(log_l)
        mover = self._mover(position)

        def rows_of(leaf: Array) -> Array:
            filled = leaf.reshape(first, n, *leaf.shape[1:])
            return jnp.concatenate([filled, jnp.repeat(filled[:1], rows - first, axis=0)])

        zeros = jnp.zeros((rows,), log_l.dtype)
        return PersistentState(
            all=Generations(
                position=jax.tree.map(rows_of, position),
                log_likelihood=rows_of(jnp.where(jnp.isneginf(log_l), -jnp.inf, log_l - top)),
                log_mixture=jnp.full((rows, n), jnp.log(first), log_l.dtype),
                eve=rows_of(jnp.arange(first * n)),
                line=rows_of(jnp.arange(first * n)),
            ),
            filled=jnp.asarray(first),
            betas=zeros,
            log_zs=zeros,
            beta=jnp.zeros((), log_l.dtype),
            top=top,
            params=first_params(mover.kernel, vector_of(position), 2),
            varied=jnp.zeros((), bool),
            nan_count=lost,
            dead=jnp.isneginf(top),
        )

    def _log_weights(self, state: PersistentState, beta: Array) -> Float[Array, "g n"]:
        """Unnormalised log weights of all particles at ``beta``; -inf where there are none."""
        filled = jnp.arange(self.max_stages)[:, None] < state.filled
        mixture = state.all.log_mixture - jnp.log(state.filled)
        return jnp.where(filled, power(state.all.log_likelihood, beta) - mixture, -jnp.inf)

    def _lines(self, state: PersistentState, log_w: Float[Array, "g n"]) -> Int[Array, "g n"]:
        """Lines that the next particles belong to: of their ancestors, or by these where few."""
        line = state.all.line
        share = jax.ops.segment_sum(jnp.exp(normalise(log_w.ravel())), line.ravel(), line.size)
        few = is_few(share, self.particles)
        return jnp.where(few, jnp.arange(line.size).reshape(line.shape), line)

    def step(
        self, key: Key, program: Program, state: PersistentState
    ) -> tuple[PersistentState, GenerationRecord]:
        """The next temperature, and one more generation at it."""
        n = self.particles
        resample_key, move_key = jax.random.split(key)

        def upto(beta: Float[Array, ""]) -> Float[Array, " m"]:
            return self._log_weights(state, beta).ravel()

        def share(log_w: Float[Array, " m"]) -> Float[Array, ""]:
            return effective_sample_size(log_w) / n

        one = jnp.ones_like(state.beta)
        beta = next_point(state.beta, one, upto, share, self.target_ess)
        log_w = self._log_weights(state, beta)
        log_z = jax.scipy.special.logsumexp(log_w) - jnp.log(state.filled * n)
        # particle by particle, so that halves of the particles stay apart when resampled
        across = jax.tree.map(
            lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:]),
            (state.all.position, state.all.eve, self._lines(state, log_w), log_w),
        )
        position, eve, line, flat_w = across
        params = cross_fitted(state.params, vector_of(position), flat_w)
        points = strata_points(jax.random.uniform(resample_key, (), flat_w.dtype), n)
        chosen = inverse_cdf(jnp.exp(normalise(flat_w)), points)
        mover = self._mover(position).varying(state.varied, position)
        moved = mover.until_mixed(
            move_key,
            temper(program, beta),
            jax.tree.map(lambda leaf: leaf[chosen], position),
            params,
            moves=self.moves,
            max_moves=self.max_moves,
        )
        score = jax.vmap(program.score, (0, None))(moved.position, program.data)
        log_l, lost = no_nan(score.log_weight)
        log_l = jnp.where(jnp.isneginf(log_l), -jnp.inf, log_l - state.top)
        along = moved.acceptances.along(log_l, jnp.full_like(log_l, -jnp.log(n)))
        row = state.filled
        betas, log_zs = state.betas.at[row].set(beta), state.log_zs.at[row].set(log_z)
        record = GenerationRecord(
            beta=beta,
            ess=effective_sample_size(flat_w),
            acceptance=moved.acceptance,
            moves=moved.moves,
            evaluations=moved.evaluations + n,
            step_size=moved.params.step_size.mean(),
            correlation=moved.correlation,
            acceptance_by_place=moved.acceptances.of_place,
            acceptance_by_likelihood=along,
        )
        later = power(state.all.log_likelihood, beta) - log_z
        everyone = Generations(
            jax.tree.map(lambda a, b: a.at[row].set(b), state.all.position, moved.position),
            state.all.log_likelihood.at[row].set(log_l),
            jnp.logaddexp(state.all.log_mixture, later)
            .at[row]
            .set(mixture(log_l, betas, log_zs, row + 1)),
            state.all.eve.at[row].set(eve[chosen]),
            state.all.line.at[row].set(line[chosen]),
        )
        after = state._replace(
            all=everyone,
            filled=row + 1,
            betas=betas,
            log_zs=log_zs,
            beta=beta,
            params=moved.params,
            varied=moved.acceptances.call_for_shorter(along, moved.correlation, n, state.varied),
            nan_count=state.nan_count + lost + moved.lost,
            dead=jnp.isneginf(log_z),
        )
        return after, record

    def done(self, state: PersistentState) -> Bool[Array, ""]:
        """At temperature one, out of memory, or nothing left alive."""
        return (state.beta >= 1) | state.dead | (state.filled >= self.max_stages)

    def status(self, states: PersistentState) -> Status:
        """The lowest inverse temperature."""
        beta, stage = float(states.beta.min()), int(states.filled.max())
        return Status(beta, f"generation {stage}, inverse temperature {beta:.3g}")

    def population(self, state: PersistentState) -> Population:
        """All generations of one island."""
        log_w = self._log_weights(state, jnp.ones_like(state.beta)).ravel()
        return Population(joined(state.all.position), log_w, last_log_z(state) + state.top)

    def gathered(self, run: Run) -> Islands:
        """All generations that were filled."""
        states: PersistentState = run.states
        everyone = jax.tree.map(np.asarray, states.all)
        counts, top = np.asarray(states.filled), np.asarray(states.top, float)
        used = int(counts.max())
        last = np.asarray(states.log_zs, float)[np.arange(self.islands), counts - 1]
        log_l = np.asarray(everyone.log_likelihood[:, :used], float)
        filled = np.arange(used)[:, None] < counts[:, None, None]
        log_w = np.where(filled, log_l - everyone.log_mixture[:, :used], -np.inf)
        betas, log_zs = np.asarray(states.betas, float), np.asarray(states.log_zs, float)
        alive = np.where(states.dead, self._first, counts).tolist()
        gains = [
            line_gains(log_l[k], betas[k], log_zs[k], everyone.line[k], alive[k], self._first)
            for k in range(self.islands)
        ]
        return Islands(
            position=jax.tree.map(
                lambda leaf: leaf[:, :used].reshape(self.islands, -1, *leaf.shape[3:]),
                everyone.position,
            ),
            log_w=log_w.reshape(self.islands, -1),
            log_z=np.where(states.dead, -np.inf, last + top),
            eves=everyone.eve[:, :used].reshape(self.islands, -1),
            firsts=self._first * self.particles,
            variances=np.array([np.sum(g**2) for g in gains]),
            fourths=np.array([np.sum(g**4) for g in gains]),
            stats={"log_likelihood": log_l.reshape(self.islands, -1) + top[:, None]},
            nan_count=int(states.nan_count.sum()),
            lines=self.particles,
            moves=last_moves(run, everyone.position),
        )

    def unfinished(self, run: Run) -> str:
        """Why temperature one was not reached."""
        states: PersistentState = run.states
        if not (states.beta < 1)[~states.dead].any():
            return ""
        if run.provenance["interrupted"]:
            return "the run was interrupted before temperature one was reached."
        return (
            f"temperature one was not reached in {self.max_stages} generations. Raise "
            "max_stages, or lower target_ess."
        )
