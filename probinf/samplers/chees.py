"""ChEES: many chains of Hamiltonian Monte Carlo in lockstep, tuned together."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Layout
from probinf.core.gradients import require_gradient
from probinf.core.inputs.limits import at_least, inside
from probinf.core.program import Key, Position, Program, log_density
from probinf.core.spreading import over_particles
from probinf.errors import MethodError
from probinf.kernels import blackjax
from probinf.kernels.base import Params
from probinf.kernels.hamiltonian import lost_ends, with_gradient
from probinf.results.collecting import Transition
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.warmup.starting import found_start, near, scattered

_RATE, _DECAY = 0.025, 0.95  # of Adam on the logarithm of the trajectory length
_LOWEST = 0.05  # acceptance of a single chain that the harmonic mean counts at least
_BITS = 16
_LONGEST = 200  # steps between two looks from the host


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


class Ensemble(NamedTuple):
    """All chains: Hamiltonian states with a leading axis, and the tuning they share."""

    chains: Any
    tuning: Tuning


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

    lockstep: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_counts(("max_steps", "superchains", "draws"))
        at_least(1, chains=self.chains)
        inside(0, 1, target_acceptance=self.target_acceptance)
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
    def follows_gradients(self) -> bool:
        """True."""
        return True

    def plan(self, program: Program, layout: Layout) -> Plan:
        """One lane with all chains.

        Raises:
            MethodError: the program has coordinates without gradients.
        """
        if layout.has_keys:
            raise MethodError(
                "ChEES needs gradients, but this program has a random-key coordinate. Use "
                "MCMC(kernels.RandomWalk()), SMC() or Importance()."
            )
        require_gradient(program, "ChEES")
        self.check_warmup(None)
        plan = super().plan(program, layout)
        return plan._replace(chunk=min(_LONGEST, plan.chunk))

    def _dual_averaging(self) -> Any:
        return blackjax.dual_averaging(self.target_acceptance)

    def begin(self, key: Key, program: Program) -> tuple[Ensemble, Bool[Array, ""]]:
        """One start with finite density and gradient for every superchain."""

        def search(key: Key) -> tuple[Any, Bool[Array, ""]]:
            return found_start(attempt, key)

        def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
            state = with_gradient(program, scattered(program, key, tries))
            return state, state

        states, fine = jax.lax.map(search, jax.random.split(key, self.superchains))
        states = jax.tree.map(lambda v: jnp.repeat(v, self.chains // self.superchains, 0), states)
        return self._begun(states), jnp.all(fine)

    def begin_at(
        self, key: Key, program: Program, x: Position, given: Bool[Array, " d"]
    ) -> tuple[Ensemble, Bool[Array, ""]]:
        """Every chain at its own given coordinates, the others at a wide start."""

        def search(item: Any) -> tuple[Any, Bool[Array, ""]]:
            key, row = item
            return found_start(near(with_gradient, program, row, given), key)

        states, fine = jax.lax.map(search, (jax.random.split(key, self.chains), x))
        return self._begun(states), jnp.all(fine)

    def _begun(self, states: Any) -> Ensemble:
        """All chains before their first trajectory."""
        # placed as transitions leave them, or the second chunk would be compiled anew
        states = over_particles(_as_it_is, states, alike=False)
        x = states.position
        unit = jnp.ones((), x.dtype)
        tuning = Tuning(
            step_size=self._dual_averaging()[0](0.1 * unit),
            log_length=jnp.zeros((), x.dtype),
            log_length_mean=jnp.zeros((), x.dtype),
            power=unit,
            mean=x.mean(axis=0),
            variance=jnp.ones_like(x[0]),
        )
        return Ensemble(states, tuning)

    def transition(
        self, key: Key, program: Program, own: Ensemble, taken: Int[Array, ""]
    ) -> tuple[Ensemble, Transition]:
        """One trajectory of every chain, all of the same number of leapfrog steps."""
        tuning = own.tuning
        warming = taken < self.warmup
        final = self._dual_averaging()[2](tuning.step_size)
        size = jnp.where(warming, jnp.exp(tuning.step_size.log_step_size), final)
        size = size.astype(tuning.variance.dtype)
        log_length = jnp.where(warming, tuning.log_length, tuning.log_length_mean)
        share = _van_der_corput(taken)
        steps = jnp.clip(jnp.ceil(share * jnp.exp(log_length) / size), 1, self.max_steps)
        steps = steps.astype(int)

        def move(keyed: tuple[Key, Any]) -> Any:
            key, chain = keyed
            return blackjax.hmc().build_kernel()(
                key, chain, lambda y: log_density(program, y), size, tuning.variance, steps
            )

        keys = jax.random.split(key, self.chains)
        moved, report = over_particles(move, (keys, own.chains), alike=False)
        acceptance = jnp.where(jnp.isnan(report.acceptance_rate), 0.0, report.acceptance_rate)
        if self.warmup:
            tuning = jax.lax.cond(
                warming,
                lambda: self._tuned(own, taken, moved, report, acceptance, steps * size),
                lambda: tuning,
            )

        def ends() -> Int[Array, " c"]:
            params = Params(size, tuning.mean, tuning.variance)
            each = partial(lost_ends, program, params)
            return jax.vmap(each)(report.is_divergent, report.proposal)

        none = jnp.zeros(acceptance.shape, int)
        stats = {
            "log_density": moved.logdensity,
            "acceptance": acceptance,
            "divergent": report.is_divergent,
            "energy": report.energy,
            "step_size": jnp.broadcast_to(size, acceptance.shape),
            "evaluations": jnp.broadcast_to(steps, acceptance.shape),
            "lost": jax.lax.cond(report.is_divergent.any(), ends, lambda: none),
        }
        return Ensemble(moved, tuning), Transition(moved.position, stats)

    def _tuned(
        self,
        own: Ensemble,
        taken: Int[Array, ""],
        moved: Any,
        report: Any,
        acceptance: Float[Array, " c"],
        time: Float[Array, ""],
    ) -> Tuning:
        """One step of dual averaging, of gradient ascent on ChEES, and of the moments."""
        tuning, dtype = own.tuning, own.tuning.variance.dtype
        harmonic = 1 / jnp.mean(1 / jnp.maximum(acceptance, _LOWEST))
        step_size = self._dual_averaging()[1](tuning.step_size, harmonic.astype(dtype))

        sd = jnp.sqrt(tuning.variance)
        before, after = own.chains.position / sd, report.proposal.position / sd
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
        count = taken.astype(dtype)
        rate = 2 / (count + 2)
        x = moved.position
        mean = tuning.mean + rate * (x.mean(axis=0) - tuning.mean)
        spread = jnp.mean((x - mean) ** 2, axis=0)
        variance = tuning.variance + rate * (spread - tuning.variance)
        later = jnp.maximum(count - self.warmup // 2, 0.0)
        log_mean = tuning.log_length_mean + (log_length - tuning.log_length_mean) / (later + 1)
        return Tuning(
            step_size=step_size,
            log_length=log_length.astype(dtype),
            log_length_mean=log_mean.astype(dtype),
            power=power.astype(dtype),
            mean=mean.astype(dtype),
            variance=jnp.maximum(variance, 1e-10).astype(dtype),
        )

    def note(self, own: Ensemble) -> str:
        """The longest trajectory."""
        return f"trajectories up to {float(np.exp(own.tuning.log_length[0])):.2g} sd"

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """The tuned trajectory, and which chains began together."""
        length = float(np.exp(run.states.own.tuning.log_length_mean[0]))
        told = {"trajectory_length": length, "superchains": self.superchains}
        return {**super().report(run, stats), "provenance": told}


def _as_it_is(chain: Any) -> Any:
    return chain


def _van_der_corput(index: Int[Array, ""]) -> Float[Array, ""]:
    """The base-2 low-discrepancy sequence in (0, 1)."""
    bits = (index + 1) >> jnp.arange(_BITS) & 1
    return jnp.sum(bits * 0.5 ** (1.0 + jnp.arange(_BITS)))
