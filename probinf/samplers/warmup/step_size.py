"""Step size of a kernel in its warm-up: found by dual averaging, then settled."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.kernels import blackjax
from probinf.kernels.base import Kernel

_OFFSET, _POWER = 3.0, 0.75  # of the falling gain


@dataclasses.dataclass(frozen=True)
class StepSize:
    """The step size (or sizes) at which a kernel accepts as often as it aims at.

    While the metric still changes, dual averaging finds the order of magnitude within a few
    steps. It gets there by jumps, and returns the average of their logarithms; but acceptance is
    concave in it, so that the average accepts more often than the steps did: of fifty steps at
    which HMC accepts 0.8, the average accepts 0.88. Once the metric stays, the logarithm
    therefore *settles* in moves ``gain * (acceptance - target)`` that shrink, whose average has
    weights that grow linearly.

    Args:
        kernel: whose targets count.

    Source: Hoffman & Gelman (2014), section 3.2; Robbins & Monro (1951), with the average of
    Polyak & Juditsky (1992).
    """

    kernel: Kernel

    def _dual_averaging(self) -> Any:
        return blackjax.dual_averaging(self.kernel.aims)

    def start(self, size: Float[Array, "..."]) -> Any:
        """The state from which the next steps learn; every entry as wide as ``size``."""
        begun = self._dual_averaging()[0](size)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, size.shape), begun)

    def update(self, state: Any, acceptance: Float[Array, "..."], settling: Bool[Array, ""]) -> Any:
        """One step with a metric that will change again, or (``settling``) not."""
        aims = self.kernel.aims
        if len(self.kernel.targets) > 1:  # step sizes that nothing uses stay where they are
            used = np.asarray([t is not None for t in self.kernel.targets])
            acceptance = jnp.where(used, acceptance, aims)
        found = self._dual_averaging()[1](state, acceptance)
        # the inverse of how fast acceptance falls with the logarithm of the step
        gain = 0.5 / np.minimum(aims, 1 - np.asarray(aims))
        gain = gain / (state.step + _OFFSET) ** _POWER
        size = state.log_step_size + gain * (acceptance - aims)
        weight = 2 / (state.step + 1)
        average = (1 - weight) * state.log_step_size_avg + weight * size
        settled = found._replace(log_step_size=size, log_step_size_avg=average)
        return jax.tree.map(lambda a, b: jnp.where(settling, a, b).astype(a.dtype), settled, found)

    def current(self, state: Any) -> Float[Array, "..."]:
        """The step to try next."""
        return jnp.exp(state.log_step_size)

    def final(self, state: Any) -> Float[Array, "..."]:
        """The step to keep."""
        return jnp.exp(state.log_step_size_avg)
