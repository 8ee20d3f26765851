"""Adaptive conformal inference: one rate, an aggregate over rates, and dynamic tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.online.track import OnlineMethod
from probinf.conformal.online.window import (
    Window,
    divided,
    largest,
    magnitude,
    pinball,
    pvalue,
    quantile,
)
from probinf.core.inputs.arrays import Number
from probinf.errors import ArrayError

RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128)


@dataclasses.dataclass(frozen=True)
class ACI(OnlineMethod):
    """The level follows the errors, ``alpha_t + rate (alpha - error_t)``.

    On any sequence the mean error differs from alpha by at most
    ``(max(alpha, 1 - alpha) + rate) / (rate T)``.

    Attributes:
        rate: step size gamma of the level.

    Source: Gibbs & Candès (2021), equation 2 and proposition 4.1.
    """

    rate: float = 0.01

    def __post_init__(self) -> None:
        _check_rates(self.rate)

    def start(self, alpha: jax.Array, steps: int) -> Any:
        return alpha

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        return quantile(window, state)

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        return state + self.rate * (alpha - (score > q))

    def bound(self, alpha: Number, steps: int) -> float:
        """Largest distance of the mean error from alpha after ``steps`` steps."""
        if self.rate == 0:
            return float("inf")
        return float((max(alpha, 1 - alpha) + self.rate) / (self.rate * steps))

    def promise(self, alpha: Number, steps: int) -> str:
        return f"|mean error - alpha| <= {self.bound(alpha, steps):.3g} on any sequence"


def _check_rates(*rates: float) -> None:
    if not rates or not all(0 <= r < float("inf") for r in rates):
        raise ArrayError(f"rates must be finite and at least 0, got {rates}.")


class _Experts(NamedTuple):
    levels: jax.Array
    log_weights: jax.Array
    squares: jax.Array


@dataclasses.dataclass(frozen=True)
class DtACI(OnlineMethod):
    """ACI with several rates, weighted by how well their levels did of late.

    What is bounded is the regret: over ``horizon`` steps the levels lose little more, in pinball
    loss, than the best sequence of levels that changes slowly. Coverage follows for data that
    change smoothly; sequences exist on which a stretch, or the whole, is covered less often.

    Attributes:
        rates: step sizes of the experts.
        horizon: steps over which regret should be small.

    Source: Gibbs & Candès (2024), algorithm 1 (the weighted mean of the experts' levels).
    """

    rates: Sequence[float] = RATES
    horizon: int = 500

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))  # a list cannot be a static argument
        _check_rates(*self.rates)

    def start(self, alpha: jax.Array, steps: int) -> Any:
        zero = jnp.zeros(len(self.rates))
        return _Experts(zero + alpha, zero, zero)

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        return quantile(window, jax.nn.softmax(state.log_weights) @ state.levels)

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        k, span = len(self.rates), self.horizon
        best = pvalue(window, score)
        spread = (1 - alpha) ** 2 * alpha**3 + alpha**2 * (1 - alpha) ** 3
        eta = jnp.sqrt(3 / span) * jnp.sqrt((np.log(k * span) + 2) / spread)
        losses = pinball(best, state.levels, alpha)
        weights = jax.nn.softmax(state.log_weights - eta * losses)
        mixed = (1 - 0.5 / span) * weights + 0.5 / span / k
        missed = best <= state.levels
        levels = state.levels + jnp.asarray(self.rates) * (alpha - missed)
        return state._replace(levels=levels, log_weights=jnp.log(mixed))

    def promise(self, alpha: Number, steps: int) -> str:
        return (
            f"small regret of the levels' pinball loss over {self.horizon} steps, on any sequence; "
            "no bound on the coverage of every stretch"
        )


@dataclasses.dataclass(frozen=True)
class AgACI(OnlineMethod):
    """ACI with several rates; the thresholds themselves are aggregated by their pinball losses.

    Bernstein online aggregation. No coverage is guaranteed for the aggregate.

    Attributes:
        rates: step sizes of the experts.

    Source: Zaffran, Féron, Goude, Josse & Dieuleveut (2022); Wintenberger (2017).
    """

    rates: Sequence[float] = RATES

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))
        _check_rates(*self.rates)

    def start(self, alpha: jax.Array, steps: int) -> Any:
        zero = jnp.zeros(len(self.rates))
        return _Experts(zero + alpha, zero, zero)

    def _thresholds(self, state: Any, window: Window) -> jax.Array:
        found = jax.vmap(lambda level: quantile(window, level))(state.levels)
        smallest = window.ordered[0]
        smallest = jnp.where(jnp.isfinite(smallest), smallest, 0.0)
        return jnp.clip(found, smallest, largest(window))

    def _weights(self, state: Any) -> jax.Array:
        eta = self._eta(state)
        return jax.nn.softmax(eta * state.log_weights - eta**2 * state.squares + jnp.log(eta))

    def _eta(self, state: Any) -> jax.Array:
        bound = jnp.sqrt(jnp.log(float(len(self.rates))) / jnp.maximum(state.squares, 1e-12))
        return jnp.minimum(1.0, bound)

    def threshold(self, state: Any, window: Window, alpha: jax.Array) -> jax.Array:
        found = self._weights(state) @ self._thresholds(state, window)
        return jnp.where(window.seen == 0, jnp.inf, found)

    def update(
        self, state: Any, window: Window, alpha: jax.Array, q: jax.Array, score: jax.Array
    ) -> Any:
        found = self._thresholds(state, window)
        losses = divided(pinball(score, found, 1 - alpha), magnitude(window, score))
        gain = self._weights(state) @ losses - losses
        gain = jnp.where(window.seen == 0, 0.0, gain)
        own = jax.vmap(lambda level: quantile(window, level))(state.levels)
        levels = state.levels + jnp.asarray(self.rates) * (alpha - (score > own))
        return _Experts(levels, state.log_weights + gain, state.squares + gain**2)

    def promise(self, alpha: Number, steps: int) -> str:
        return "no guarantee for the aggregate (each expert has its own, see ACI)"
