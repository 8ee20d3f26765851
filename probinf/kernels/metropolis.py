"""Random-walk Metropolis, with random-key coordinates proposed afresh (PMMH)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.coordinates import Mixed
from probinf.core.inputs.limits import inside
from probinf.core.program import Key, Position, Program, counted, log_density
from probinf.kernels.base import Info, Kernel, Params, info
from probinf.kernels.composition import Placed
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

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One proposal, accepted or not."""
        propose_key, accept_key = jax.random.split(key)
        position = self._proposed(propose_key, state.position, params)
        density, lost = counted(program, position)
        ratio = density - state.logdensity
        chance = jnp.where(jnp.isnan(ratio), 0.0, jnp.exp(jnp.minimum(ratio, 0.0)))
        accepted = jax.random.uniform(accept_key, (), ratio.dtype) < chance
        there = Placed(position, density)
        moved = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, state)
        return moved, info(chance, 1, -moved.logdensity, lost=lost)

    def _proposed(self, key: Key, position: Any, params: Params) -> Any:
        noise_key, fresh_key = jax.random.split(key)
        scale = params.step_size * params.scale()
        if not isinstance(position, Mixed):
            return position + matvec(scale, normal(noise_key, position))
        vector = position.vector
        moved = vector + matvec(scale, normal(noise_key, vector))
        fresh = tuple(
            jax.random.split(jax.random.fold_in(fresh_key, i), old.shape)
            for i, old in enumerate(position.keys)
        )
        return Mixed(moved, fresh)

    def first_step_size(self, dim: int) -> float:
        """2.38 / sqrt(d), optimal when the covariance is right."""
        return 2.38 / math.sqrt(max(dim, 1))
