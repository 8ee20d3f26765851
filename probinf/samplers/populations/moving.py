"""Moving a population with a kernel that leaves its measure invariant, until it has mixed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf import kernels
from probinf.core.coordinates import Layout, vector_of
from probinf.core.gradients import require_gradient
from probinf.core.program import Key, Program
from probinf.core.spreading import in_parts, is_alone, over_particles
from probinf.errors import MethodError
from probinf.kernels.base import Info, Kernel, Params
from probinf.samplers.populations.schedule import largest_correlation
from probinf.samplers.populations.tuning import divided, over_groups, united
from probinf.samplers.populations.unevenness import Acceptances, no_acceptances

_MIXED = 0.2  # largest |correlation| with the start at which moving may stop
_MIN_MOVES = 3  # one move can look uncorrelated by chance and still keep the energy
_MIN_VARIED = 6  # where every second one is by a shorter step
_SHORTEST = 1 / 30  # of the step size; shorter ones are log-uniform from here to 1
_WINDOW = 5  # moves over which the correlation must still fall ...
_PROGRESS = 0.9  # ... to this share; slower, forty moves would not reach _MIXED


class Moved(NamedTuple):
    """Positions after the moves, the kernel's tuning, and what the moves were like.

    Attributes:
        position: leading axis of particles.
        params: tuning, leading axis of groups.
        acceptance: average acceptance of moves by the whole step.
        moves: transitions of each particle.
        evaluations: density evaluations of all particles.
        lost: those that were tried and gave NaN or +inf.
        correlation: largest absolute correlation of a coordinate with its start.
        acceptances: how they differ between particles.
    """

    position: Any
    params: Params
    acceptance: Float[Array, ""]
    moves: Int[Array, ""]
    evaluations: Int[Array, ""]
    lost: Int[Array, ""]
    correlation: Float[Array, ""]
    acceptances: Acceptances


def default_kernel(kernel: Kernel | None, position: Any) -> Kernel:
    """HMC where every coordinate is a real number, else a random walk."""
    if kernel is not None:
        return kernel
    if isinstance(position, jax.Array):
        return kernels.HMC(steps=20, length=math.pi / 2)
    return kernels.RandomWalk()


def check_drawable(program: Program, layout: Layout, kernel: Kernel | None) -> None:
    """Raise where the base has no draws, or the kernel cannot move some coordinate."""
    jax.eval_shape(program.draw, jax.random.key(0), program.data)
    if kernel is None:
        if not (layout.has_keys or layout.integers):
            require_gradient(program, "HMC, the default kernel,")
        return
    name = type(kernel).__name__
    if layout.has_keys and not kernel.moves_keys:
        why = "needs gradients" if kernel.needs_gradient else "cannot move keys"
        raise MethodError(
            f"{name} {why}, but this program has a random-key coordinate. Leave kernel=None or "
            "use kernels.RandomWalk()."
        )
    if layout.size < kernel.least_dim:
        raise MethodError(
            f"{name} needs at least {kernel.least_dim} coordinates, this program has "
            f"{layout.size}. Leave kernel=None."
        )
    if kernel.needs_gradient and not layout.integers:
        require_gradient(program, name)


def first_params(kernel: Kernel, vectors: Float[Array, "n d"], groups: int) -> Params:
    """Unit covariance (dense where kernel and particles can support one), for every group."""
    n, d = vectors.shape
    dense = n > 4 * d and "dense" in kernel.metrics
    unit = jnp.eye(d, dtype=vectors.dtype) if dense else jnp.ones((d,), vectors.dtype)
    step = jnp.asarray(kernel.first_step_size(d), vectors.dtype)
    params = Params(step, jnp.zeros((d,), vectors.dtype), unit)
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * groups), params)


class Mover(NamedTuple):
    """A kernel at work on a population: what stays the same from stage to stage.

    Attributes:
        kernel: leaves the program's measure invariant.
        tune: adapt the step size of each group to the acceptance of its moves.
        groups: parts of the population with a tuning of their own.
        varied: whether every second move is by a shorter step, for where one step size does not
            fit all particles: the whole one fails in a neck, a short one is slow outside.
    """

    kernel: Kernel
    tune: bool
    groups: int
    varied: Bool[Array, ""] | bool = False

    def varying(self, varied: Bool[Array, ""], position: Any) -> Mover:
        """The same, its steps varied; not where coordinates are keys, which are drawn afresh."""
        return self._replace(varied=varied) if isinstance(position, jax.Array) else self

    @property
    def _tunes(self) -> bool:
        return self.tune and self.kernel.target_acceptance is not None

    def _is_short(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the move after so many others is by a shorter step."""
        if not self._tunes or self.kernel.short_steps_cost:
            return jnp.zeros((), bool)
        return jnp.asarray(self.varied) & (count % 2 == 1)

    def start(self, program: Program, position: Any) -> Any:
        """Kernel states by group."""
        states = over_particles(lambda x: self.kernel.init(program, x), position)
        return divided(states, self.groups)

    def sweep(
        self, key: Key, program: Program, states: Any, params: Params, count: Int[Array, ""]
    ) -> tuple[Any, Params, Info]:
        """One transition of every particle, and the step size that follows from it."""

        def move(keys: Key, state: Any, params: Params) -> Any:
            return jax.vmap(lambda k, s: self.kernel.step(k, program, s, params))(keys, state)

        groups, members = jax.tree.leaves(states)[0].shape[:2]
        keys = divided(jax.random.split(key, groups * members), groups)
        short, length_key = self._is_short(count), jax.random.fold_in(key, groups * members)
        share = jnp.where(short, _SHORTEST ** jax.random.uniform(length_key), 1.0)
        used = params._replace(step_size=params.step_size * share.astype(params.step_size.dtype))
        moved = in_parts if is_alone() else over_groups
        states, info = moved(move, keys, states, used)
        if self._tunes:
            gain = jnp.exp(info.acceptance.mean(axis=1) - self.kernel.aims)
            gain = jnp.where(short, 1.0, gain)
            size = params.step_size * gain.astype(params.step_size.dtype)
            params = params._replace(step_size=size)
        return states, params, info

    def handed_over(self, params: Params, acceptance: Float[Array, "g ..."]) -> Params:
        """Step sizes for the next stage, each from the acceptance of the other half."""
        if not self._tunes:
            return params
        gain = jnp.exp(2 * (acceptance - self.kernel.aims))
        size = params.step_size * gain.astype(params.step_size.dtype)
        return params._replace(step_size=size[::-1])

    def until_mixed(
        self,
        key: Key,
        program: Program,
        position: Any,
        params: Params,
        *,
        moves: int | None,
        max_moves: int,
    ) -> Moved:
        """``moves`` transitions, or as many as it takes to forget the start.

        Without ``moves``, moving goes on until no coordinate's correlation with its start
        exceeds 0.2, or until it has hardly fallen over the last five moves: particles that
        are confined to separate modes never forget which one they were in.
        """
        start = vector_of(position)

        def sweep(carry: Any) -> Any:
            count, state, params, accepted, (spent, lost), past = carry
            own = jax.random.fold_in(key, count)
            state, params, info = self.sweep(own, program, state, params, count)
            now = largest_correlation(start, vector_of(united(state.position)))
            short = self._is_short(count)
            # a move by a short step is none of those over which the correlation must fall
            past = jnp.where(short, past, jnp.roll(past, -1)).at[-1].set(now.astype(past.dtype))
            accepted = accepted.after(info.acceptance, short)
            sums = spent + info.evaluations.sum(), lost + info.lost.sum()
            return count + 1, state, params, accepted, sums, past

        def wanted(carry: Any) -> Bool[Array, ""]:
            count, past = carry[0], carry[-1]
            if moves is not None:
                return count < moves
            mixed = past[-1] < _MIXED
            stalled = past[-1] > _PROGRESS * past[0]
            return (count < least) | ((count < max_moves) & ~mixed & ~stalled)

        zero = jnp.zeros((), int)
        least = jnp.where(self._is_short(zero + 1), _MIN_VARIED, _MIN_MOVES)
        least = jnp.minimum(least, max_moves)
        # before there are enough moves the window holds values that no correlation reaches
        past = jnp.full((_WINDOW + 1,), jnp.inf)
        begun, none = self.start(program, position), no_acceptances(len(start))
        first = (zero, begun, params, none, (zero, zero), past)
        count, state, params, accepted, sums, past = jax.lax.while_loop(wanted, sweep, first)
        return Moved(
            position=united(state.position),
            params=params,
            acceptance=accepted.mean.mean(),
            moves=count,
            evaluations=sums[0],
            lost=sums[1],
            correlation=past[-1],
            acceptances=accepted,
        )

    def chains(
        self, key: Key, program: Program, position: Any, params: Params, *, length: int
    ) -> Moved:
        """Chains of ``length`` states from each position, all states kept, chain by chain."""
        states = self.start(program, position)

        def sweep(carry: Any, count: Int[Array, ""]) -> tuple[Any, Any]:
            states, accepted = carry
            own = jax.random.fold_in(key, count)
            states, _, info = self.sweep(own, program, states, params, count)
            accepted = accepted.after(info.acceptance, self._is_short(count))
            return (states, accepted), (states.position, info)

        counts = jnp.arange(length - 1)
        begun = states, no_acceptances(len(vector_of(position)))
        (last, accepted), (later, info) = jax.lax.scan(sweep, begun, counts)
        every = jax.tree.map(
            lambda a, b: jnp.moveaxis(jnp.concatenate([a[None], b]), 0, 2), states.position, later
        )
        whole = ~jax.vmap(self._is_short)(counts)
        rates = jnp.tensordot(whole / whole.sum(), info.acceptance.mean(axis=2), 1)
        accepted = Acceptances(accepted.moves, *(jnp.repeat(a, length) for a in accepted[1:]))
        return Moved(
            position=united(united(every)),
            params=self.handed_over(params, rates),
            acceptance=accepted.mean.mean(),
            moves=jnp.asarray(length - 1),
            evaluations=info.evaluations.sum(),
            lost=info.lost.sum(),
            correlation=largest_correlation(vector_of(position), vector_of(united(last.position))),
            acceptances=accepted,
        )
