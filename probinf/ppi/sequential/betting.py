"""Betting: an exact confidence sequence for bounded outcomes, without asymptotics."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_rows
from probinf.core.inputs.levels import as_level
from probinf.errors import LevelError, MethodError
from probinf.ppi.inference.checks import numeric, positive


@dataclasses.dataclass(frozen=True)
class BettingMean:
    """Confidence sequence of a bounded mean that covers at every sample size, from the first on.

    Each candidate mean is a game against the stream ``F + R / pi * (Y - F)``, which is fair if
    the candidate is right; a candidate is dropped when a gambler would have multiplied his
    capital by 1 / alpha.

    Attributes:
        alpha: probability that the sequence ever misses.
        low, high: bounds of labels and predictions.
        grid: candidate means; the interval is rounded outwards to the grid.

    Source: Waudby-Smith & Ramdas (2024, JRSS-B), the hedged capital process with predictable
    plug-in bets; predictions after Zrnic & Candes (arXiv 2403.03208).
    """

    alpha: Number = 0.1
    low: Number = 0.0
    high: Number = 1.0
    grid: int = 1001

    def __post_init__(self) -> None:
        as_level(self.alpha)
        if not self.low < self.high:
            raise LevelError(f"low={self.low} is not below high={self.high}.")

    def run(
        self, y: Any, f: Any, *, labeled: Any = None, propensity: Any = None, smallest: Number = 1.0
    ) -> np.ndarray:
        """Intervals (rows, 2) after every row.

        Args:
            y: (rows,) labels; anything, NaN say, where there is none.
            f: (rows,) predictions.
            labeled: (rows,) which rows were labelled; all by default.
            propensity: (rows,) probabilities with which, decided before seeing the label.
            smallest: lower bound of all propensities, fixed in advance.

        Raises:
            LevelError: values out of bounds, or propensities below ``smallest``.
        """
        F = numeric("f", f)
        R = np.ones(len(F), bool) if labeled is None else np.asarray(labeled, bool)
        n = same_rows(y=np.asarray(y), f=F, labeled=R)
        Y = numeric("y", np.where(R, y, 0.0))
        p = np.ones(n) if propensity is None else positive("propensity", propensity, n)
        if not 0 < smallest <= 1 or p.min() < smallest or p.max() > 1:
            raise LevelError(
                f"propensities range from {p.min():g} to {p.max():g}; they must lie between "
                f"smallest={smallest:g} and 1."
            )
        if labeled is not None and propensity is None:
            raise MethodError("labeled needs propensity: with what probability were rows labelled?")
        for name, values in (("y", Y[R]), ("f", F)):
            if len(values) and (values.min() < self.low or values.max() > self.high):
                raise LevelError(
                    f"{name} ranges from {values.min():g} to {values.max():g}, outside the bounds "
                    f"[{self.low:g}, {self.high:g}]."
                )
        xi = F + np.where(R, (Y - F) / p, 0.0)
        # F + (Y - F) / pi lies between low - and high + (1 / pi - 1) (high - low).
        spare = (1 / smallest - 1) * (self.high - self.low)
        bottom, width = self.low - spare, self.high - self.low + 2 * spare
        with jax.enable_x64(True):
            candidates = (np.linspace(self.low, self.high, self.grid) - bottom) / width
            kept = np.asarray(_capital(self.alpha, (xi - bottom) / width, candidates))
        values = np.linspace(self.low, self.high, self.grid)
        step = values[1] - values[0]
        first, last = kept.argmax(axis=1), self.grid - 1 - kept[:, ::-1].argmax(axis=1)
        limits = np.stack([values[first] - step, values[last] + step], axis=1)
        limits[~kept.any(axis=1)] = np.nan
        return np.clip(limits, self.low, self.high)


@partial(jax.jit, static_argnames=("alpha",))
def _capital(alpha: Number, x: jax.Array, m: jax.Array) -> jax.Array:
    """Which candidates (steps, grid) survive after every step, in all looks so far."""

    def step(carry: Any, value: jax.Array) -> Any:
        t, mean, var, up, down, alive = carry
        t = t + 1
        bet = jnp.sqrt(2 * jnp.log(2 / alpha) / (var * t * jnp.log(t + 1)))
        gain = value - m
        up = up + jnp.log1p(jnp.minimum(bet, 0.5 / m) * gain)
        down = down + jnp.log1p(-jnp.minimum(bet, 0.5 / (1 - m)) * gain)
        alive = alive & (jnp.logaddexp(up, down) - jnp.log(2.0) < jnp.log(1 / alpha))
        # Bets use the past only: moments move after the capital did.
        mean = (mean * t + value) / (t + 1)
        var = (var * t + (value - mean) ** 2) / (t + 1)
        return (t, mean, var, up, down, alive), alive

    m = jnp.clip(m, 1e-9, 1 - 1e-9)
    zero = jnp.zeros_like(m)
    start = (0.0, 0.5, 0.25, zero, zero, jnp.ones_like(m, bool))
    return jax.lax.scan(step, start, x)[1]
