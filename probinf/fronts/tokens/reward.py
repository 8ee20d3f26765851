"""Reward: the score of a text (or of its steps) as a potential."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.inputs.limits import check_choice, inside
from probinf.fronts.tokens.context import Context, as_function

Link = Literal["prob", "odds", "diff"]
Aggregation = Literal["last", "min", "prod", "model"]


class Remembered(NamedTuple):
    """What a reward remembers of a text.

    Attributes:
        reward: aggregated over the steps so far.
        raw: score of the last step.
    """

    reward: Float[Array, "*n"]
    raw: Float[Array, "*n"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reward:
    """A score in [0, 1] of the text so far, as a factor of the target at every step.

    The score is read as the probability that the text is right. With ``link="prob"`` each step
    has the factor r (its likelihood), with ``"odds"`` r / (1 - r), and with ``"diff"`` the ratio
    of r to that of the step before: these cancel, so that the target is the model's law times the
    last r. Factors of ``"prob"`` and ``"odds"`` do not cancel; a longer text has more of them.

    Args:
        score: ``context -> r``.
        link: from rewards to factors.
        aggregation: what r is, from the scores of the steps: that of the last one, the least, the
            product, or ``"model"``, a score of the whole text as one step (``context.begin`` is
            0).
        margin: for ``"odds"``, by which r is kept away from 0 and 1, where odds are infinite.

    Raises:
        MethodError: an option is out of range. A score that is NaN or outside [0, 1] gives weight
            NaN, and the run raises :class:`~probinf.errors.RewardError`.

    Source: Puri et al. (2025), arXiv 2502.01618, whose program weighs by odds; the difference
    after Singhal et al. (2025), arXiv 2501.06848.
    """

    score: Any
    link: Link = dataclasses.field(default="prob", metadata={"static": True})
    aggregation: Aggregation = dataclasses.field(default="last", metadata={"static": True})
    margin: float = dataclasses.field(default=1e-7, metadata={"static": True})

    def begin(self) -> Remembered:
        """Before the first step."""
        return Remembered(jnp.ones((), float), jnp.ones((), float))

    def __call__(self, context: Context, memory: Remembered) -> tuple[Float[Array, ""], Remembered]:
        """The log factor of a step, and what to remember."""
        if self.aggregation == "model":
            context = context._replace(begin=jnp.zeros_like(context.begin))
        raw = jnp.asarray(self.score(context), float)
        before, now = memory.reward, raw
        if self.aggregation == "min":
            now = jnp.minimum(before, raw)
        elif self.aggregation == "prod":
            now = before * raw
        log_g = jnp.log(now)
        if self.link == "odds":
            kept = jnp.clip(now, self.margin, 1 - self.margin)
            log_g = jnp.log(kept) - jnp.log1p(-kept)
        elif self.link == "diff":
            log_g = jnp.where(now > 0, log_g - jnp.log(before), -jnp.inf)
        valid = (raw >= 0) & (raw <= 1)  # false for NaN
        return jnp.where(valid, log_g, jnp.nan), Remembered(now, raw)


def reward(
    score: Callable[[Context], Any],
    *,
    link: Link = "prob",
    aggregation: Aggregation = "last",
    margin: float = 1e-7,
) -> Reward:
    """A :class:`Reward` from a module-level function, or a pytree that can be called.

    Raises:
        MethodError: an option is out of range.
    """
    check_choice("link", link, get_args(Link))
    check_choice("aggregation", aggregation, get_args(Aggregation))
    inside(0, 0.5, margin=margin)
    return Reward(as_function(score), link, aggregation, margin)
