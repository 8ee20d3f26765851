"""Microcanonical kernel with a Metropolis step: momentum of constant norm."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from probinf.core.inputs.limits import at_least, inside, positive
from probinf.core.program import Key, Position, Program, log_density
from probinf.kernels import blackjax
from probinf.kernels.base import Info, Kernel, MetricName, Params, info
from probinf.kernels.hamiltonian import lost_ends, with_gradient


def _uniform_steps(key: Key, mean: Int[Array, ""]) -> Int[Array, ""]:
    return jax.random.randint(key, (), 1, 2 * mean)


@dataclasses.dataclass(frozen=True)
class MAMS(Kernel):
    """Metropolis-adjusted microcanonical sampler: trajectories of unit speed and random length.

    The speed does not depend on the density, so a step goes as far in the tails as in the
    bulk. It needs a diagonal metric and at least two
    coordinates.

    Args:
        length: mean length of a trajectory, in standard deviations of one coordinate; a quarter
            turn of a normal target is pi / 2.
        max_steps: bound of the mean number of integration steps.
        target_acceptance: what step-size adaptation aims at.

    Source: Robnik, Cohn-Gordon & Seljak (2025), algorithm 1.
    """

    length: float = math.pi / 2
    max_steps: int = 500
    target_acceptance: float = 0.9

    least_dim: ClassVar[int] = 2

    def __post_init__(self) -> None:
        positive(length=self.length)
        at_least(1, max_steps=self.max_steps)
        inside(0, 1, target_acceptance=self.target_acceptance)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Only variances."""
        return ("diagonal",)

    @property
    def needs_gradient(self) -> bool:
        """True."""
        return True

    @property
    def short_steps_cost(self) -> bool:
        """True: its trajectories keep their length."""
        return True

    def init(self, program: Program, x: Position) -> Any:
        """Position, log density and gradient."""
        return with_gradient(program, x)

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One trajectory, accepted or not."""
        microcanonical, chain = blackjax.microcanonical()
        length_key, key = jax.random.split(key)
        length = self.length * math.sqrt(state.position.size)
        mean = jnp.clip(jnp.round(length / params.step_size), 1, self.max_steps).astype(int)
        moved, report = microcanonical.build_kernel(_uniform_steps)(
            key,
            chain(*state, length_key),
            lambda y: log_density(program, y),
            params.step_size,
            inverse_mass_matrix=params.covariance,
            integration_steps_params=(mean,),
        )
        acceptance = jnp.where(jnp.isnan(report.acceptance_rate), 0.0, report.acceptance_rate)
        return type(state)(*moved[:3]), info(
            acceptance,
            2 * report.num_integration_steps,  # of McLachlan's integrator
            report.energy,
            report.is_divergent,
            lost=lost_ends(program, params, report.is_divergent, report.proposal),
        )

    def first_step_size(self, dim: int) -> float:
        """Half a standard deviation in every coordinate at once."""
        return 0.5 * math.sqrt(dim)
