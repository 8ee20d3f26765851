"""Slice kernels: hit-and-run slice sampling and elliptical slice sampling."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg

from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Position, Program, counted, log_density
from probinf.kernels.base import Info, Kernel, Params, info
from probinf.kernels.bracket import Bracket, Tried, height, shrunk, stepped_out
from probinf.kernels.composition import Placed
from probinf.kernels.metropolis import matvec
from probinf.kernels.noise import normal

_WIDTH = 2.0  # of a step of the bracket, in standard deviations along the direction


@dataclasses.dataclass(frozen=True)
class Slice(Kernel):
    """Slice sampling along a random direction shaped by the covariance (hit and run).

    There is no step size to tune and no gradient; every loop is bounded.

    Args:
        max_expansions: most steps that widen the bracket.
        max_shrinkage: most steps that narrow it; the chain stays put when they run out.

    Source: Neal (2003).
    """

    max_expansions: int = 10
    max_shrinkage: int = 100

    def __post_init__(self) -> None:
        at_least(0, max_expansions=self.max_expansions)
        at_least(1, max_shrinkage=self.max_shrinkage)

    @property
    def target_acceptance(self) -> None:
        """None: there is no step size."""
        return None

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One univariate slice along a random direction."""
        direction_key, level_key, bracket_key, shrink_key = jax.random.split(key, 4)
        direction = matvec(params.scale(), normal(direction_key, state.position))

        def along(t: Any) -> Tried:
            x = state.position + t * direction
            density, lost = counted(program, x)
            return Tried(Placed(x, density), lost)

        level = height(level_key, state.logdensity)
        bracket = stepped_out(bracket_key, along, level, _WIDTH, self.max_expansions)
        moved, found, spent = shrunk(shrink_key, along, level, bracket, state, self.max_shrinkage)
        return moved, info(found, spent.evaluations, -moved.logdensity, lost=spent.lost)


@dataclasses.dataclass(frozen=True)
class EllipticalSlice(Kernel):
    """Elliptical slice sampling around a Gaussian fitted to the target.

    The Gaussian ``N(mean, covariance)`` of ``params`` takes the place of the prior and the
    rest of the density that of the likelihood, which is exact for every target and every
    Gaussian; it mixes best where that Gaussian is close.

    Args:
        max_shrinkage: most steps that narrow the bracket; the chain stays put when they run
            out.

    Source: Murray, Adams & MacKay (2010); generalised as in Nishihara et al. (2014).
    """

    max_shrinkage: int = 100

    def __post_init__(self) -> None:
        at_least(1, max_shrinkage=self.max_shrinkage)

    @property
    def target_acceptance(self) -> None:
        """None: there is no step size."""
        return None

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One ellipse through the current point and a draw from the Gaussian."""
        offset_key, level_key, bracket_key, shrink_key = jax.random.split(key, 4)
        scale = params.scale()
        offset = matvec(scale, normal(offset_key, state.position))
        centred = state.position - params.mean

        def ratio(x: jax.Array, density: jax.Array) -> jax.Array:
            return density - _log_normal_kernel(x, params.mean, scale)

        def along(angle: Any) -> Tried:
            x = params.mean + centred * jnp.cos(angle) + offset * jnp.sin(angle)
            density, lost = counted(program, x)
            return Tried(Placed(x, ratio(x, density)), lost)

        current = Placed(state.position, ratio(state.position, state.logdensity))
        level = height(level_key, current.logdensity)
        turn = 2 * jnp.pi
        left = -turn * jax.random.uniform(bracket_key, (), level.dtype)
        zero = jnp.zeros((), int)
        whole = Bracket(left, left + turn, zero, zero)
        moved, found, spent = shrunk(shrink_key, along, level, whole, current, self.max_shrinkage)
        total = moved.logdensity + _log_normal_kernel(moved.position, params.mean, scale)
        return (
            Placed(moved.position, total),
            info(found, spent.evaluations, -total, lost=spent.lost),
        )


def _log_normal_kernel(y: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    centred = y - mean
    if scale.ndim == 1:
        z = centred / scale
    else:
        z = jax.scipy.linalg.solve_triangular(scale, centred, lower=True)
    return -0.5 * jnp.sum(z**2)
