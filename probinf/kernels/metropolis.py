"""Random-walk Metropolis, with random-key coordinates proposed afresh (PMMH)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax

from probinf.core.coordinates import Mixed
from probinf.core.inputs.limits import inside
from probinf.core.program import Key, Position, Program, log_density
from probinf.kernels import blackjax
from probinf.kernels.base import Info, Kernel, Params, info
from probinf.kernels.noise import normal


def matvec(scale: jax.Array, noise: jax.Array) -> jax.Array:
    """A diagonal (d,) or dense (d, d) scale applied to a vector."""
    return scale * noise if scale.ndim == 1 else scale @ noise


@dataclasses.dataclass(frozen=True)
class RandomWalk(Kernel):
    """Random-walk Metropolis with the target's covariance, ``N(x, step_size**2 * covariance)``.

    A random-key coordinate is proposed afresh from its own law, which makes the kernel
    particle marginal Metropolis-Hastings on a ``marginal`` program and ABC-MCMC on a
    simulator program.

    Args:
        target_acceptance: what step-size adaptation aims at.

    Source: Roberts, Gelman & Gilks (1997); Andrieu, Doucet & Holenstein (2010).
    """

    target_acceptance: float = 0.234

    def __post_init__(self) -> None:
        inside(0, 1, target_acceptance=self.target_acceptance)

    @property
    def moves_keys(self) -> bool:
        """True."""
        return True

    def init(self, program: Program, x: Position) -> Any:
        """Position and log density."""
        return blackjax.random_walk().init(x, lambda y: log_density(program, y))

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One proposal, accepted or not."""
        scale = params.step_size * params.scale()

        def propose(key: Key, position: Any) -> Any:
            noise_key, fresh_key = jax.random.split(key)
            if not isinstance(position, Mixed):
                return position + matvec(scale, normal(noise_key, position))
            vector = position.vector
            moved = vector + matvec(scale, normal(noise_key, vector))
            fresh = tuple(
                jax.random.split(jax.random.fold_in(fresh_key, i), old.shape)
                for i, old in enumerate(position.keys)
            )
            return Mixed(moved, fresh)

        state, report = blackjax.random_walk().build_rmh()(
            key, state, lambda y: log_density(program, y), propose
        )
        return state, info(report.acceptance_rate, 1, -state.logdensity)

    def first_step_size(self, dim: int) -> float:
        """2.38 / sqrt(d), optimal when the covariance is right."""
        return 2.38 / math.sqrt(max(dim, 1))
