"""Warm-up with the low-rank Fisher metric: the later half of all draws so far, again and again."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.kernels.base import Info, Kernel, Params
from probinf.kernels.metric import fisher, from_scores
from probinf.samplers.warmup.adaptation import AdaptationState
from probinf.samplers.warmup.step_size import StepSize

MAX_RANK = 32
_FIRST, _GROWTH, _LAST = 20, 1.5, 0.85


class Seen(NamedTuple):
    """All warm-up draws and their scores, by transition."""

    draws: Float[Array, "n d"]
    scores: Float[Array, "n d"]


@dataclasses.dataclass(frozen=True)
class FisherAdaptation:
    """Step size by dual averaging, metric by Fisher divergence at growing intervals.

    The metric is estimated anew after 20 transitions and then whenever their number has grown
    by half, from the later half of them; the last 15 % of the warm-up settle the step size only.

    Args:
        kernel: a Hamiltonian kernel, whose state holds the score.
        steps: length of the warm-up.

    Source: Seyboldt, Carlson & Carpenter (2026), section 5, on accumulating windows.
    """

    kernel: Kernel
    steps: int

    @property
    def updates(self) -> tuple[int, ...]:
        """Numbers of transitions after which the metric is estimated anew."""
        last = int(_LAST * self.steps)
        ends, size = [], float(_FIRST)
        while size * _GROWTH < last:
            ends.append(round(size))
            size *= _GROWTH
        return (*ends, last) if last >= _FIRST else ()

    def init(
        self, vector: Float[Array, " d"], score: Float[Array, " d"]
    ) -> tuple[AdaptationState, Seen]:
        """A metric from the score at the starting point."""
        size = jnp.asarray(self.kernel.first_step_size(vector.size), vector.dtype)
        metric = from_scores(score, min(MAX_RANK, vector.size))
        blank = jnp.zeros((self.steps, vector.size), vector.dtype)
        state = AdaptationState(StepSize(self.kernel).start(size), (), Params(size, vector, metric))
        return state, Seen(blank, blank)

    def see(
        self, seen: Seen, index: Int[Array, ""], vector: Float[Array, " d"], score: Any
    ) -> Seen:
        """One more draw; nothing after the warm-up."""
        return Seen(
            seen.draws.at[index].set(vector, mode="drop"),
            seen.scores.at[index].set(score, mode="drop"),
        )

    def update(
        self, state: AdaptationState, seen: Seen, index: Int[Array, ""], info: Info
    ) -> AdaptationState:
        """One warm-up step, number ``index`` from 0; the last one fixes the parameters."""
        step_size, count = StepSize(self.kernel), index + 1
        dtype = state.params.step_size.dtype
        settling = index >= (self.updates[-1] if self.updates else self.steps)
        step = step_size.update(state.step_size, info.acceptance.astype(dtype), settling)
        params = state.params._replace(step_size=step_size.current(step).astype(dtype))

        def renewed() -> tuple[Any, Params]:
            rows = jnp.arange(self.steps)
            used = (rows >= count // 2) & (rows < count)
            metric = fisher(seen.draws, seen.scores, used, params.covariance.values.shape[0])
            mean = jnp.where(used[:, None], seen.draws, 0).sum(axis=0) / used.sum()
            size = step_size.final(step)
            return step_size.start(size), Params(size.astype(dtype), mean, metric)

        if self.updates:
            due = jnp.isin(count, jnp.asarray(self.updates))
            step, params = jax.lax.cond(due, renewed, lambda: (step, params))
        last = jnp.where(count == self.steps, step_size.final(step), params.step_size)
        return AdaptationState(step, (), params._replace(step_size=last.astype(dtype)))
