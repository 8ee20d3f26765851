"""Particle Gibbs: states move by conditional SMC, parameters by any kernel given the states."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf import kernels
from probinf.core.coordinates import Layout, flatten, layout_of
from probinf.core.gradients import require_gradient
from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.sequence import State, StateSpace
from probinf.errors import MethodError
from probinf.kernels.base import Kernel, check_kernel
from probinf.results.collecting import ChainCollector, Transition
from probinf.results.continuing import Ended
from probinf.results.findings import Finding
from probinf.results.posterior import Posterior
from probinf.runtime.method import Plan, Run
from probinf.samplers.chains import ChainMethod
from probinf.samplers.mcmc import MCMC, Chain
from probinf.samplers.pmcmc import whole
from probinf.samplers.pmcmc.conditional import Refresh, conditional_smc, path_density
from probinf.samplers.pmcmc.filtering import Filter, spread, steps_of, traced
from probinf.samplers.pmcmc.paths import PathCollector, as_stats, joined, split, taken_out
from probinf.samplers.pmcmc.pilot import dying
from probinf.samplers.pmcmc.space import (
    NO_EVIDENCE,
    OnPrior,
    given,
    named,
    parameters_of,
    parts_of,
    prior_density,
    state_sites,
)
from probinf.samplers.warmup.starting import found_start, scattered

_FROZEN = 0.01  # share of sweeps in which a state moves, below which it hardly does
_CANDIDATES = 8


@dataclasses.dataclass(frozen=True)
class _GivenPath:
    """Prior of the parameters times the density of one path and all data."""

    state_space: Callable[[Data], StateSpace]

    def __call__(self, theta: Position, data: tuple[Data, State]) -> Score:
        space = self.state_space(data[0])
        log_base, log_weight = space.prior.score(theta, space.prior.data)
        return Score(log_base, log_weight + path_density(given(space, theta), data[1]))


@dataclasses.dataclass(frozen=True)
class _OnFirst:
    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args[:-1], args[-1][0])


def _given_path(program: Program, path: State) -> Program:
    """The parameters given a path, as a program of the parameters."""
    space = program.state_space
    assert space is not None
    return Program(
        draw=_OnFirst(OnPrior(space, "draw")),
        start=_OnFirst(OnPrior(space, "start")),
        score=_GivenPath(space),
        constrain=_OnFirst(OnPrior(space, "constrain")),
        data=(program.data, path),
    )


class Sweep(NamedTuple):
    """A chain of particle Gibbs.

    Attributes:
        chain: of the parameters.
        path: of states, leading axis time.
        renewed: (time,) sweeps after the warm-up in which the state has moved.
    """

    chain: Chain
    path: State
    renewed: Int[Array, " time"]


class _Start(NamedTuple):
    logdensity: Float[Array, ""]
    kernel: Any


@dataclasses.dataclass(frozen=True)
class ParticleGibbs(ChainMethod):
    """Particle Gibbs: draws of parameters and state paths, each given the other.

    Conditional SMC draws a new path given the old one, an ordinary kernel new parameters given
    the path. States may be discrete, and few particles are enough, since no likelihood is
    estimated; parameters that are strongly tied to the path move slowly, where ``PMMH`` does not
    notice.

    Programs of ``from_language_model`` have paths only: the draws are texts. There ancestor
    sampling lets the model read the held text's rest behind every beginning, which costs up to
    half as many steps more as the text is long; ``refresh="none"`` saves that, and early tokens
    then move less.

    Args:
        particles: of conditional SMC, the old path among them.
        kernel: of the parameters given the states; NUTS by default.
        moves: transitions of the kernel for each new path.
        refresh: how early states are renewed: ``"ancestor"`` sampling, ``"backward"``
            sampling, or ``"none"``, with which they hardly move.
        chains: independent chains, each from its own over-dispersed start.
        warmup: adaptive sweeps per chain, discarded.
        draws: kept sweeps per chain.
        thin: sweeps per kept draw; the ones in between are never stored.
        metric: ``"diagonal"`` or ``"dense"`` covariance in the kernel.

    Raises:
        MethodError: an option is out of range.

    Source: Andrieu, Doucet & Holenstein (2010), section 2.4.3; Lindsten, Jordan & Schon (2014).
    """

    particles: int = 50
    kernel: Kernel = kernels.NUTS()
    moves: int = 1
    refresh: Refresh = "ancestor"
    chains: int = 4
    warmup: int = 500
    draws: int = 1000
    thin: int = 1
    metric: Literal["diagonal", "dense"] = "diagonal"

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        self.check_counts()
        self.check_warmup(self.kernel)
        at_least(2, particles=self.particles)
        at_least(1, moves=self.moves)
        check_choice("refresh", self.refresh, ("ancestor", "backward", "none"))
        check_choice("metric", self.metric, ("diagonal", "dense"))

    @property
    def _engine(self) -> MCMC:
        return MCMC(self.kernel, self.chains, self.warmup, self.draws, self.metric)

    def _flat(self, program: Program, path: State) -> Program:
        return flatten(_given_path(program, path))[0]

    def plan(self, program: Program, layout: Layout) -> Plan:
        """A lane for each chain, and records of paths.

        Raises:
            MethodError: the program has no states, does not say how likely a given path is, or
                the kernel cannot move its parameters.
        """
        if whole.holds_past(program):
            usual = (self.kernel, self.moves, self.metric) == (kernels.NUTS(), 1, "diagonal")
            whole.check_options(self.refresh, usual)
            return super().plan(program, layout)._replace(moves_integers=True)
        space = parts_of(program, "ParticleGibbs")
        sites = state_sites(program, space, "ParticleGibbs")
        names = ("log_transition", "log_start", "weigh_start", "weigh")
        if missing := [name for name in names if getattr(space.sequence, name) is None]:
            raise MethodError(
                f"ParticleGibbs weighs paths that are given, but the sequence has no {missing}. "
                "Write the model with pi.from_state_space, or use PMMH, which needs only start "
                "and extend."
            )
        time = steps_of(space.sequence) + 1
        path = {
            name: jax.ShapeDtypeStruct((time, *leaf.shape), leaf.dtype)
            for name, leaf in sites.items()
        }
        inner = parameters_of(program)
        plan = self._engine.plan(inner, flatten(inner)[1])
        if self.kernel.needs_gradient:
            require_gradient(_at_some_path(program, space), type(self.kernel).__name__)
        wide = sum(leaf.size * leaf.dtype.itemsize for leaf in path.values())
        return plan._replace(row_bytes=plan.row_bytes + self.chains * wide, moves_integers=True)

    def begin(self, key: Key, program: Program) -> tuple[Any, Bool[Array, ""]]:
        """The most likely of eight over-dispersed starts, with a path of a particle filter."""
        if whole.holds_past(program):
            return whole.begin(key, program, self.particles)
        space = parts_of(program, "ParticleGibbs")
        prior = flatten(parameters_of(program))[0]
        options = Filter(self.particles)

        def attempt(key: Key, tries: Any) -> tuple[_Start, Any]:
            start_key, filter_key = jax.random.split(key)
            theta = scattered(prior, start_key, tries)
            sequence = self._sequence(space, prior, theta)
            keys = spread(jax.random.split(filter_key, 1), steps_of(sequence))
            found = traced(keys, sequence, options)
            kernel = self.kernel.init(self._flat(program, found.path), theta)
            level = prior_density(space, _position(prior, theta)) + found.log_z
            return _Start(level, kernel), (kernel, found.path)

        (kernel, path), started = found_start(attempt, key, _CANDIDATES)
        adaptation = self._engine._adaptation(prior).init(kernel.position)
        zero = jnp.zeros((steps_of(space.sequence) + 1,), int)
        return Sweep(Chain(kernel, adaptation, ()), path, zero), started

    def _sequence(self, space: StateSpace, prior: Program, theta: Any) -> Any:
        return given(space, _position(prior, theta))

    def transition(
        self, key: Key, program: Program, own: Any, taken: Int[Array, ""]
    ) -> tuple[Any, Transition]:
        """A new path given the parameters, then new parameters given the path."""
        if whole.holds_past(program):
            kept = taken >= self.warmup
            return whole.transition(key, program, own, self.particles, self.refresh, kept)
        path_key, move_key = jax.random.split(key)
        space = parts_of(program, "ParticleGibbs")
        prior = flatten(parameters_of(program))[0]
        chain = own.chain
        sequence = self._sequence(space, prior, chain.kernel.position)
        path = conditional_smc(path_key, sequence, own.path, self.particles, refresh=self.refresh)
        inner = self._flat(program, path)
        chain = chain._replace(kernel=self.kernel.init(inner, chain.kernel.position))
        spent, lost, record = 0, 0, None
        for k in range(self.moves):
            chain, record = self._engine.transition(
                jax.random.fold_in(move_key, k), inner, chain, taken
            )
            spent, lost = spent + record.stats["evaluations"], lost + record.stats["lost"]
        assert record is not None
        moved = _differs(path, own.path)
        renewed = own.renewed + jnp.where(taken < self.warmup, 0, moved.astype(int))
        del record.stats["energy"]  # of another density at each sweep
        stats = {**record.stats, "evaluations": spent, "lost": lost, "renewed": moved.mean()}
        stats |= as_stats(named(path))
        return Sweep(chain, path, renewed), Transition(record.position, stats)

    def collector(self, run: Run, plan: Plan) -> ChainCollector:
        """Draws of the parameters, and the parts of the path that shall be kept."""
        if whole.holds_past(run.program):
            return super().collector(run, plan)
        inner, wanted = self._inner(run)
        return PathCollector(
            inner,
            wanted,
            chains=self.chains,
            warmup=self.warmup,
            draws=self.draws,
            lockstep=False,
        )

    def _inner(self, run: Run) -> tuple[Run, frozenset[str]]:
        inner = parameters_of(run.program)
        flat, layout = flatten(inner)
        flat = dataclasses.replace(flat, data=run.flat.data)
        space = parts_of(run.program, "ParticleGibbs")
        states = set(state_sites(run.program, space, "ParticleGibbs"))
        sites = jax.eval_shape(inner.constrain, inner.template(), inner.data)
        kept, wanted = split(run.kept, states, set(sites))
        return run._replace(program=inner, flat=flat, layout=layout, kept=kept), wanted

    def report(self, run: Run, stats: dict[str, np.ndarray]) -> dict[str, Any]:
        """How often each state has moved, and which hardly have."""
        fields = super().report(run, stats)
        fields["no_evidence"] = NO_EVIDENCE.format("ParticleGibbs")
        sweeps = stats["log_density"].shape[1] * self.thin
        if whole.holds_past(run.program):
            return {**fields, "history": {"renewed": whole.share_renewed(run, sweeps)}}
        share = np.asarray(run.states.own.renewed, float) / sweeps
        fields["history"] = {"renewed": share}
        pooled = share.mean(axis=0)
        if pooled.min() < _FROZEN:
            stuck = np.flatnonzero(pooled < _FROZEN)
            cure = (
                "Use refresh='ancestor'."
                if self.refresh == "none"
                else "Use more particles; where a state follows from the one before almost surely, "
                "leave it out of the state."
            )
            fields["findings"] = (
                Finding(
                    "path_degeneracy",
                    f"the states at {stuck.size} of {pooled.size} times hardly ever move (the "
                    f"first at t={stuck[0]}, in {pooled[stuck[0]]:.1%} of the sweeps): their "
                    f"draws are those of the start. {cure}",
                ),
            )
        return fields

    def finish(self, run: Run) -> Posterior:
        """Draws of parameters and states, chain by chain.

        Raises:
            ZeroLikelihoodError: filters lose all their particles, with the step at which.
            MethodError: there are no draws yet.
        """
        if whole.holds_past(run.program):
            whole.check_end(run, self.particles)
            return super().finish(run)
        if not np.asarray(run.states.started).all():
            raise dying(run.program, Filter(self.particles), "ParticleGibbs found no start")
        inner, _ = self._inner(run)
        stats = dict(run.records.stats)  # those of the run stay, for `more`
        path = taken_out(stats)
        found = super().finish(inner._replace(records=run.records._replace(stats=stats)))
        ended = Ended(self, run)
        found = dataclasses.replace(found, draws={**found.draws, **path}, ended=ended)
        return joined(found, run.program, inner.layout, set(path))

    def note(self, own: Any) -> str:
        """The step size."""
        return "" if isinstance(own, whole.WholeSweep) else self._engine.note(own.chain)


def _position(prior: Program, theta: Any) -> Position:
    """The prior's position of a flat one."""
    return layout_of(prior).unravel(theta)


def _at_some_path(program: Program, space: StateSpace) -> Program:
    """The parameters given one path, to look at gradients."""

    @jax.jit
    def path(key: Key) -> State:
        theta = space.prior.start(key, space.prior.data)
        sequence = given(space, theta)
        keys = spread(jax.random.split(key, 1), steps_of(sequence))
        return traced(keys, sequence, Filter(4)).path

    return _given_path(program, path(jax.random.key(0)))


def _differs(new: State, old: State) -> Bool[Array, " time"]:
    """At which times any part of the state has changed."""
    leaves = [
        (a != b).reshape(a.shape[0], -1).any(axis=1)
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    ]
    return jnp.stack(leaves).any(axis=0)
