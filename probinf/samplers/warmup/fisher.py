"""Warm-up with the low-rank Fisher metric, or with whichever of it and variances moves further."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.base import Info, Kernel, Params
from probinf.kernels.metric import fisher, from_scores
from probinf.samplers.warmup.adaptation import AdaptationState
from probinf.samplers.warmup.step_size import StepSize
from probinf.samplers.warmup.trial import MARGIN, Trial, trial_of, variances

MAX_RANK = 32
_FIRST, _GROWTH, _LAST = 20, 1.5, 0.85


class Seen(NamedTuple):
    """All warm-up draws, their scores, what they cost and whether they broke, by transition."""

    draws: Float[Array, "n d"]
    scores: Float[Array, "n d"]
    evaluations: Int[Array, " n"]
    divergent: Bool[Array, " n"]


@dataclasses.dataclass(frozen=True)
class FisherAdaptation:
    """Step size by dual averaging, metric by Fisher divergence at growing intervals.

    The metric is estimated anew after 20 transitions and then whenever their number has grown
    by half, from the later half of them; the last 15 % of the warm-up settle the step size only.
    With ``chooses``, variances and the low-rank metric are each tried for 20 % of the warm-up,
    and the one whose slowest coordinate jumps further per gradient is kept: for every chain by
    its own, in the same compiled code. ``AdaptationState.metric`` is the log ratio found.

    Args:
        kernel: a Hamiltonian kernel, whose state holds the score.
        steps: length of the warm-up.
        chooses: between variances and the low-rank metric.

    Source: Seyboldt, Carlson & Carpenter (2026), section 5, on accumulating windows.
    """

    kernel: Kernel
    steps: int
    chooses: bool = False

    @property
    def trial(self) -> Trial | None:
        """When both metrics are tried; None where there is no choice or no time for it."""
        return trial_of(self.steps) if self.chooses else None

    @property
    def updates(self) -> tuple[int, ...]:
        """Numbers of transitions after which the metric is estimated anew."""
        last = int(_LAST * self.steps)
        first = self.trial.begin if self.trial is not None else last
        ends, size = [], float(_FIRST)
        while size * _GROWTH < first:
            ends.append(round(size))
            size *= _GROWTH
        return (*ends, *(self.trial or ()), last) if last >= _FIRST else ()

    def init(
        self, vector: Float[Array, " d"], score: Float[Array, " d"]
    ) -> tuple[AdaptationState, Seen]:
        """A metric from the score at the starting point."""
        size = jnp.asarray(self.kernel.first_step_size(vector.size), vector.dtype)
        metric = from_scores(score, min(MAX_RANK, vector.size))
        blank = jnp.zeros((self.steps, vector.size), vector.dtype)
        unknown = jnp.full((), jnp.nan, vector.dtype)
        step = StepSize(self.kernel).start(size)
        state = AdaptationState(step, unknown, Params(size, vector, metric))
        return state, Seen(
            blank, blank, jnp.zeros((self.steps,), int), jnp.zeros((self.steps,), bool)
        )

    def see(
        self,
        seen: Seen,
        index: Int[Array, ""],
        vector: Float[Array, " d"],
        score: Any,
        info: Info,
    ) -> Seen:
        """One more draw; nothing after the warm-up."""
        return Seen(
            seen.draws.at[index].set(vector, mode="drop"),
            seen.scores.at[index].set(score, mode="drop"),
            seen.evaluations.at[index].set(info.evaluations, mode="drop"),
            seen.divergent.at[index].set(info.divergent, mode="drop"),
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

        def renewed() -> tuple[Any, Any, Params]:
            rows = jnp.arange(self.steps)
            used = (rows >= count // 2) & (rows < count)
            advantage = state.metric
            if self.trial is not None:
                found = self.trial.advantage(seen.draws, seen.evaluations, seen.divergent)
                advantage = jnp.where(count >= self.trial.end, found, jnp.nan).astype(dtype)
                used &= ~self.trial.lost(rows, advantage)
            metric = fisher(seen.draws, seen.scores, used, state.params.covariance.values.size)
            mean = jnp.where(used[:, None], seen.draws, 0).sum(axis=0) / used.sum()
            if self.trial is not None:
                plain = (count == self.trial.begin) | (advantage < jnp.log(MARGIN))
                spread = jnp.where(used[:, None], (seen.draws - mean) ** 2, 0).sum(axis=0)
                alone = variances(metric, jnp.sqrt(spread / used.sum()))
                metric = jax.tree.map(lambda a, b: jnp.where(plain, a, b), alone, metric)
            size = step_size.final(step)
            return step_size.start(size), advantage, Params(size.astype(dtype), mean, metric)

        advantage = state.metric
        if self.updates:
            due = jnp.isin(count, jnp.asarray(self.updates))
            step, advantage, params = jax.lax.cond(due, renewed, lambda: (step, advantage, params))
        last = jnp.where(count == self.steps, step_size.final(step), params.step_size)
        return AdaptationState(step, advantage, params._replace(step_size=last.astype(dtype)))
