"""Betting: an exact confidence sequence for bounded outcomes, without asymptotics."""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import at_least
from probinf.errors import LevelError, MethodError, PredictionWarning
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
        grid: candidate means; the interval is rounded outwards to the grid, so that it is never
            narrower than the gap between two of them.

    Source: Waudby-Smith & Ramdas (2024, JRSS-B), the hedged capital process with predictable
    plug-in bets; predictions after Zrnic & Candes (arXiv 2403.03208).
    """

    alpha: Number = 0.1
    low: Number = 0.0
    high: Number = 1.0
    grid: int = 1001

    def __post_init__(self) -> None:
        as_level(self.alpha)
        at_least(2, grid=self.grid)
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
        same_index(y=y, f=f, labeled=labeled, propensity=propensity)
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
        values = np.linspace(self.low, self.high, self.grid)
        with jax.enable_x64(True):
            candidates = (values - bottom) / width
            first, last = _capital(self.alpha, (xi - bottom) / width, candidates)
        edges = np.concatenate([[self.low], values, [self.high]])  # nothing dropped: the bounds
        limits = np.stack([edges[np.asarray(first) + 1], edges[np.asarray(last) + 1]], axis=1)
        empty = limits[:, 0] > limits[:, 1]
        if empty.any():
            warnings.warn(
                f"from row {int(np.argmax(empty))} on no single mean is compatible with the whole "
                "stream: it drifts, or the propensities are wrong. The limits there are NaN.",
                PredictionWarning,
                stacklevel=2,
            )
            limits[empty] = np.nan
        return limits


@partial(jax.jit, static_argnames=("alpha",))
def _capital(alpha: Number, x: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Per step the largest candidate that lies too low and the smallest that lies too high.

    A candidate is dropped by bets on a larger mean (it lies too low) or on a smaller one, once and
    for all. The mean lies between the two, although no candidate may.
    """
    count = m.shape[0]
    number = jnp.arange(count)

    def step(carry: Any, value: jax.Array) -> Any:
        t, mean, var, up, down, first, last = carry
        t = t + 1
        bet = jnp.sqrt(2 * jnp.log(2 / alpha) / (var * t * jnp.log(t + 1)))
        gain = value - m
        up = up + jnp.log1p(jnp.minimum(bet, 0.5 / m) * gain)
        down = down + jnp.log1p(-jnp.minimum(bet, 0.5 / (1 - m)) * gain)
        dropped = jnp.logaddexp(up, down) - jnp.log(2.0) >= jnp.log(1 / alpha)
        first = jnp.maximum(first, jnp.max(jnp.where(dropped & (up > down), number, -1)))
        last = jnp.minimum(last, jnp.min(jnp.where(dropped & (up < down), number, count)))
        # Bets use the past only: moments move after the capital did.
        mean = (mean * t + value) / (t + 1)
        var = (var * t + (value - mean) ** 2) / (t + 1)
        return (t, mean, var, up, down, first, last), (first, last)

    m = jnp.clip(m, 1e-9, 1 - 1e-9)
    zero = jnp.zeros_like(m)
    start = (0.0, 0.5, 0.25, zero, zero, jnp.asarray(-1), jnp.asarray(count))
    return jax.lax.scan(step, start, x)[1]
