"""ChainMethod: an engine whose draws are Markov chains after a warm-up."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf.core.coordinates import Layout, restored
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Position, Program
from probinf.core.zero_likelihood import zero_likelihood
from probinf.errors import MethodError
from probinf.kernels.base import Kernel
from probinf.results.assembling import assemble_chains
from probinf.results.collecting import ChainCollector, Chains, Transition
from probinf.results.continuing import Ended
from probinf.results.posterior import Posterior
from probinf.runtime.lanes import advance_lane, start_lane
from probinf.runtime.memory import STATS_BYTES
from probinf.runtime.method import Method, Plan, Run
from probinf.runtime.progress import Status
from probinf.samplers.warmup.starting import START_TRIES, blank_array

_LONGEST = 1000  # transitions between two looks from the host
_SUMMED = {"evaluations", "lost"}  # over the transitions of which one draw is kept


class ChainState(NamedTuple):
    """A lane of chains: the engine's own state, steps taken, whether a start was found."""

    own: Any
    taken: Int[Array, ""]
    started: Bool[Array, ""]


class ChainMethod(Method[Posterior]):
    """Markov chains: warm up, then draw.

    An engine has the fields ``chains``, ``warmup`` and ``draws`` and writes :meth:`begin` and
    :meth:`transition`; :meth:`report` where its draws say more. Chunks, progress, thinning, the
    collection of draws, checkpoints, memory and the Posterior follow from these.
    """

    chains: int
    warmup: int
    draws: int
    thin: int = 1

    lockstep: ClassVar[bool] = False
    """Whether a lane moves many chains, so that states and records have a leading axis chain."""
    sought: ClassVar[str] = "starting point"
    """What a chain begins from, for the message when none is found."""

    @abc.abstractmethod
    def begin(self, key: Key, program: Program) -> tuple[Any, Bool[Array, ""] | bool]:
        """A state to start from, and whether density (and gradient) are finite there."""

    @abc.abstractmethod
    def transition(
        self, key: Key, program: Program, own: Any, taken: Int[Array, ""]
    ) -> tuple[Any, Transition]:
        """One transition; it may adapt while ``taken < warmup``."""

    def begin_at(
        self, key: Key, program: Program, x: Position, given: Bool[Array, " d"]
    ) -> tuple[Any, Bool[Array, ""] | bool]:
        """As :meth:`begin`, from a position of which only some coordinates are given.

        Args:
            key: random key.
            program: on flat positions.
            x: a position; in lockstep all chains', with a leading axis.
            given: (d,) which coordinates stay at it; the others begin wherever they would.

        Raises:
            MethodError: this engine begins elsewhere.
        """
        raise MethodError(
            f"start: {type(self).__name__} begins at draws from its base, not at given values. "
            "start= serves NUTS, MCMC, ChEES and Ensemble."
        )

    @property
    def lanes(self) -> int:
        """Replicas that move on their own: one in lockstep, else a chain each."""
        return 1 if self.lockstep else self.chains

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """Fields of the Posterior beside the draws: ``stats``, ``history``, ``evidence``, ...

        Args:
            run: finished; ``run.states.own`` are the last states, leading axis lane.
            stats: of the transitions after the warm-up, (chain, draw, ...).
        """
        return {
            "stats": stats,
            "no_evidence": f"{type(self).__name__} does not estimate the evidence. Use SMC or "
            "Importance on the same program.",
        }

    def note(self, own: Any) -> str:
        """What the progress bar says of the states (host arrays, leading axis lane)."""
        return ""

    def check_counts(self, names: Sequence[str] = ("chains", "thin", "draws")) -> None:
        """Raise where one of these is not positive, or ``warmup`` negative."""
        for name in (*names, "warmup"):
            if getattr(self, name) is None:
                raise MethodError(f"{name} must be a whole number, got None.")
        for name in names:
            at_least(1, **{name: getattr(self, name)})
        at_least(-1, warmup=self.warmup)
        if self.warmup < 0:
            raise MethodError(f"warmup must not be negative, got {self.warmup}.")

    def check_warmup(self, kernel: Kernel | None) -> None:
        """Raise where nothing would tune a step size that the kernel has.

        Raises:
            MethodError: ``warmup`` is zero.
        """
        if self.warmup == 0 and (kernel is None or kernel.target_acceptance is not None):
            raise MethodError(
                "warmup must be at least 1, got 0: step size and metric would stay at a first "
                "guess, with which most moves are rejected. Some hundred steps are usual."
            )

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each chain, and records of positions and statistics."""
        row = layout.size * np.dtype(layout.dtype).itemsize + STATS_BYTES
        return Plan(
            lanes=self.lanes,
            chunk=min(_LONGEST, self.warmup + self.draws),
            row_bytes=self.chains * row,
            draws=self.chains * self.draws,
        )

    def init(self, key: Key, program: Program) -> ChainState:
        """A lane that has begun."""
        own, started = self.begin(key, program)
        return ChainState(own, jnp.zeros((), int), jnp.asarray(started))

    def step(self, key: Key, program: Program, state: ChainState) -> tuple[ChainState, Transition]:
        """One transition while warming up; then as many as ``thin`` says."""
        own, taken, started = state
        if self.thin == 1:
            own, record = self.transition(key, program, own, taken)
            return ChainState(own, taken + 1, started), record
        transition = jax.jit(partial(self.transition, program=program), inline=True)  # traced once
        example = jax.eval_shape(transition, key, own=own, taken=taken)[1]
        blank = jax.tree.map(blank_array, example)

        def body(index: Any, carry: Any) -> Any:
            own, before = carry
            own, record = transition(jax.random.fold_in(key, index), own=own, taken=taken)
            stats = {**record.stats}
            for name in _SUMMED & set(stats):
                stats[name] += before.stats[name]
            if "divergent" in stats:
                stats["divergent"] |= before.stats["divergent"]
            return own, record._replace(stats=stats)

        stats = {**blank.stats}
        for name in (_SUMMED | {"divergent"}) & set(stats):
            stats[name] = jnp.zeros_like(stats[name])
        times = jnp.where(taken < self.warmup, 1, self.thin)
        own, record = jax.lax.fori_loop(0, times, body, (own, blank._replace(stats=stats)))
        return ChainState(own, taken + 1, started), record

    def collector(self, run: Run, plan: Plan) -> ChainCollector:
        """Draws after the warm-up, written once."""
        return ChainCollector(
            run,
            chains=self.chains,
            warmup=self.warmup,
            draws=self.draws,
            lockstep=self.lockstep,
            superchains=getattr(self, "superchains", None),
        )

    def done(self, state: ChainState) -> Bool[Array, ""]:
        """All steps taken, or no start found."""
        return (state.taken >= self.warmup + self.draws) | ~state.started

    def status(self, states: ChainState) -> Status:
        """Share of steps taken, and the phase."""
        count, note = int(states.taken.min()), self.note(states.own)
        phase = "warm-up" if count < self.warmup else "sampling"
        return Status(count / (self.warmup + self.draws), ", ".join(filter(None, (phase, note))))

    def positions(self, key: Key, program: Program, count: int) -> Position:
        """Evenly spaced draws of one chain, as a pure function."""
        if self.lockstep:
            raise MethodError(
                f"{type(self).__name__} moves all its chains together, so it cannot run as one "
                "chain per data set. Use NUTS."
            )
        if self.draws < count:
            raise MethodError(
                f"{type(self).__name__} makes {self.draws} draws, fewer than draws={count}."
            )
        total, thin = self.warmup + self.draws, self.draws // count
        lane = start_lane(self, program, key)
        _, records, _ = advance_lane(self, program, lane, total, total)
        first = self.warmup + thin - 1
        return restored(jax.tree.map(lambda r: r[first::thin][:count], records.position))

    def finish(self, run: Run) -> Posterior:
        """Draws after the warm-up, chain by chain.

        Raises:
            ZeroLikelihoodError: a chain has found no start.
            MethodError: there are no draws yet.
        """
        started = np.asarray(run.states.started)
        if not started.all():
            lane = f" for chain {int(np.argmin(started))}" if started.size > 1 else ""
            raise zero_likelihood(
                run.flat,
                run.layout,
                f"no {self.sought} with finite log density and gradient in {START_TRIES} tries"
                f"{lane}",
            )
        chains: Chains = run.records
        if not chains.stats:
            raise MethodError("the run was interrupted during warm-up; there are no draws yet.")
        stats = dict(chains.stats)
        lost = int(stats.pop("lost").sum()) if "lost" in stats else 0
        told = self.report(run, stats)
        provenance = {"nan_evaluations": lost, **told.pop("provenance", {})}
        return assemble_chains(run, **told, provenance=provenance, ended=Ended(self, run))
