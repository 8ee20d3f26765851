"""Slice kernels: hit-and-run slice sampling and elliptical slice sampling."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg

from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Position, Program, log_density
from probinf.kernels import blackjax
from probinf.kernels.base import Info, Kernel, Params, info
from probinf.kernels.metropolis import matvec
from probinf.kernels.noise import normal


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

    def init(self, program: Program, x: Position) -> Any:
        """Position and log density."""
        return blackjax.slice_sampling().init(x, lambda y: log_density(program, y))

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One univariate slice along a random direction."""
        slice_sampling = blackjax.slice_sampling()
        scale = params.scale()

        def along_direction(key: Key, position: Any, density: Any) -> Any:
            direction = matvec(scale, normal(key, position))

            def candidate(t: Any) -> tuple[Any, bool]:
                x = position + t * direction
                return slice_sampling.SliceState(x, density(x)), True

            return candidate

        kernel = slice_sampling.build_kernel(
            slice_sampling.stepping_out, self.max_expansions, self.max_shrinkage
        )
        state, report = kernel(key, state, lambda y: log_density(program, y), along_direction, 2.0)
        evaluations = report.num_expansions + 2 + report.num_shrink
        return state, info(report.is_accepted, evaluations, -state.logdensity)


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

    def init(self, program: Program, x: Position) -> Any:
        """Position and log density."""
        return blackjax.slice_sampling().init(x, lambda y: log_density(program, y))

    def step(self, key: Key, program: Program, state: Any, params: Params) -> tuple[Any, Info]:
        """One ellipse through the current point and a draw from the Gaussian."""
        slice_sampling = blackjax.slice_sampling()
        scale = params.scale()

        def ratio(y: jax.Array) -> jax.Array:
            return log_density(program, y) - _log_normal_kernel(y, params.mean, scale)

        def along_ellipse(key: Key, position: Any, density: Any) -> Any:
            offset = matvec(scale, normal(key, position))

            def candidate(angle: Any) -> tuple[Any, bool]:
                centred = position - params.mean
                x = params.mean + centred * jnp.cos(angle) + offset * jnp.sin(angle)
                return slice_sampling.SliceState(x, density(x)), True

            return candidate

        # BlackJAX's bounded slice loop on the angle: its own elliptical kernel loops until the
        # density is strictly above the level, which never ends where float32 has no room
        kernel = slice_sampling.build_kernel(_whole_ellipse, 1, self.max_shrinkage)
        current = slice_sampling.SliceState(state.position, ratio(state.position))
        moved, report = kernel(key, current, ratio, along_ellipse, 2 * jnp.pi)
        total = moved.logdensity + _log_normal_kernel(moved.position, params.mean, scale)
        return (
            slice_sampling.SliceState(moved.position, total),
            info(report.is_accepted, report.num_shrink + 1, -total),
        )


def _whole_ellipse(key: Key, in_slice: Any, width: Any, max_expansions: int) -> Any:
    """The bracket of angles: one full turn, placed at random around the current point."""
    left = -width * jax.random.uniform(key)
    return left, left + width, jnp.asarray(0), lambda angle: jnp.asarray(True)


def _log_normal_kernel(y: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    centred = y - mean
    if scale.ndim == 1:
        z = centred / scale
    else:
        z = jax.scipy.linalg.solve_triangular(scale, centred, lower=True)
    return -0.5 * jnp.sum(z**2)
