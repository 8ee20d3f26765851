"""Hamiltonian kernels: HMC, MALA (its one-step case) and NUTS."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.inputs.limits import at_least, inside, positive
from probinf.core.program import Key, Position, Program, counted, log_density
from probinf.kernels import blackjax
from probinf.kernels.base import Info, Kernel, MetricName, Params, info
from probinf.kernels.noise import metric


def with_gradient(program: Program, x: Position) -> Any:
    """Position, log density and its gradient."""
    return blackjax.hmc().init(x, lambda y: log_density(program, y))


_SMALL = 64  # leapfrog steps that a short step may take without costing much
_NEAR = 10.0  # standard deviations within which NaN is a hole, and no overflow of a trajectory


def lost_ends(
    program: Program, params: Params, divergent: Bool[Array, ""], *ends: Any
) -> Int[Array, ""]:
    """At how many ends of a trajectory that diverged, not far out, the density is NaN or +inf."""

    def lost(x: Position) -> Int[Array, ""]:
        near = jnp.all(jnp.abs(x - params.mean) < _NEAR * params.deviations())
        return (counted(program, x)[1] & near).astype(int)

    def counts() -> Int[Array, ""]:
        positions = jnp.stack([end.position for end in ends])
        return jnp.sum(jax.lax.map(lost, positions))  # the density compiles once

    return jax.lax.cond(divergent, counts, lambda: jnp.zeros((), int))


@dataclasses.dataclass(frozen=True)
class NUTS(Kernel):
    """No-U-turn sampler with multinomial trajectories (BlackJAX's iterative NUTS).

    Args:
        max_depth: most doublings of a trajectory.
        target_acceptance: what step-size adaptation aims at.

    Source: Hoffman & Gelman (2014); Betancourt (2017).
    """

    max_depth: int = 10
    target_acceptance: float = 0.8

    default_metric: ClassVar[MetricName] = "auto"
    reports: ClassVar[tuple[str, ...]] = ("depth",)

    def __post_init__(self) -> None:
        at_least(1, max_depth=self.max_depth)
        inside(0, 1, target_acceptance=self.target_acceptance)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All of them."""
        return get_args(MetricName)

    @property
    def needs_gradient(self) -> bool:
        """True."""
        return True

    @property
    def short_steps_cost(self) -> bool:
        """True: its trees grow."""
        return True

    def init(self, program: Program, x: Position) -> Any:
        """Position, log density and gradient."""
        return with_gradient(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One trajectory."""
        state, report = blackjax.nuts().build_kernel()(
            key,
            state,
            lambda y: log_density(program, y),
            params.step_size,
            metric(params),
            self.max_depth,
        )
        return state, info(
            report.acceptance_rate,
            report.num_integration_steps,
            report.energy,
            report.is_divergent,
            report.num_trajectory_expansions,
            lost_ends(
                program,
                params,
                report.is_divergent,
                report.trajectory_leftmost_state,
                report.trajectory_rightmost_state,
            ),
        )


@dataclasses.dataclass(frozen=True)
class HMC(Kernel):
    """Hamiltonian Monte Carlo with trajectories of fixed length and a jittered step size.

    Args:
        steps: leapfrog steps of a trajectory; the most there may be when ``length`` is given.
        length: of a trajectory in standard deviations of the target, or None for exactly
            ``steps`` leapfrog steps. A quarter turn, pi / 2, forgets where it began.
        jitter: the step size is multiplied by U(1 - jitter, 1 + jitter) at every move, so
            that no direction of the target can resonate with the trajectory.
        target_acceptance: what step-size adaptation aims at.

    Source: Neal (2011).
    """

    steps: int = 5
    length: float | None = None
    jitter: float = 0.3
    target_acceptance: float = 0.8

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps)
        positive(length=self.length)
        if self.jitter != 0:
            inside(0, 1, jitter=self.jitter)
        inside(0, 1, target_acceptance=self.target_acceptance)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """All of them."""
        return get_args(MetricName)

    @property
    def needs_gradient(self) -> bool:
        """True."""
        return True

    @property
    def short_steps_cost(self) -> bool:
        """Where trajectories have a length and may take more than 64 steps for it."""
        return self.length is not None and self.steps > _SMALL

    def init(self, program: Program, x: Position) -> Any:
        """Position, log density and gradient."""
        return with_gradient(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One trajectory."""
        key, jitter_key = jax.random.split(key)
        steps = jnp.asarray(self.steps)
        if self.length is not None:
            steps = jnp.clip(jnp.ceil(self.length / params.step_size), 1, self.steps).astype(int)
        state, report = blackjax.hmc().build_kernel()(
            key,
            state,
            lambda y: log_density(program, y),
            params.step_size * self._jitter(jitter_key, params.step_size),
            metric(params),
            steps,
        )
        return state, info(
            report.acceptance_rate,
            steps,
            report.energy,
            report.is_divergent,
            lost=lost_ends(program, params, report.is_divergent, report.proposal),
        )

    def _jitter(self, key: Key, like: Float[Array, ""]) -> Float[Array, ""]:
        if self.jitter == 0:
            return jnp.ones((), like.dtype)
        return jax.random.uniform(
            key, (), like.dtype, minval=1 - self.jitter, maxval=1 + self.jitter
        )


@dataclasses.dataclass(frozen=True)
class MALA(HMC):
    """Metropolis-adjusted Langevin algorithm: HMC with one leapfrog step, preconditioned.

    Source: Roberts & Tweedie (1996); the identity with one-step HMC is in Neal (2011), 5.2.
    """

    steps: int = 1
    jitter: float = 0.0
    target_acceptance: float = 0.574
