"""Markov chain Monte Carlo: any kernel, several chains, one warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf import kernels
from probinf.core.coordinates import Layout, layout_of, storable, vector_of
from probinf.core.program import Key, Program
from probinf.errors import MethodError
from probinf.kernels.base import Info, Kernel
from probinf.kernels.composition import check_coordinates
from probinf.results.draws import STATS_BYTES
from probinf.results.posterior import Posterior, assemble_chains
from probinf.runtime.loop import Run, Status
from probinf.samplers.chains import ChainMethod
from probinf.samplers.warmup.adaptation import Adaptation, AdaptationState
from probinf.samplers.warmup.fisher import FisherAdaptation
from probinf.samplers.warmup.metric_option import Groups, Metric, check_sites, checked
from probinf.samplers.warmup.moments import GroupedMoments, Moments
from probinf.samplers.warmup.starting import blank_array, found_start, pathfinder_start

Start = Literal["wide", "pathfinder"]

_CANDIDATES = 8


class ChainState(NamedTuple):
    """One chain: kernel state, warm-up state, what it has seen, steps, whether it has started."""

    kernel: Any
    adaptation: AdaptationState
    seen: Any
    taken: Int[Array, ""]
    started: Bool[Array, ""]


class ChainRecord(NamedTuple):
    """What is kept of one transition."""

    position: Any
    log_density: Array
    step_size: Array
    info: Info


@dataclasses.dataclass(frozen=True)
class MCMC(ChainMethod):
    """Independent Markov chains with a shared recipe: warm up, then draw.

    Args:
        kernel: the Markov kernel, from ``probinf.kernels``.
        chains: independent chains, each from its own over-dispersed start.
        warmup: adaptive transitions per chain, discarded.
        draws: kept transitions per chain.
        metric: ``"diagonal"`` variances or a ``"dense"`` covariance in the kernel; for
            Hamiltonian kernels also ``"low_rank"``, variances and up to 32 directions
            estimated from draws and gradients, or groups of sites, ``[("a", "b")]``: the
            covariance inside each group, variances elsewhere. By default low-rank for NUTS on
            a CPU and diagonal otherwise (chains that move in lockstep on an accelerator would
            all wait for each estimate).
        thin: transitions per kept draw; the ones in between are never stored.
        start: where chains begin. ``"wide"`` is the densest of 8 over-dispersed points;
            ``"pathfinder"`` climbs from each of 8 and draws near one of the modes found, chosen
            by mass: for posteriors with minor modes that hold a chain for good, such as those
            of differential equations. It costs some thousand density evaluations per chain and
            a longer compilation, and may begin deep in the neck of a funnel that is left centred.

    Raises:
        MethodError: a count is not positive, or the kernel does not fit the program.
    """

    kernel: Kernel
    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    metric: Metric | Groups | Sequence[Sequence[str]] | None = None
    thin: int = 1
    start: Start = "wide"

    def __post_init__(self) -> None:
        self.check_counts("chains", "thin")
        object.__setattr__(self, "metric", checked(self.metric))
        if self.start not in get_args(Start):
            raise MethodError(f"start must be 'wide' or 'pathfinder', got {self.start!r}.")
        if self.metric == "dense" and isinstance(self.kernel, kernels.MAMS):
            raise MethodError("MAMS takes a diagonal metric only; leave metric=None.")
        hamiltonian = isinstance(self.kernel, kernels.HMC | kernels.NUTS)
        if not hamiltonian and (self.metric == "low_rank" or self._grouped):
            kind = "metric by groups" if self._grouped else "metric='low_rank'"
            raise MethodError(
                f"{kind} serves NUTS, HMC and MALA only, not {type(self.kernel).__name__}. Use "
                "'diagonal' or 'dense'."
            )

    @property
    def lanes(self) -> int:
        """The chains."""
        return self.chains

    @property
    def chunk(self) -> int:
        """All transitions at most, 1,000 at a time."""
        return min(1000, self.warmup + self.draws)

    @property
    def moves_integers(self) -> bool:
        """Whether the kernel does."""
        return self.kernel.moves_integers

    @property
    def _low_rank(self) -> bool:
        if self.metric is None:
            on_cpu = jax.default_backend() == "cpu"
            return isinstance(self.kernel, kernels.NUTS) and on_cpu and self.warmup > 0
        return self.metric == "low_rank"

    @property
    def _grouped(self) -> bool:
        return isinstance(self.metric, tuple)

    def _adaptation(self, program: Program) -> Adaptation:
        moments: Moments | GroupedMoments = Moments(dense=self.metric == "dense")
        if isinstance(self.metric, tuple):
            layout = layout_of(program)
            indices = [layout.part(sites)[0] for sites in self.metric]
            moments = GroupedMoments(tuple(tuple(index.tolist()) for index in indices))
        return Adaptation(self.kernel, self.warmup, moments)

    @property
    def _fisher(self) -> FisherAdaptation:
        return FisherAdaptation(self.kernel, self.warmup)

    def validate(self, program: Program, layout: Layout) -> None:
        """Gradient and slice kernels need floating-point coordinates, MAMS two of them."""
        if isinstance(self.kernel, kernels.MAMS) and layout.size < 2:
            raise MethodError(
                "MAMS keeps the length of its momentum, so it cannot move in one dimension. Use "
                "NUTS."
            )
        if self.start == "pathfinder" and (layout.has_keys or layout.integers):
            raise MethodError(
                "start='pathfinder' climbs along gradients, but this program has coordinates "
                "without (random keys or integers). Use start='wide'."
            )
        if isinstance(self.metric, tuple):
            check_sites(self.metric, layout)
        levels = {name: (low, high) for name, low, high in program.levels}
        moved = check_coordinates(self.kernel, layout, levels)
        left = sorted(set(layout.places()) - moved)
        if left:
            raise MethodError(
                f"no block moves {left}, so they would stay where they began. Add "
                f"kernels.block({left[0]!r}, ...) to the cycle."
            )
        if layout.has_keys and not _moves_keys(self.kernel):
            raise MethodError(
                f"{type(self.kernel).__name__} cannot move the random-key coordinate of this "
                "program (a simulator or particle-filter weight). Use "
                "MCMC(kernels.RandomWalk()), SMC(kernel=kernels.RandomWalk()) or Importance()."
            )

    def row_bytes(self, layout: Layout) -> int:
        """Positions and statistics of one transition of every chain."""
        return self.chains * (layout.size * np.dtype(layout.dtype).itemsize + STATS_BYTES)

    def evaluations(self, record: ChainRecord) -> np.ndarray:
        """Density evaluations by chain and step."""
        return np.asarray(record.info.evaluations)

    def init(self, key: Key, program: Program) -> ChainState:
        """A start with finite density and gradient; up to 100 tries for one.

        One wide start may lie in a region that a chain cannot leave; of eight, the densest
        rarely does, and one drawn by Pathfinder hardly ever.
        """

        def attempt(key: Key) -> tuple[Any, Any]:
            state = self.kernel.init(program, program.start(key, program.data))
            return state, state

        if self.start == "pathfinder":
            state, started = pathfinder_start(self.kernel.init, program, key)
        else:
            state, started = found_start(attempt, key, _CANDIDATES)
        seen: Any = ()
        if self._low_rank:
            adaptation, seen = self._fisher.init(state.position, state.logdensity_grad)
        else:
            adaptation = self._adaptation(program).init(vector_of(state.position))
        return ChainState(state, adaptation, seen, jnp.zeros((), int), started)

    def step(self, key: Key, program: Program, state: ChainState) -> tuple[ChainState, ChainRecord]:
        """One transition, adapting while warming up; then as many as ``thin`` says."""
        if self.thin == 1:
            return self._transition(key, program, state)
        blank = jax.tree.map(blank_array, jax.eval_shape(self._transition, key, program, state)[1])

        def body(index: Any, carry: Any) -> Any:
            state, _, evaluations, divergent = carry
            state, record = self._transition(jax.random.fold_in(key, index), program, state)
            evaluations = evaluations + record.info.evaluations
            return state, record, evaluations, divergent | record.info.divergent

        times = jnp.where(state.taken < self.warmup, 1, self.thin)
        start = (state, blank, jnp.zeros((), int), jnp.asarray(False))
        moved, record, evaluations, divergent = jax.lax.fori_loop(0, times, body, start)
        info = record.info._replace(evaluations=evaluations, divergent=divergent)
        return moved._replace(taken=state.taken + 1), record._replace(info=info)

    def _transition(
        self, key: Key, program: Program, state: ChainState
    ) -> tuple[ChainState, ChainRecord]:
        kernel, info = self.kernel.step(key, program, state.kernel, state.adaptation.params)
        adaptation, seen = state.adaptation, state.seen
        if self._low_rank:  # outside the condition, which would copy all that was seen
            score = kernel.logdensity_grad
            seen = self._fisher.see(seen, state.taken, kernel.position, score)

        def adapted() -> AdaptationState:
            if self._low_rank:
                return self._fisher.update(state.adaptation, seen, state.taken, info)
            vector = vector_of(kernel.position)
            return self._adaptation(program).update(state.adaptation, state.taken, vector, info)

        if self.warmup:
            adaptation = jax.lax.cond(state.taken < self.warmup, adapted, lambda: state.adaptation)
        record = ChainRecord(
            storable(kernel.position), kernel.logdensity, state.adaptation.params.step_size, info
        )
        return ChainState(kernel, adaptation, seen, state.taken + 1, state.started), record

    def status(self, states: ChainState) -> Status:
        """Share of transitions taken, and the phase."""
        count, total = int(states.taken.min()), self.warmup + self.draws
        phase = "warm-up" if count < self.warmup else "sampling"
        size = float(np.median(states.adaptation.params.step_size))
        return Status(count / total, f"{phase}, step size {size:.3g}")

    def finish(self, run: Run) -> Posterior:
        """Draws after the warm-up, chain by chain."""
        record: ChainRecord = self.gathered(run).record
        acceptance = np.asarray(record.info.acceptance)
        stats: dict[str, Any] = {
            "log_density": record.log_density,
            "acceptance": acceptance if acceptance.ndim == 2 else acceptance.mean(axis=2),
            "evaluations": record.info.evaluations,
            "step_size": record.step_size,
            "energy": record.info.energy,
        }
        if acceptance.ndim == 3:
            stats["part_acceptance"] = acceptance  # of every kernel of a cycle
        if self.kernel.needs_gradient:
            stats["divergent"] = record.info.divergent
        if isinstance(self.kernel, kernels.NUTS):
            stats["depth"] = record.info.depth
        return assemble_chains(
            run,
            stats=stats,
            no_evidence=f"{type(self).__name__} does not estimate the evidence. Use SMC or "
            "Importance on the same program.",
        )


def _moves_keys(kernel: Kernel) -> bool:
    inner = getattr(kernel, "kernel", kernel)
    members = getattr(kernel, "kernels", (inner,))
    return all(isinstance(k, kernels.RandomWalk) for k in members)


@dataclasses.dataclass(frozen=True)
class NUTS(MCMC):
    """No-U-turn sampler: the default engine.

    Args:
        kernel: options of the trajectory, ``kernels.NUTS(max_depth=, target_acceptance=)``.
        chains: independent chains, each from its own over-dispersed start.
        warmup: adaptive transitions per chain, discarded.
        draws: kept transitions per chain.
        metric: ``"diagonal"`` variances, a ``"dense"`` covariance, or ``"low_rank"``, variances
            and up to 32 directions estimated from draws and gradients, the default on a CPU;
            or groups of sites, as in ``MCMC``.
        thin: transitions per kept draw; the ones in between are never stored.
        start: ``"wide"`` or ``"pathfinder"``, as in ``MCMC``.

    Source: Hoffman & Gelman (2014); Betancourt (2017).
    """

    kernel: Kernel = kernels.NUTS()
