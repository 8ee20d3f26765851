"""EnbPI: intervals for time series from a sliding window of out-of-bag residuals."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.conformal.calibration.ranks import upper_rank
from probinf.conformal.online.forecasts import forecasts
from probinf.conformal.online.window import push
from probinf.conformal.sets.intervals import Interval
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.core.rounding import beyond


@partial(jax.jit, static_argnames="k")
def _scan(start: jax.Array, residuals: jax.Array, k: int) -> Any:
    def one(first: jax.Array, series: jax.Array) -> Any:
        def step(ordered: Any, now: Any) -> Any:
            residual, oldest = now
            low, high = ordered[: ordered.shape[0] - k], ordered[k:]  # k gaps lie between them
            b = jnp.argmin(high - low)
            return push(ordered, oldest, residual), (low[b], high[b])

        oldest = jnp.concatenate([first, series])[: series.shape[0]]
        return jax.lax.scan(step, jnp.sort(first), (series, oldest))[1]

    return jax.vmap(one)(start, residuals)


def enbpi(
    residuals: ArrayLike, predictions: ArrayLike, y: ArrayLike, *, alpha: Number = 0.1
) -> Interval:
    """Shortest intervals of recent signed residuals around ensemble predictions.

    Between the two residuals at the ends lie ``ceil((1 - alpha)(w + 1))`` of the window's w + 1
    gaps, in each of which the next residual falls alike.

    Args:
        residuals: (w,) or (S, w) signed out-of-bag residuals of the training period, in order of
            time; the window keeps this length.
        predictions: (T,) or (S, T) ensemble predictions, one step ahead or more.
        y: like ``predictions``; each outcome enters the window after its interval is made.
        alpha: miscoverage.

    Returns:
        Intervals (T,) or (S, T).

    Raises:
        ArrayError: NaN or shapes that differ.

    Source: Xu & Xie (2021), algorithm 1.
    """
    before, mu, now = forecasts(residuals, predictions, y)
    level, n = fraction("alpha", alpha), before.shape[1]
    k = int(upper_rank(n, level))
    promise = "about 1-alpha for long windows and strongly mixing errors (EnbPI)"
    if k >= n:
        q = np.full(mu.shape, np.inf)
        warn_infinite(q, f"{n} residuals cannot support both ends at alpha = {level:g}.")
        return Interval(-q, q, level, promise)
    with jax.enable_x64(True):
        found = _scan(jnp.asarray(before), jnp.asarray(now), k)
    low, high = (np.asarray(v).reshape(mu.shape) for v in found)
    return Interval(beyond(mu, low, -1), beyond(mu, high, 1), level, promise)
