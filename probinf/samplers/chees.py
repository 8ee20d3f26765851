"""ChEES: many chains of Hamiltonian Monte Carlo in lockstep, tuned together."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout
from probinf.core.program import Key, Program, log_density
from probinf.errors import MethodError
from probinf.kernels.hamiltonian import with_gradient
from probinf.results.draws import STATS_BYTES
from probinf.results.posterior import Posterior, assemble_chains
from probinf.runtime.loop import Run, Status
from probinf.samplers.chains import ChainMethod
from probinf.samplers.warmup.starting import found_start

_RATE, _DECAY = 0.025, 0.95  # of Adam on the logarithm of the trajectory length
_LOWEST = 0.05  # acceptance of a single chain that the harmonic mean counts at least
_BITS = 16


class Tuning(NamedTuple):
    """What the chains share.

    Attributes:
        step_size: state of dual averaging.
        log_length: logarithm of the longest trajectory, in standard deviations.
        log_length_mean: its average over the later warm-up.
        power: running mean of squared gradients, for Adam.
        mean: (d,) running mean of all chains.
        variance: (d,) and variance.
    """

    step_size: Any
    log_length: Float[Array, ""]
    log_length_mean: Float[Array, ""]
    power: Float[Array, ""]
    mean: Float[Array, " d"]
    variance: Float[Array, " d"]


class EnsembleState(NamedTuple):
    """All chains: Hamiltonian states with a leading axis, shared tuning, steps taken."""

    chains: Any
    tuning: Tuning
    taken: Int[Array, ""]
    started: Bool[Array, ""]


class EnsembleRecord(NamedTuple):
    """What is kept of one step of all chains."""

    position: Float[Array, "c d"]
    log_density: Float[Array, " c"]
    acceptance: Float[Array, " c"]
    divergent: Bool[Array, " c"]
    energy: Float[Array, " c"]
    step_size: Float[Array, ""]
    steps: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class ChEES(ChainMethod):
    """Hamiltonian Monte Carlo with many chains, whose trajectory length maximises ChEES.

    All chains take the same number of leapfrog steps, so that none waits for another: the
    engine for tens to thousands of short chains on an accelerator, and for cheap densities on
    a CPU. Length, step size and variances are learned from all chains at once.

    Args:
        chains: in lockstep.
        warmup: adaptive steps, discarded.
        draws: kept steps per chain.
        superchains: groups of chains with one starting point each; ``summary`` then gives the
            nested R-hat, which short chains can satisfy.
        max_steps: most leapfrog steps of a trajectory.
        target_acceptance: harmonic mean over chains that the step size aims at.

    Raises:
        MethodError: a count is not positive, or the program has random-key coordinates.

    Source: Hoffman, Radul & Sountsov (2021), algorithm 1; Margossian et al. (2024) for nested
    R-hat.
    """

    chains: int = 64
    warmup: int = 500
    draws: int = 250
    superchains: int = 16
    max_steps: int = 500
    target_acceptance: float = 0.651

    def __post_init__(self) -> None:
        self.check_counts("max_steps", "superchains")
        if self.chains < 8:
            raise MethodError(
                f"chains must be at least 8, got {self.chains}: they tune each other. Use NUTS "
                "for a few chains."
            )
        if self.chains % self.superchains:
            raise MethodError(
                f"chains must be a multiple of superchains, got {self.chains} and "
                f"{self.superchains}."
            )

    @property
    def lanes(self) -> int:
        """One: the chains move together."""
        return 1

    @property
    def chunk(self) -> int:
        """All steps at most, 200 at a time."""
        return min(200, self.warmup + self.draws)

    def validate(self, program: Program, layout: Layout) -> None:
        """Gradients need floating-point coordinates."""
        if layout.has_keys:
            raise MethodError(
                "ChEES needs gradients, but this program has a random-key coordinate. Use "
                "MCMC(kernels.RandomWalk()), SMC() or Importance()."
            )

    def row_bytes(self, layout: Layout) -> int:
        """Positions and statistics of one step of all chains."""
        return self.chains * (layout.size * np.dtype(layout.dtype).itemsize + STATS_BYTES)

    def by_chain(self, chunk: list[EnsembleRecord]) -> EnsembleRecord:
        """The one record with leading axes (chain, step); what the chains share has one chain."""
        found: EnsembleRecord = jax.tree.map(
            lambda v: v[None] if v.ndim == 1 else np.swapaxes(v, 0, 1), chunk[0]
        )
        return found

    def evaluations(self, record: EnsembleRecord) -> np.ndarray:
        """Of one chain: all take the same."""
        return np.asarray(record.steps)

    def _dual_averaging(self) -> Any:
        from blackjax.adaptation.step_size import dual_averaging_adaptation

        return dual_averaging_adaptation(self.target_acceptance)

    def init(self, key: Key, program: Program) -> EnsembleState:
        """One start with finite density and gradient for every superchain."""

        def search(key: Key) -> tuple[Any, Bool[Array, ""]]:
            return found_start(attempt, key)

        def attempt(key: Key) -> tuple[Any, Any]:
            state = with_gradient(program, program.start(key, program.data))
            return state, state

        states, fine = jax.lax.map(search, jax.random.split(key, self.superchains))
        states = jax.tree.map(lambda v: jnp.repeat(v, self.chains // self.superchains, 0), states)
        x = states.position
        unit = jnp.ones((), x.dtype)
        tuning = Tuning(
            self._dual_averaging()[0](0.1 * unit),
            jnp.zeros((), x.dtype),
            jnp.zeros((), x.dtype),
            unit,
            x.mean(axis=0),
            jnp.ones_like(x[0]),
        )
        return EnsembleState(states, tuning, jnp.zeros((), int), jnp.all(fine))

    def step(
        self, key: Key, program: Program, state: EnsembleState
    ) -> tuple[EnsembleState, EnsembleRecord]:
        """One trajectory of every chain, all of the same number of leapfrog steps."""
        from blackjax.mcmc import hmc

        tuning = state.tuning
        warming = state.taken < self.warmup
        final = self._dual_averaging()[2](tuning.step_size)
        size = jnp.where(warming, jnp.exp(tuning.step_size.log_step_size), final)
        size = size.astype(tuning.variance.dtype)
        log_length = jnp.where(warming, tuning.log_length, tuning.log_length_mean)
        share = _van_der_corput(state.taken)
        steps = jnp.clip(jnp.ceil(share * jnp.exp(log_length) / size), 1, self.max_steps)
        steps = steps.astype(int)

        def move(key: Key, chain: Any) -> Any:
            return hmc.build_kernel()(
                key, chain, lambda y: log_density(program, y), size, tuning.variance, steps
            )

        moved, report = jax.vmap(move)(jax.random.split(key, self.chains), state.chains)
        acceptance = jnp.where(jnp.isnan(report.acceptance_rate), 0.0, report.acceptance_rate)
        if self.warmup:
            tuning = jax.lax.cond(
                warming,
                lambda: self._tuned(tuning, state, moved, report, acceptance, steps * size),
                lambda: tuning,
            )
        record = EnsembleRecord(
            moved.position,
            moved.logdensity,
            acceptance,
            report.is_divergent,
            report.energy,
            size,
            steps,
        )
        return EnsembleState(moved, tuning, state.taken + 1, state.started), record

    def _tuned(
        self,
        tuning: Tuning,
        state: EnsembleState,
        moved: Any,
        report: Any,
        acceptance: Float[Array, " c"],
        time: Float[Array, ""],
    ) -> Tuning:
        """One step of dual averaging, of gradient ascent on ChEES, and of the moments."""
        dtype = tuning.variance.dtype
        harmonic = 1 / jnp.mean(1 / jnp.maximum(acceptance, _LOWEST))
        step_size = self._dual_averaging()[1](tuning.step_size, harmonic.astype(dtype))

        sd = jnp.sqrt(tuning.variance)
        before, after = state.chains.position / sd, report.proposal.position / sd
        fine = jnp.isfinite(after).all(axis=1) & ~report.is_divergent
        weight = jnp.where(fine, acceptance, 0.0)
        after = jnp.where(fine[:, None], after, 0.0)
        velocity = jnp.where(fine[:, None], -report.proposal.momentum * sd, 0.0)  # was flipped
        total = jnp.maximum(weight.sum(), 1e-3)
        before = before - before.mean(axis=0)
        after = after - weight @ after / total
        gain = jnp.sum(after**2, axis=1) - jnp.sum(before**2, axis=1)
        slopes = gain * jnp.sum(after * velocity, axis=1)
        slope = time * (weight @ jnp.where(fine, slopes, 0.0)) / total
        power = _DECAY * tuning.power + (1 - _DECAY) * slope**2
        log_length = tuning.log_length + _RATE * slope / jnp.sqrt(power + 1e-12)
        log_length = jnp.clip(log_length, -5.0, 5.0)

        # weights grow linearly in time, so that the way to the bulk is forgotten
        count = state.taken.astype(dtype)
        rate = 2 / (count + 2)
        x = moved.position
        mean = tuning.mean + rate * (x.mean(axis=0) - tuning.mean)
        spread = jnp.mean((x - mean) ** 2, axis=0)
        variance = tuning.variance + rate * (spread - tuning.variance)
        later = jnp.maximum(count - self.warmup // 2, 0.0)
        log_mean = tuning.log_length_mean + (log_length - tuning.log_length_mean) / (later + 1)
        return Tuning(
            step_size,
            log_length.astype(dtype),
            log_mean.astype(dtype),
            power.astype(dtype),
            mean.astype(dtype),
            jnp.maximum(variance, 1e-10).astype(dtype),
        )

    def status(self, states: EnsembleState) -> Status:
        """Share of steps taken, and the phase."""
        count, total = int(states.taken.min()), self.warmup + self.draws
        phase = "warm-up" if count < self.warmup else "sampling"
        length = float(np.exp(states.tuning.log_length[0]))
        return Status(count / total, f"{phase}, trajectories up to {length:.2g} sd")

    def finish(self, run: Run) -> Posterior:
        """The draws of every chain after the warm-up."""
        chains = self.gathered(run)
        record: EnsembleRecord = chains.record
        shape = record.log_density.shape
        stats = {name: getattr(record, name) for name in EnsembleRecord._fields[1:5]}
        stats["step_size"] = np.broadcast_to(record.step_size, shape)
        stats["evaluations"] = np.broadcast_to(record.steps, shape)
        return assemble_chains(
            run,
            stats=stats,
            provenance={
                "warmup_evaluations": chains.warmup_evaluations * self.chains,
                "trajectory_length": float(np.exp(run.states.tuning.log_length_mean[0])),
                "superchains": self.superchains,
            },
            no_evidence="ChEES does not estimate the evidence. Use SMC or Importance on the same "
            "program.",
        )


def _van_der_corput(index: Int[Array, ""]) -> Float[Array, ""]:
    """The base-2 low-discrepancy sequence in (0, 1)."""
    bits = (index + 1) >> jnp.arange(_BITS) & 1
    return jnp.sum(bits * 0.5 ** (1.0 + jnp.arange(_BITS)))
