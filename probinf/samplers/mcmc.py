"""Markov chain Monte Carlo: any kernel, several chains, one warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf import kernels
from probinf.core.coordinates import Layout, layout_of, storable, vector_of
from probinf.core.gradients import require_gradient
from probinf.core.program import Key, Position, Program
from probinf.errors import MethodError
from probinf.kernels.base import Kernel, MetricName, check_kernel
from probinf.kernels.coverage import check_coordinates
from probinf.results.collecting import Transition
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.warmup.adaptation import Adaptation, AdaptationState
from probinf.samplers.warmup.fisher import FisherAdaptation
from probinf.samplers.warmup.metric_option import Groups, Metric, check_sites, checked
from probinf.samplers.warmup.moments import GroupedMoments, Moments
from probinf.samplers.warmup.starting import found_start, near, pathfinder_start, scattered
from probinf.samplers.warmup.trial import told

Start = Literal["wide", "pathfinder"]

_CANDIDATES = 8


class Chain(NamedTuple):
    """One chain: kernel state, warm-up state, what the warm-up has seen."""

    kernel: Any
    adaptation: AdaptationState
    seen: Any


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
            estimated from draws and gradients; ``"auto"``, the one of these two that moves the
            slowest coordinate further per gradient in a trial inside each chain's warm-up
            (``provenance["metric"]`` tells which and why); or groups of sites,
            ``[("a", "b")]``: the covariance inside each group, variances elsewhere. By default
            ``"auto"`` for NUTS on a CPU and diagonal otherwise (chains that move in lockstep on
            an accelerator would all wait for each estimate).
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
        check_kernel(self.kernel)
        self.check_counts()
        self.check_warmup(self.kernel)
        object.__setattr__(self, "metric", checked(self.metric))
        if self.start not in get_args(Start):
            raise MethodError(f"start must be 'wide' or 'pathfinder', got {self.start!r}.")
        takes = self.kernel.metrics
        if self.metric is not None and self._metric not in takes:
            told = "metric by groups" if self._metric == "groups" else f"metric={self._metric!r}"
            raise MethodError(
                f"{told} does not serve {type(self.kernel).__name__}, whose metric is "
                f"{' or '.join(map(repr, takes))}; NUTS, HMC and MALA take every one."
            )

    @property
    def _metric(self) -> MetricName:
        """What ``metric`` comes to."""
        if isinstance(self.metric, tuple):
            return "groups"
        if self.metric is not None:
            return cast("MetricName", self.metric)
        on_cpu = jax.default_backend() == "cpu"
        return self.kernel.default_metric if on_cpu and self.warmup > 0 else "diagonal"

    @property
    def _fisher(self) -> FisherAdaptation | None:
        if self._metric not in ("auto", "low_rank"):
            return None
        return FisherAdaptation(self.kernel, self.warmup, chooses=self._metric == "auto")

    def _adaptation(self, program: Program) -> Adaptation:
        moments: Moments | GroupedMoments = Moments(dense=self.metric == "dense")
        if isinstance(self.metric, tuple):
            layout = layout_of(program)
            indices = [layout.part(sites)[0] for sites in self.metric]
            moments = GroupedMoments(tuple(tuple(index.tolist()) for index in indices))
        return Adaptation(self.kernel, self.warmup, moments)

    @property
    def follows_gradients(self) -> bool:
        """Whether its kernel does."""
        return self.kernel.needs_gradient

    def plan(self, program: Program, layout: Layout) -> Plan:
        """Chains that the kernel can move.

        Raises:
            MethodError: it cannot move all coordinates of the program.
        """
        name = type(self.kernel).__name__
        if layout.size < self.kernel.least_dim:
            raise MethodError(
                f"{name} needs at least {self.kernel.least_dim} coordinates, this program has "
                f"{layout.size}. Use NUTS."
            )
        if self.start == "pathfinder" and (layout.has_keys or layout.integers):
            raise MethodError(
                "start='pathfinder' climbs along gradients, but this program has coordinates "
                "without (random keys or integers). Use start='wide'."
            )
        if isinstance(self.metric, tuple):
            check_sites(self.metric, layout)
        if self.kernel.moves_integers or not layout.integers:
            levels = {name: (low, high) for name, low, high in program.levels}
            moved = check_coordinates(self.kernel, layout, levels)
            left = sorted(set(layout.places()) - moved)
            if left:
                raise MethodError(
                    f"no block moves {left}, so they would stay where they began. Add "
                    f"kernels.block({left[0]!r}, ...) to the cycle."
                )
        if layout.has_keys and not self.kernel.moves_keys:
            raise MethodError(
                f"{name} cannot move the random-key coordinate of this program (a simulator or "
                "particle-filter weight). Use MCMC(kernels.RandomWalk()), "
                "SMC(kernel=kernels.RandomWalk()) or Importance()."
            )
        if self.follows_gradients or self.start == "pathfinder":
            require_gradient(program, name if self.follows_gradients else "start='pathfinder'")
        plan = super().plan(program, layout)
        return plan._replace(moves_integers=self.kernel.moves_integers)

    def begin(self, key: Key, program: Program) -> tuple[Chain, Bool[Array, ""]]:
        """A start with finite density and gradient; up to 100 tries for one.

        One wide start may lie in a region that a chain cannot leave; of eight, the densest
        rarely does, and one drawn by Pathfinder hardly ever.
        """

        def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
            state = self.kernel.init(program, scattered(program, key, tries))
            return state, state

        if self.start == "pathfinder":
            state, started = pathfinder_start(self.kernel.init, program, key)
        else:
            state, started = found_start(attempt, key, _CANDIDATES)
        return self._begun(program, state), started

    def begin_at(
        self, key: Key, program: Program, x: Position, given: Bool[Array, " d"]
    ) -> tuple[Chain, Bool[Array, ""]]:
        """The given coordinates, with the others at the densest of 8 wide tries."""
        state, started = found_start(near(self.kernel.init, program, x, given), key, _CANDIDATES)
        return self._begun(program, state), started

    def _begun(self, program: Program, state: Any) -> Chain:
        """A chain before its first transition."""
        if self._fisher is not None:
            return Chain(state, *self._fisher.init(state.position, state.logdensity_grad))
        adaptation = self._adaptation(program).init(vector_of(state.position))
        return Chain(state, adaptation, ())

    def transition(
        self, key: Key, program: Program, own: Chain, taken: Int[Array, ""]
    ) -> tuple[Chain, Transition]:
        """One transition, adapting while warming up."""
        kernel, info = self.kernel.step(key, program, own.kernel, own.adaptation.params)
        adaptation, seen = own.adaptation, own.seen
        fisher = self._fisher
        if fisher is not None:  # outside the condition, which would copy all that was seen
            score = kernel.logdensity_grad
            seen = fisher.see(seen, taken, kernel.position, score, info)

        def adapted() -> AdaptationState:
            if fisher is not None:
                return fisher.update(own.adaptation, seen, taken, info)
            vector = vector_of(kernel.position)
            return self._adaptation(program).update(own.adaptation, taken, vector, info)

        if self.warmup:
            adaptation = jax.lax.cond(taken < self.warmup, adapted, lambda: own.adaptation)
        stats = {
            "log_density": kernel.logdensity,
            "acceptance": info.acceptance,
            "evaluations": info.evaluations,
            "step_size": own.adaptation.params.step_size,
            "energy": info.energy,
            "lost": info.lost,
        }
        if self.kernel.needs_gradient:
            stats["divergent"] = info.divergent
        stats |= {name: getattr(info, name) for name in self.kernel.reports}
        return Chain(kernel, adaptation, seen), Transition(storable(kernel.position), stats)

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """The acceptance of a cycle is that of all its kernels on average."""
        acceptance = stats["acceptance"]
        if acceptance.ndim == 3:
            stats = {**stats, "acceptance": acceptance.mean(axis=2), "part_acceptance": acceptance}
        fields = super().report(run, stats)
        fisher = self._fisher
        if fisher is not None and fisher.trial is not None:
            fields["provenance"] = {"metric": told(run.states.own.adaptation.metric)}
        return fields

    def note(self, own: Chain) -> str:
        """The step size."""
        return f"step size {float(np.median(own.adaptation.params.step_size)):.3g}"


@dataclasses.dataclass(frozen=True)
class NUTS(MCMC):
    """No-U-turn sampler: the default engine.

    Args:
        kernel: options of the trajectory, ``kernels.NUTS(max_depth=, target_acceptance=)``.
        chains: independent chains, each from its own over-dispersed start.
        warmup: adaptive transitions per chain, discarded.
        draws: kept transitions per chain.
        metric: ``"diagonal"`` variances, a ``"dense"`` covariance, ``"low_rank"``, variances
            and up to 32 directions estimated from draws and gradients, ``"auto"``, the better of
            diagonal and low-rank, the default on a CPU; or groups of sites, as in ``MCMC``.
        thin: transitions per kept draw; the ones in between are never stored.
        start: ``"wide"`` or ``"pathfinder"``, as in ``MCMC``.
        target_acceptance: the kernel's, where it is not .8.
        max_depth: the kernel's, where it is not 10.

    Source: Hoffman & Gelman (2014); Betancourt (2017).
    """

    kernel: Kernel = kernels.NUTS()
    target_acceptance: dataclasses.InitVar[float | None] = None
    max_depth: dataclasses.InitVar[int | None] = None

    def __post_init__(self, target_acceptance: float | None, max_depth: int | None) -> None:
        given = {"target_acceptance": target_acceptance, "max_depth": max_depth}
        options = {name: value for name, value in given.items() if value is not None}
        if options:
            check_kernel(self.kernel)
            known = [f.name for f in dataclasses.fields(self.kernel)]
            if not set(options) <= set(known):
                raise MethodError(
                    f"NUTS: {type(self.kernel).__name__} has no {', '.join(options)}; its options "
                    f"are {', '.join(known) or 'none'}."
                )
            object.__setattr__(self, "kernel", dataclasses.replace(self.kernel, **options))
        super().__post_init__()
