"""Warm-up of a Markov chain: step size by dual averaging, covariance in growing windows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.kernels import blackjax
from probinf.kernels.base import Info, Kernel, Params
from probinf.samplers.warmup.moments import GroupedMoments, Moments
from probinf.samplers.warmup.step_size import StepSize


class AdaptationState(NamedTuple):
    """Dual averaging and Welford states, with the parameters in force."""

    step_size: Any
    metric: Any
    params: Params


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Stan's warm-up schedule for any kernel, made of BlackJAX's parts.

    Args:
        kernel: whose step size is tuned.
        steps: length of the warm-up.
        moments: estimates the covariance.

    Source: Hoffman & Gelman (2014), section 3.2; Stan reference manual, "Automatic tuning".
    """

    kernel: Kernel
    steps: int
    moments: Moments | GroupedMoments = Moments()

    def init(self, vector: Float[Array, " d"]) -> AdaptationState:
        """Unit covariance around the starting point."""
        metric = self.moments.start(vector.size)
        size = jnp.asarray(self.kernel.first_step_size(vector.size), vector.dtype)
        params = Params(size, vector, self.moments.covariance(metric, vector.dtype))
        return AdaptationState(StepSize(self.kernel).start(size), metric, params)

    def update(
        self, state: AdaptationState, index: Int[Array, ""], vector: Float[Array, " d"], info: Info
    ) -> AdaptationState:
        """One warm-up step, number ``index`` from 0; the last one fixes the parameters."""
        with jax.ensure_compile_time_eval():
            schedule = blackjax.window_schedule(self.steps)
        slow, window_end = jnp.asarray(schedule)[index]
        ends = np.flatnonzero(schedule[:, 1])
        step_size, moments = StepSize(self.kernel), self.moments

        settling = index > (ends[-1] if ends.size else self.steps)
        acceptance = info.acceptance.astype(vector.dtype)
        step = step_size.update(state.step_size, acceptance, settling)
        metric = jax.lax.cond(slow, lambda m: moments.update(m, vector), lambda m: m, state.metric)

        def close(args: tuple[Any, Any, Params]) -> tuple[Any, Any, Params]:
            step, metric, params = args
            mean = moments.mean(metric).astype(vector.dtype)
            metric = moments.close(metric)
            covariance = moments.covariance(metric, vector.dtype)
            restarted = step_size.start(step_size.final(step))
            return restarted, metric, Params(params.step_size, mean, covariance)

        step, metric, params = jax.lax.cond(
            window_end, close, lambda args: args, (step, metric, state.params)
        )
        if self.kernel.target_acceptance is not None:
            last = index == self.steps - 1
            size = jnp.where(last, step_size.final(step), step_size.current(step))
            params = params._replace(step_size=size.astype(vector.dtype))
        return AdaptationState(step, metric, params)
