"""A trial of two metrics inside the warm-up: which moves a chain further per gradient?"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.metric import LowRank

MARGIN = 1.6
"""How much further the low-rank metric has to move before it is preferred."""

_BEGIN, _MIDDLE, _END = 0.3, 0.5, 0.7  # of the warm-up
_SETTLED = 0.2  # of a trial, after which its step size is believed
_LEAST = 30  # transitions of a trial that are worth counting
_MORE = 2  # divergences by which the low-rank metric may exceed the variances
_SLOWEST = 3  # coordinates whose jumps are averaged: the very least is a noisy number


class Trial(NamedTuple):
    """When the variances are tried, when the low-rank metric, and when the better one is taken.

    Attributes:
        begin: transitions before the trial of the variances.
        middle: transitions before the trial of the low-rank metric.
        end: transitions before the choice.
    """

    begin: int
    middle: int
    end: int

    def advantage(
        self,
        draws: Float[Array, "n d"],
        evaluations: Int[Array, " n"],
        divergent: Bool[Array, " n"],
    ) -> Float[Array, ""]:
        """Log ratio of the slowest coordinates' squared jumps per gradient, low-rank to variances.

        Jumps are squared and divided by the variance over both trials. A gradient that makes no
        progress in some coordinate is lost, whatever it does for the others, so that the three
        coordinates of the smallest mean jumps count. A longer step alone does not: where the
        curvature varies, the metric that allows it may explore less, and it then diverges more
        often.

        Args:
            draws: positions of the warm-up, by transition.
            evaluations: gradients of each transition.
            divergent: transitions that diverged.

        Returns:
            Minus infinity where the low-rank metric diverged more often than the variances.

        Source: expected squared jumping distance, Pasarica & Gelman (2010), section 2.
        """
        spread = jnp.var(draws[self.begin : self.end], axis=0)
        known = spread > jnp.finfo(draws.dtype).tiny

        def counted(first: int, last: int) -> tuple[int, int]:
            return first + round(_SETTLED * (last - first)), last

        def slowest(first: int, last: int) -> Float[Array, ""]:
            jumps = jnp.mean(jnp.diff(draws[first:last], axis=0) ** 2, axis=0)
            relative = jnp.where(known, jumps / jnp.where(known, spread, 1.0), jnp.inf)
            worst = -jax.lax.top_k(-relative, min(_SLOWEST, draws.shape[1]))[0]
            mean = jnp.mean(worst, where=jnp.isfinite(worst))
            return jnp.log(mean) - jnp.log(jnp.sum(evaluations[first + 1 : last]))

        plain, low = counted(self.begin, self.middle), counted(self.middle, self.end)
        broken = divergent[slice(*low)].sum() > divergent[slice(*plain)].sum() + _MORE
        return jnp.where(broken, -jnp.inf, slowest(*low) - slowest(*plain))

    def lost(self, rows: Int[Array, " n"], advantage: Float[Array, ""]) -> Bool[Array, " n"]:
        """Transitions made with the metric that was not chosen; none before the choice."""
        plain = advantage < jnp.log(MARGIN)
        first = jnp.where(plain, self.middle, self.begin)
        last = jnp.where(plain, self.end, self.middle)
        return (rows >= first) & (rows < last) & ~jnp.isnan(advantage)


def trial_of(steps: int) -> Trial | None:
    """The trial of a warm-up of so many transitions; None where it is too short for one."""
    trial = Trial(round(_BEGIN * steps), round(_MIDDLE * steps), round(_END * steps))
    return trial if (trial.middle - trial.begin) * (1 - _SETTLED) >= _LEAST else None


def variances(metric: LowRank, deviations: Float[Array, " d"]) -> LowRank:
    """Variances alone, in the shape of ``metric``; its scale where a deviation is not known."""
    known = (deviations > jnp.finfo(deviations.dtype).tiny) & jnp.isfinite(deviations)
    scale = jnp.where(known, deviations, metric.scale).astype(metric.scale.dtype)
    return metric._replace(scale=scale, values=jnp.ones_like(metric.values))


def told(advantages: np.ndarray) -> str:
    """Which metric each chain kept, and why; ``advantages`` as above, one per chain."""
    ratios = np.exp(np.atleast_1d(np.asarray(advantages, float)))
    low_rank = np.flatnonzero(~(ratios < MARGIN))
    chosen = {0: "diagonal", ratios.size: "low_rank"}.get(
        low_rank.size, f"low_rank in chains {low_rank.tolist()}, diagonal in the others"
    )
    each = ", ".join(f"{ratio:.3g}" for ratio in ratios)
    return (
        f"{chosen}: in trials during the warm-up, squared jumps of the slowest coordinates "
        f"per gradient, low_rank relative to diagonal, were {each} "
        f"(0 where it diverged more often); low_rank is kept from {MARGIN} on"
    )
