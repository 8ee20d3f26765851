"""Delayed acceptance: a surrogate moves, the exact density confirms."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Position, Program, counted, log_density
from probinf.core.transformations.guiding import by_guide, is_guided
from probinf.errors import MethodError
from probinf.kernels.base import Info, Kernel, MetricName, Params, check_kernel, info
from probinf.kernels.composition import Placed
from probinf.kernels.hamiltonian import HMC, MALA
from probinf.kernels.metropolis import RandomWalk


@dataclasses.dataclass(frozen=True)
class DelayedAcceptance(Kernel):
    """Moves under a surrogate, accepted by the exact density: exact whatever the surrogate.

    ``moves`` steps of a reversible kernel lead from x to y under the surrogate's measure q; y is
    taken with probability ``min(1, p(y) q(x) / (p(x) q(y)))``. One exact density is spent for all
    of them, and none where they end at x. A bad surrogate costs acceptance and nothing else.

    Args:
        kernel: what moves under the surrogate: ``RandomWalk``, ``MALA`` or ``HMC``, which are
            reversible. Gradients are the surrogate's, so that the likelihood needs none.
        moves: of it before the exact density is asked.

    Raises:
        MethodError: the kernel is not reversible; the program has no surrogate beside it.

    Source: Christen & Fox (2005); several moves: Liu (2001), section 9.4.3.
    """

    kernel: Kernel = RandomWalk()
    moves: int = 5

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        at_least(1, moves=self.moves)
        if not isinstance(self.kernel, RandomWalk | MALA | HMC):
            raise MethodError(
                "DelayedAcceptance needs a kernel that is reversible, one of RandomWalk, MALA and "
                f"HMC, got {type(self.kernel).__name__}: with others its second stage is wrong."
            )

    @property
    def target_acceptance(self) -> float | None:
        """That of the kernel that moves."""
        return self.kernel.target_acceptance

    @property
    def short_steps_cost(self) -> bool:
        """Those of the kernel that moves."""
        return self.kernel.short_steps_cost

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Those of the kernel that moves."""
        return tuple(m for m in self.kernel.metrics if m in ("diagonal", "dense"))

    def first_step_size(self, dim: int) -> Any:
        """That of the kernel that moves."""
        return self.kernel.first_step_size(dim)

    def init(self, program: Program, x: Position) -> Placed:
        """Position and exact log density."""
        if not is_guided(program):
            raise MethodError(
                "DelayedAcceptance: this program has no surrogate beside its likelihood. Give it "
                "one: pi.amortized.Surrogate().fit(program, ...).beside(program)."
            )
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """Some moves under the surrogate, kept or not."""
        move_key, accept_key = jax.random.split(key)
        surrogate = by_guide(program)
        first = self.kernel.init(surrogate, state.position)

        def move(inner: Any, key: Key) -> tuple[Any, Any]:
            inner, told = self.kernel.step(key, surrogate, inner, params)
            return inner, (told.acceptance, told.divergent)

        keys = jax.random.split(move_key, self.moves)
        last, (chances, divergent) = jax.lax.scan(move, first, keys)
        moved = jnp.any(last.position != state.position)
        density, lost = jax.lax.cond(
            moved,
            lambda: counted(program, last.position),
            lambda: (state.logdensity, jnp.zeros((), bool)),
        )
        ratio = self._second_stage(density - state.logdensity, last.logdensity - first.logdensity)
        chance = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
        accepted = jax.random.uniform(accept_key, (), ratio.dtype) < chance
        there = Placed(last.position, density)
        after = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, state)
        spent = moved.astype(int)
        told = info(
            chances.mean() * chance, spent, -after.logdensity, divergent.any(), lost=lost & moved
        )
        return after, told

    @staticmethod
    def _second_stage(exact: jax.Array, surrogate: jax.Array) -> jax.Array:
        """Log of the ratio that corrects what the first stage took for true."""
        return exact - surrogate
