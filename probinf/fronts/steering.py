"""steered: a simulation in steps (a diffusion, say), weighted by the reward of where it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.program import Key
from probinf.core.state_space import Sequence

Mode = Literal["diff", "max", "add", "now"]


class Steered(NamedTuple):
    """A particle on its way.

    Attributes:
        x: of the simulation.
        reward: of where it is.
        best: largest reward so far.
        total: sum of the rewards so far.
        spent: log of the potentials so far.
    """

    x: Any
    reward: Float[Array, "*n"]
    best: Float[Array, "*n"]
    total: Float[Array, "*n"]
    spent: Float[Array, "*n"]


class _Turn(NamedTuple):
    number: Int[Array, "*t"]
    last: Bool[Array, "*t"]


@dataclasses.dataclass(frozen=True)
class _Start:
    start: Callable[..., Any]
    reward: Callable[..., Any]
    mode: Mode

    def __call__(self, key: Key, data: Any) -> tuple[Steered, Array]:
        x, zero = self.start(key, data[0]), jnp.zeros((), float)
        first = Steered(x, zero, jnp.full((), -jnp.inf), zero, zero)
        turn = _Turn(jnp.zeros((), int), jnp.asarray(False))
        return _weighed(first, x, turn, self.reward, self.mode, data)


@dataclasses.dataclass(frozen=True)
class _Extend:
    move: Callable[..., Any]
    reward: Callable[..., Any]
    mode: Mode

    def __call__(self, key: Key, state: Steered, turn: _Turn, data: Any) -> tuple[Steered, Array]:
        x = self.move(key, state.x, turn.number, data[0])
        return _weighed(state, x, turn, self.reward, self.mode, data)


def _weighed(
    state: Steered, x: Any, turn: _Turn, reward: Any, mode: Mode, data: Any
) -> tuple[Steered, Array]:
    found = jnp.asarray(reward(x, turn.number, data[0]), float)
    best, total = jnp.maximum(state.best, found), state.total + found
    log_g = data[1] * {"diff": found - state.reward, "max": best, "add": total, "now": found}[mode]
    # what the steps before have given is taken back: only where the simulation ends counts
    log_g = jnp.where(turn.last, data[1] * found - state.spent, log_g)
    return Steered(x, found, best, total, state.spent + log_g), log_g


def steered(
    start: Callable[..., Any],
    move: Callable[..., Any],
    reward: Callable[..., Any],
    steps: int,
    *,
    mode: Mode = "diff",
    strength: Any = 1.0,
    data: Any = (),
) -> Sequence:
    """The law of a simulation times ``exp(strength * reward)`` of its last state, as a sequence.

    The reward of earlier states (of a diffusion: of the image that is expected from there) guides
    the particles, and is taken back at the last step, whatever the mode. ``exp(log_z)`` of
    ``particle_filter`` on it is unbiased for the mean of ``exp(strength * reward)``.

    Args:
        start: ``(key, data) -> x``, the state at step 0.
        move: ``(key, x, t, data) -> x``, the state at step t = 1, 2, ..., ``steps``.
        reward: ``(x, t, data) -> number``.
        steps: moves.
        mode: what a step is weighed by: ``"diff"``, how much the reward has risen; ``"max"``, the
            largest reward so far; ``"add"``, their sum; ``"now"``, the reward.
        strength: lambda.
        data: arrays that the functions receive.

    Raises:
        MethodError: there is no step, or the mode is unknown.

    Source: Singhal et al. (2025), arXiv 2501.06848, whose program keeps the largest reward (or the
    sum) at the last step in place of the reward itself.
    """
    at_least(1, steps=steps)
    check_choice("mode", mode, get_args(Mode))
    number = jnp.arange(1, steps + 1)
    return Sequence(
        _Start(start, reward, mode),
        _Extend(move, reward, mode),
        inputs=_Turn(number, number == steps),
        data=(jax.tree.map(jnp.asarray, data), jnp.asarray(strength, float)),
    )
