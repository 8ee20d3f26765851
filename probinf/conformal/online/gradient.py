"""Thresholds by online gradient steps: PID control, SF-OGD, and strongly adaptive SAOCP."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.online.track import OnlineMethod
from probinf.conformal.online.window import Window, divided, magnitude, pinball
from probinf.core.inputs.arrays import Number
from probinf.errors import ArrayError


class _Control(NamedTuple):
    q: jax.Array
    total: jax.Array


@dataclasses.dataclass(frozen=True)
class PID(OnlineMethod):
    """Quantile tracking with an integrator that forces the errors back to alpha.

    A scorecaster (the derivative term) is a forecast of the scores: subtract it from the scores
    before and add it to the thresholds after. Scores in other units give the same thresholds in
    those units.

    Attributes:
        rate: step size, relative to the largest recent absolute score.
        integral: strength K_I of the integrator, in the same unit.
        saturation: C_sat; small reacts sooner.

    Source: Angelopoulos, Candès & Tibshirani (2023), equations 5 to 7.
    """

    rate: float = 0.05
    integral: float = 1.0
    saturation: float = 5.0

    def __post_init__(self) -> None:
        if not (self.rate >= 0 and self.integral >= 0 and self.saturation > 0):
            raise ArrayError(
                f"PID: rates at least 0 and saturation above 0 are needed, got {self}."
            )

    def start(self, alpha: jax.Array, steps: int) -> Any:
        return _Control(jnp.zeros(()), jnp.zeros(()))

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        t = window.seen + 1
        argument = state.total * jnp.log(t + 1) / ((t + 1) * self.saturation)
        push_back = jnp.where(
            argument >= np.pi / 2,
            jnp.inf,
            jnp.where(argument <= -np.pi / 2, -jnp.inf, jnp.tan(argument)),
        )
        # a saturated integrator overrules the unit, which may still be zero
        gentle = jnp.where(jnp.isinf(push_back), 0.0, push_back) * magnitude(window)
        push = jnp.where(jnp.isinf(push_back), push_back, self.integral * gentle)
        return state.q + (push if self.integral > 0 else 0.0)

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        error = (score > q) - alpha
        q_next = state.q + self.rate * magnitude(window, score) * error
        return _Control(q_next, state.total + error)

    def promise(self, alpha: Number, steps: int) -> str:
        if self.integral == 0:
            return "long-run coverage 1-alpha if the scores are bounded"
        return "long-run coverage 1-alpha on any sequence, at the rate saturation / log(steps)"


class _Gradient(NamedTuple):
    q: jax.Array
    squares: jax.Array


@dataclasses.dataclass(frozen=True)
class SFOGD(OnlineMethod):
    """Scale-free online gradient descent on the pinball loss of the threshold.

    Attributes:
        radius: bound of the absolute scores, in their units, which the paper takes as known; by
            default the largest recent one, so that scores in other units give the same
            thresholds in those units.

    Source: Bhatnagar, Wang, Xiong & Bai (2023), algorithm 2.
    """

    radius: float | None = None

    def __post_init__(self) -> None:
        _check_radius(self.radius)

    def start(self, alpha: jax.Array, steps: int) -> Any:
        return _Gradient(jnp.zeros(()), jnp.zeros(()))

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        return state.q

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        return _descend(state, _unit(self.radius, window, score), alpha, score)

    def promise(self, alpha: Number, steps: int) -> str:
        return f"long-run coverage 1-alpha {_within(self.radius)}"


def _check_radius(radius: float | None) -> None:
    if radius is not None and not 0 < radius < float("inf"):
        raise ArrayError(
            f"radius must be positive and finite, in the units of the scores, got {radius}; None "
            "learns it from the scores."
        )


def _unit(radius: float | None, window: Window, score: jax.Array) -> Any:
    """The radius that was given, or the largest absolute score of late."""
    return magnitude(window, score) if radius is None else radius


def _within(radius: float | None) -> str:
    """The condition of a promise that needs bounded scores."""
    if radius is None:
        return "if the size of the scores settles"
    return f"if no absolute score exceeds the radius {radius:g}"


def _descend(state: _Gradient, radius: Any, alpha: jax.Array, score: jax.Array) -> _Gradient:
    gradient = alpha - (score > state.q)
    squares = state.squares + gradient**2
    return _Gradient(state.q - radius / np.sqrt(3) * gradient / jnp.sqrt(squares), squares)


class _Adaptive(NamedTuple):
    experts: _Gradient
    weight: jax.Array
    gain: jax.Array
    bet: jax.Array
    born: jax.Array


@dataclasses.dataclass(frozen=True)
class SAOCP(OnlineMethod):
    """SF-OGD experts born at every step, with lifetimes of all scales, combined by coin betting.

    Adapts to changes at any scale: over every interval of time the thresholds lose little more, in
    pinball loss, than the best fixed threshold. That is a bound of the regret, not of the coverage
    of every interval.

    Attributes:
        radius: as in :class:`SFOGD`.
        lifetime: multiplier g of the experts' lifetimes, even.

    Source: Bhatnagar, Wang, Xiong & Bai (2023), algorithm 1.
    """

    radius: float | None = None
    lifetime: int = 8

    def __post_init__(self) -> None:
        _check_radius(self.radius)
        if self.lifetime < 2 or self.lifetime % 2:
            raise ArrayError(f"SAOCP: lifetime must be even and at least 2, got {self.lifetime}.")

    def start(self, alpha: jax.Array, steps: int) -> Any:
        slots = (int(np.log2(max(steps, 1))) + 1, self.lifetime // 2)
        zero = jnp.zeros(slots)
        state = _Adaptive(_Gradient(zero, zero), zero, zero, zero, jnp.zeros(slots, jnp.int32))
        return self._birth(state, jnp.zeros(()), jnp.ones((), jnp.int32))

    def _birth(self, state: _Adaptive, q: jax.Array, time: jax.Array) -> _Adaptive:
        """A new expert, in the slot of its lifetime; it starts from the current threshold."""
        scale = jnp.int32(jnp.log2((time & -time).astype(jnp.float32)) + 0.5)
        row = jnp.arange(state.born.shape[0])[:, None] == scale
        turn = (time >> (scale + 1)) % (self.lifetime // 2)
        new = row & (jnp.arange(self.lifetime // 2) == turn)
        fresh = _Adaptive(_Gradient(q, 0.0), 0.0, 0.0, 0.0, time)  # type: ignore[arg-type]
        return jax.tree.map(lambda a, b: jnp.where(new, a, b), fresh, state)

    def _active(self, state: _Adaptive, time: jax.Array) -> jax.Array:
        scale = 2 ** jnp.arange(state.born.shape[0])[:, None]
        return (state.born > 0) & (time < state.born + self.lifetime * scale)

    def _probabilities(self, state: _Adaptive, time: jax.Array) -> jax.Array:
        born = jnp.maximum(state.born, 1).astype(jnp.float32)
        prior = self._active(state, time) / (born**2 * (1 + jnp.floor(jnp.log2(born))))
        p = prior * jnp.maximum(state.weight, 0.0)
        total = p.sum()
        return jnp.where(total > 0, p / jnp.where(total > 0, total, 1.0), prior / prior.sum())

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        return (self._probabilities(state, window.seen + 1) * state.experts.q).sum()

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        loss = pinball(score, q, 1 - alpha)
        each = pinball(score, state.experts.q, 1 - alpha)
        radius = _unit(self.radius, window, score)
        gain = jnp.clip(divided(loss - each, jnp.asarray(radius)), -1.0, 1.0)
        gain = jnp.where(state.weight > 0, gain, jnp.maximum(gain, 0.0))
        total, bet = state.gain + gain, state.bet + state.weight * gain
        time = window.seen + 1
        age = (time - state.born + 1).astype(jnp.float32)
        after = state._replace(
            experts=_descend(state.experts, radius, alpha, score),
            weight=total / age * (1 + bet),
            gain=total,
            bet=bet,
        )
        return self._birth(after, q, time + 1)

    def promise(self, alpha: Number, steps: int) -> str:
        return f"small regret over every interval of time {_within(self.radius)}"
