"""Kernels for discrete coordinates: exact conditionals by enumeration, and Metropolis steps."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf.core.coordinates import layout_of
from probinf.core.inputs.limits import at_least, inside
from probinf.core.program import Key, Position, Program, counted, log_density
from probinf.kernels.base import Info, Kernel, Params, info
from probinf.kernels.composition import Placed


def _visited(key: Key, size: int, count: int | None) -> Any:
    """Indices of the coordinates that one transition moves: all, or some at random."""
    if count is None or count >= size:
        return jnp.arange(size)
    return jax.random.choice(key, size, (count,), replace=False)


@dataclasses.dataclass(frozen=True)
class Enumerate(Kernel):
    """Gibbs sampling of discrete coordinates: each in turn is drawn from its exact conditional.

    The density is evaluated at every value of the coordinate; it must have finitely many
    (Bernoulli, categorical, binomial, discrete uniform).

    Args:
        coordinates: how many, chosen at random, a transition moves; all of them by default.

    Source: Geman & Geman (1984).
    """

    coordinates: int | None = None

    enumerates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least(1, coordinates=self.coordinates)

    @property
    def target_acceptance(self) -> None:
        """None: there is no step size."""
        return None

    @property
    def moves_integers(self) -> bool:
        """True."""
        return True

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One draw of every coordinate (or of some) given all the rest."""
        low, high = bounds(program)
        most = int(np.max(high - low)) + 1
        first, last = (jnp.asarray(v, state.position.dtype) for v in (low, high))
        pick_key, key = jax.random.split(key)
        index = _visited(pick_key, len(low), self.coordinates)

        def draw(state: Placed, turn: Any) -> tuple[Placed, Int[Array, ""]]:
            key, i = turn
            values = first[i] + jnp.arange(most, dtype=state.position.dtype)
            density, lost = jax.lax.map(
                lambda v: counted(program, state.position.at[i].set(v)), values
            )
            possible = values <= last[i]
            density = jnp.where(possible, density, -jnp.inf)
            chosen = jax.random.categorical(key, density)
            stuck = ~jnp.any(jnp.isfinite(density))  # nowhere to go: stay
            moved = Placed(state.position.at[i].set(values[chosen]), density[chosen])
            state = jax.tree.map(lambda a, b: jnp.where(stuck, a, b), state, moved)
            return state, jnp.sum(lost & possible)

        keys = jax.random.split(key, len(index))
        state, lost = jax.lax.scan(draw, state, (keys, index))
        return state, info(1.0, most * len(index), -state.logdensity, lost=lost.sum())


@dataclasses.dataclass(frozen=True)
class IntegerWalk(Kernel):
    """Metropolis on discrete coordinates: each in turn is proposed a random step up or down.

    The length of a step is one plus the whole part of an exponential variate with the step
    size as its mean; for coordinates with many values, or infinitely many.

    Args:
        target_acceptance: what step-size adaptation aims at.
        coordinates: how many, chosen at random, a transition moves; all of them by default.

    Source: Metropolis et al. (1953), on the integers.
    """

    target_acceptance: float = 0.4
    coordinates: int | None = None

    def __post_init__(self) -> None:
        inside(0, 1, target_acceptance=self.target_acceptance)
        at_least(1, coordinates=self.coordinates)

    @property
    def moves_integers(self) -> bool:
        """True."""
        return True

    def init(self, program: Program, x: Position) -> Placed:
        """Position and log density."""
        return Placed(x, log_density(program, x))

    def step(self, key: Key, program: Program, state: Placed, params: Params) -> tuple[Any, Info]:
        """One proposal for every coordinate (or for some), each accepted or not."""
        pick_key, key = jax.random.split(key)
        index = _visited(pick_key, state.position.shape[0], self.coordinates)

        def propose(state: Placed, turn: Any) -> tuple[Placed, Any]:
            key, i = turn
            length_key, sign_key, accept_key = jax.random.split(key, 3)
            longer = params.step_size * jax.random.exponential(length_key)
            sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
            move = (sign * (1 + jnp.floor(longer))).astype(state.position.dtype)
            position = state.position.at[i].add(move)
            density, lost = counted(program, position)
            ratio = density - state.logdensity
            accepted: Bool[Array, ""] = jnp.log(jax.random.uniform(accept_key)) < ratio
            moved = Placed(position, density)
            state = jax.tree.map(lambda a, b: jnp.where(accepted, b, a), state, moved)
            return state, (jnp.exp(jnp.minimum(ratio, 0.0)), lost)

        keys = jax.random.split(key, len(index))
        state, (rates, lost) = jax.lax.scan(propose, state, (keys, index))
        return state, info(rates.mean(), len(index), -state.logdensity, lost=lost.sum())


def bounds(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of every coordinate, in the order of the vector."""
    layout, levels = layout_of(program), {n: (a, b) for n, a, b in program.levels}
    places = sorted(layout.places().items(), key=lambda item: item[1][0])
    pairs = [(levels[name], int(np.prod(shape, dtype=int))) for name, (_, shape) in places]
    low = np.concatenate([np.full(size, pair[0]) for pair, size in pairs])
    high = np.concatenate([np.full(size, pair[1]) for pair, size in pairs])
    return low, high
