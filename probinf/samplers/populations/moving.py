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

_MIXED = 0.2  # largest |correlation| with the start at which moving may stop
_MIN_MOVES = 3  # one move can look uncorrelated by chance and still keep the energy
_WINDOW = 5  # moves over which the correlation must still fall ...
_PROGRESS = 0.9  # ... to this share; slower, forty moves would not reach _MIXED


class Moved(NamedTuple):
    """Positions after the moves, the kernel's tuning, and what the moves were like.

    Attributes:
        position: leading axis of particles.
        params: tuning, leading axis of groups.
        acceptance: average acceptance.
        moves: transitions of each particle.
        evaluations: density evaluations of all particles.
        lost: those that were tried and gave NaN or +inf.
        correlation: largest absolute correlation of a coordinate with its start.
    """

    position: Any
    params: Params
    acceptance: Float[Array, ""]
    moves: Int[Array, ""]
    evaluations: Int[Array, ""]
    lost: Int[Array, ""]
    correlation: Float[Array, ""]


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
    """

    kernel: Kernel
    tune: bool
    groups: int

    def start(self, program: Program, position: Any) -> Any:
        """Kernel states by group."""
        states = over_particles(lambda x: self.kernel.init(program, x), position)
        return divided(states, self.groups)

    def sweep(
        self, key: Key, program: Program, states: Any, params: Params
    ) -> tuple[Any, Params, Info]:
        """One transition of every particle, and the step size that follows from it."""

        def move(keys: Key, state: Any, params: Params) -> Any:
            return jax.vmap(lambda k, s: self.kernel.step(k, program, s, params))(keys, state)

        groups, members = jax.tree.leaves(states)[0].shape[:2]
        keys = divided(jax.random.split(key, groups * members), groups)
        moved = in_parts if is_alone() else over_groups
        states, info = moved(move, keys, states, params)
        if self.tune and self.kernel.target_acceptance is not None:
            gain = jnp.exp(info.acceptance.mean(axis=1) - self.kernel.aims)
            size = params.step_size * gain.astype(params.step_size.dtype)
            params = params._replace(step_size=size)
        return states, params, info

    def handed_over(self, params: Params, acceptance: Float[Array, " g"]) -> Params:
        """Step sizes for the next stage, each from the acceptance of the other half."""
        if not self.tune or self.kernel.target_acceptance is None:
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
            state, params, info = self.sweep(jax.random.fold_in(key, count), program, state, params)
            now = largest_correlation(start, vector_of(united(state.position)))
            past = jnp.concatenate([past[1:], now[None].astype(past.dtype)])
            accepted = accepted + info.acceptance.mean()
            sums = spent + info.evaluations.sum(), lost + info.lost.sum()
            return count + 1, state, params, accepted, sums, past

        def wanted(carry: Any) -> Bool[Array, ""]:
            count, past = carry[0], carry[-1]
            if moves is not None:
                return count < moves
            mixed = past[-1] < _MIXED
            stalled = past[-1] > _PROGRESS * past[0]
            return (count < _MIN_MOVES) | ((count < max_moves) & ~mixed & ~stalled)

        zero = jnp.zeros((), int)
        # before there are enough moves the window holds values that no correlation reaches
        past = jnp.full((_WINDOW + 1,), jnp.inf)
        begun, nothing = self.start(program, position), jnp.zeros((), float)
        first = (zero, begun, params, nothing, (zero, zero), past)
        count, state, params, accepted, sums, past = jax.lax.while_loop(wanted, sweep, first)
        return Moved(
            position=united(state.position),
            params=params,
            acceptance=accepted / count,
            moves=count,
            evaluations=sums[0],
            lost=sums[1],
            correlation=past[-1],
        )

    def chains(
        self, key: Key, program: Program, position: Any, params: Params, *, length: int
    ) -> Moved:
        """Chains of ``length`` states from each position, all states kept, chain by chain."""
        states = self.start(program, position)

        def sweep(states: Any, key: Key) -> tuple[Any, Any]:
            states, _, info = self.sweep(key, program, states, params)
            return states, (states.position, info)

        keys = jax.random.split(key, length - 1)
        last, (later, info) = jax.lax.scan(sweep, states, keys)
        every = jax.tree.map(
            lambda a, b: jnp.moveaxis(jnp.concatenate([a[None], b]), 0, 2), states.position, later
        )
        count = jnp.asarray(length - 1)
        return Moved(
            position=united(united(every)),
            params=self.handed_over(params, info.acceptance.mean(axis=(0, 2))),
            acceptance=info.acceptance.mean(),
            moves=count,
            evaluations=info.evaluations.sum(),
            lost=info.lost.sum(),
            correlation=largest_correlation(vector_of(position), vector_of(united(last.position))),
        )
