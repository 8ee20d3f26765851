"""Parallel tempering: chains at every temperature that exchange their positions."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout, storable, vector_of
from probinf.core.paths import temper
from probinf.core.population import no_nan
from probinf.core.program import Key, Program
from probinf.errors import MethodError
from probinf.kernels.base import Info, Kernel
from probinf.results.draws import STATS_BYTES
from probinf.results.posterior import Posterior, assemble_chains
from probinf.runtime.loop import Run, Status
from probinf.samplers.chains import ChainMethod
from probinf.samplers.ladder import first_ladder, ladder_evidence, log_swap, respaced, swap
from probinf.samplers.populations.moving import check_drawable, default_kernel
from probinf.samplers.warmup.adaptation import Adaptation, AdaptationState
from probinf.samplers.warmup.starting import found_start

_RESPACINGS = 7  # at warmup / 2, warmup / 4, ...


class Rungs(NamedTuple):
    """What travels between temperatures, hottest first.

    Attributes:
        position: leading axis k.
        log_base: (k,).
        log_likelihood: (k,).
        from_base: (k,) whether the position has come from the base since it last was at 1.
    """

    position: Any
    log_base: Float[Array, " k"]
    log_likelihood: Float[Array, " k"]
    from_base: Bool[Array, " k"]


class LadderState(NamedTuple):
    """One ladder: its positions, temperatures, tuning and counts."""

    rungs: Rungs
    betas: Float[Array, " k"]
    adaptation: AdaptationState
    rejection: Float[Array, " pairs"]
    tried: Float[Array, " pairs"]
    taken: Int[Array, ""]
    started: Bool[Array, ""]


class LadderRecord(NamedTuple):
    """What is kept of one round."""

    position: Any
    log_density: Float[Array, ""]
    log_likelihood: Float[Array, " k"]
    swap: Float[Array, " pairs"]
    round_trip: Bool[Array, ""]
    step_size: Float[Array, ""]
    evaluations: Int[Array, ""]
    info: Info


@dataclasses.dataclass(frozen=True)
class ParallelTempering(ChainMethod):
    """Chains of the tempered programs ``base * L**beta`` that swap positions: for several modes.

    The hottest chain draws from the base itself, so it visits every mode that the base covers;
    swaps carry its positions to the target with the right shares. Swaps alternate between even
    and odd pairs (non-reversible), and the warm-up spaces the temperatures so that all pairs
    reject equally often. The log likelihoods along the ladder give the evidence.

    Args:
        temperatures: rungs of the ladder, the base and the target included. About twice the
            barrier that ``provenance["barrier"]`` reports is right; ``diagnose`` says when
            there are too few.
        chains: independent ladders.
        warmup: rounds that adapt, discarded. A round is one move at every temperature and one
            set of swaps.
        draws: kept rounds.
        kernel: moves the chains; by default HMC, or a random walk where a coordinate is a
            random key.

    Raises:
        MethodError: a count is too small, or the kernel does not fit the program.
        ImproperPriorError: the base cannot be drawn from.

    Source: Syed, Bouchard-Côté, Deligiannidis & Doucet (2022), algorithms 1 and 4.
    """

    temperatures: int = 16
    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    kernel: Kernel | None = None

    def __post_init__(self) -> None:
        if self.temperatures < 3:
            raise MethodError(f"temperatures must be at least 3, got {self.temperatures}.")
        self.check_counts("chains")

    @property
    def lanes(self) -> int:
        """The ladders."""
        return self.chains

    @property
    def chunk(self) -> int:
        """All rounds at most, 1,000 at a time."""
        return min(1000, self.warmup + self.draws)

    def validate(self, program: Program, layout: Layout) -> None:
        """The base must be drawable, and the kernel fit the coordinates."""
        check_drawable(program, layout, self.kernel)

    def row_bytes(self, layout: Layout) -> int:
        """Positions, likelihoods and swaps of one round of every ladder."""
        itemsize = np.dtype(layout.dtype).itemsize
        row = (layout.size + 2 * self.temperatures) * itemsize + STATS_BYTES
        return self.chains * row

    def _kernel(self, position: Any) -> Kernel:
        return default_kernel(self.kernel, position)

    def init(self, key: Key, program: Program) -> LadderState:
        """Draws of the base with finite density and gradient at every temperature."""
        count = self.temperatures

        def attempt(key: Key) -> tuple[Any, Any]:
            x = program.draw(key, program.data)
            return self._kernel(x).init(program, x), x

        def search(key: Key) -> tuple[Any, Bool[Array, ""]]:
            return found_start(attempt, key)

        position, fine = _in_turn(search, jax.random.split(key, count))
        rungs = _scored(program, position, jnp.zeros((count,), bool))
        vectors = vector_of(position)[1:]
        betas = jnp.asarray(first_ladder(count), vectors.dtype)
        adaptation = jax.vmap(self._adaptation(position).init)(vectors)
        blank = jnp.zeros((count - 1,), vectors.dtype)
        return LadderState(
            rungs, betas, adaptation, blank, blank, jnp.zeros((), int), jnp.all(fine)
        )

    def _adaptation(self, position: Any) -> Adaptation:
        return Adaptation(self._kernel(position), self.warmup)

    def step(
        self, key: Key, program: Program, state: LadderState
    ) -> tuple[LadderState, LadderRecord]:
        """One move at every temperature, then one set of swaps."""
        move_key, base_key, swap_key = jax.random.split(key, 3)
        adaptation = self._adaptation(state.rungs.position)
        position, info = self._moved(move_key, program, state)
        tuned = state.adaptation
        if self.warmup:
            tuned = jax.lax.cond(
                state.taken < self.warmup,
                lambda: jax.vmap(adaptation.update, (0, None, 0, 0))(
                    tuned, state.taken, vector_of(position), info
                ),
                lambda: tuned,
            )
        fresh = program.draw(base_key, program.data)
        position = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), fresh, position)
        from_base = state.rungs.from_base.at[0].set(True)
        rungs = _scored(program, position, from_base)

        log_ratio = log_swap(state.betas, rungs.log_likelihood)
        source, tried = swap(swap_key, log_ratio, state.taken)
        rungs = jax.tree.map(lambda leaf: leaf[source], rungs)
        round_trip = rungs.from_base[-1]
        rungs = rungs._replace(from_base=rungs.from_base.at[-1].set(False))
        chance = jnp.exp(jnp.minimum(log_ratio, 0.0))
        # likelihoods of zero are no matter of spacing
        counted = tried & jnp.isfinite(log_ratio)
        state = state._replace(
            rungs=rungs,
            adaptation=tuned,
            rejection=state.rejection + jnp.where(counted, 1 - chance, 0.0),
            tried=state.tried + counted,
            taken=state.taken + 1,
        )
        record = LadderRecord(
            storable(jax.tree.map(lambda leaf: leaf[-1], rungs.position)),
            rungs.log_base[-1] + rungs.log_likelihood[-1],
            rungs.log_likelihood,
            jnp.where(tried, chance, jnp.nan),
            round_trip,
            tuned.params.step_size[-1],
            info.evaluations.sum() + 2 * self.temperatures,
            jax.tree.map(lambda leaf: leaf[-1], info),
        )
        return self._respaced(state), record

    def _moved(self, key: Key, program: Program, state: LadderState) -> tuple[Any, Info]:
        """One kernel move at every temperature but the base's."""
        kernel = self._kernel(state.rungs.position)

        def move(args: Any) -> tuple[Any, Info]:
            key, beta, x, params = args
            target = temper(program, beta)
            moved, info = kernel.step(key, target, kernel.init(target, x), params)
            return moved.position, info

        cold = jax.tree.map(lambda leaf: leaf[1:], state.rungs.position)
        keys = jax.random.split(key, self.temperatures - 1)
        args = (keys, state.betas[1:], cold, state.adaptation.params)
        return _in_turn(move, args)

    def _respaced(self, state: LadderState) -> LadderState:
        """The ladder moved to equal rejection at the ends of doubling stretches of the warm-up."""
        ends = sorted({self.warmup >> k for k in range(1, _RESPACINGS + 1)} - {0})
        if not ends:
            return state

        def respace() -> LadderState:
            rate = jnp.where(state.tried > 0, state.rejection / jnp.maximum(state.tried, 1), 1.0)
            blank = jnp.zeros_like(state.tried)
            return state._replace(betas=respaced(state.betas, rate), rejection=blank, tried=blank)

        return jax.lax.cond(jnp.isin(state.taken, jnp.asarray(ends)), respace, lambda: state)

    def status(self, states: LadderState) -> Status:
        """Share of rounds taken, the phase, and how often swaps are rejected."""
        count, total = int(states.taken.min()), self.warmup + self.draws
        phase = "warm-up" if count < self.warmup else "sampling"
        rate = states.rejection.sum() / max(float(states.tried.sum()), 1.0)
        return Status(count / total, f"{phase}, {rate:.0%} of swaps rejected")

    def finish(self, run: Run) -> Posterior:
        """The draws at temperature one, with the evidence along the ladder."""
        record: LadderRecord = self.gathered(run, "draw of the base").record
        betas = np.asarray(run.states.betas, float)
        log_likelihood = np.asarray(record.log_likelihood)
        evidence = ladder_evidence(betas, log_likelihood)
        # with few rounds an odd pair may never have been tried
        tried = np.isfinite(record.swap)
        rate = np.where(tried, record.swap, 0.0).sum(axis=1) / np.maximum(tried.sum(axis=1), 1)
        stats: dict[str, Any] = {
            "log_density": record.log_density,
            "log_likelihood": log_likelihood[:, :, -1],
            "acceptance": record.info.acceptance,
            "evaluations": record.evaluations,
            "step_size": record.step_size,
            "round_trip": record.round_trip,
        }
        return assemble_chains(
            run,
            stats=stats,
            history={
                "beta": betas,
                "log_likelihood": log_likelihood.mean(axis=1),
                "swap_rate": np.pad(rate, ((0, 0), (0, 1)), constant_values=np.nan),
            },
            evidence=evidence.bridged,
            provenance={
                "barrier": round(float(np.sum(1 - rate, axis=1).mean()), 3),
                "round_trips": [int(n) for n in record.round_trip.sum(axis=1)],
                "log_evidence_thermodynamic": evidence.thermodynamic,
            },
        )


def _in_turn(fn: Any, args: Any) -> Any:
    """``fn`` at every temperature: in turn on a CPU, where random numbers for many keys at once
    compile slowly and a trajectory would wait for the longest of all; else at once."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(fn, args)
    return jax.vmap(fn)(args)


def _scored(program: Program, position: Any, from_base: Bool[Array, " k"]) -> Rungs:
    score = jax.vmap(program.score, (0, None))(position, program.data)
    usable = jnp.isfinite(score.log_base)
    log_likelihood, _ = no_nan(jnp.where(usable, score.log_weight, jnp.nan))
    return Rungs(position, score.log_base, log_likelihood, from_base)
