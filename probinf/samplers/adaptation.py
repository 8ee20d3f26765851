"""Warm-up of a Markov chain: step size by dual averaging, covariance in growing windows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.kernel import Info, Kernel, Params


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
        dense: estimate a full covariance instead of variances.

    Source: Hoffman & Gelman (2014), section 3.2; Stan reference manual, "Automatic tuning".
    """

    kernel: Kernel
    steps: int
    dense: bool

    def _parts(self) -> tuple[Any, Any]:
        from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
        from blackjax.adaptation.step_size import dual_averaging_adaptation

        start, update, final = dual_averaging_adaptation(self.kernel.aims)

        def shaped(step: Any) -> Any:  # every entry as wide as there are step sizes
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, step.shape), start(step))

        several = len(self.kernel.targets) > 1
        return (
            (shaped if several else start, update, final),
            mass_matrix_adaptation(is_diagonal_matrix=not self.dense),
        )

    def init(self, vector: Float[Array, " d"]) -> AdaptationState:
        """Unit covariance around the starting point."""
        (start_step, _, _), (start_metric, _, _) = self._parts()
        first = self.kernel.first_step_size(vector.size)
        metric = start_metric(vector.size)
        step = jnp.asarray(first, vector.dtype)
        params = Params(step, vector, metric.inverse_mass_matrix.astype(vector.dtype))
        return AdaptationState(start_step(step), metric, params)

    def update(
        self, state: AdaptationState, index: Int[Array, ""], vector: Float[Array, " d"], info: Info
    ) -> AdaptationState:
        """One warm-up step, number ``index`` from 0; the last one fixes the parameters."""
        from blackjax.adaptation.staged_adaptation import build_schedule

        slow, window_end = jnp.asarray(build_schedule(self.steps), bool)[index]
        (start_step, update_step, final_step), (_, update_metric, final_metric) = self._parts()

        acceptance = info.acceptance
        if len(self.kernel.targets) > 1:  # step sizes that nothing uses stay where they are
            used = np.asarray([t is not None for t in self.kernel.targets])
            acceptance = jnp.where(used, acceptance, self.kernel.aims)
        step = update_step(state.step_size, acceptance.astype(vector.dtype))
        metric = jax.lax.cond(slow, lambda m: update_metric(m, vector), lambda m: m, state.metric)

        def close(args: tuple[Any, Any, Params]) -> tuple[Any, Any, Params]:
            step, metric, params = args
            mean = metric.wc_state.mean.astype(vector.dtype)
            metric = final_metric(metric)
            covariance = metric.inverse_mass_matrix.astype(vector.dtype)
            return start_step(final_step(step)), metric, Params(params.step_size, mean, covariance)

        step, metric, params = jax.lax.cond(
            window_end, close, lambda args: args, (step, metric, state.params)
        )
        if self.kernel.target_acceptance is not None:
            last = index == self.steps - 1
            size = jnp.where(last, final_step(step), jnp.exp(step.log_step_size))
            params = params._replace(step_size=size.astype(vector.dtype))
        return AdaptationState(step, metric, params)
