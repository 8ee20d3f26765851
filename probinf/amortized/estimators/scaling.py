"""ScaledLaw: predictions of a network at several scales of the outcomes, as one mixture."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.heads.predictive import Predictive

SCALES = np.array([0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_BISECTIONS = 40


class ScaledLaw(eqx.Module):
    """The mixture over scales ``s`` of the laws of ``s`` times an outcome.

    Attributes:
        laws: the predictions at each scale, on the first axis of their batch.
        weights: of the scales.
        scales: by which the outcomes were divided.
    """

    laws: Predictive
    weights: Float[Array, "scales 1"]
    scales: Float[Array, "scales 1"]

    @property
    def mean(self) -> Float[Array, " rows"]:
        """Expectation."""
        return jnp.sum(self.weights * self.scales * self.laws.mean, 0)

    @property
    def sd(self) -> Float[Array, " rows"]:
        """Standard deviation."""
        second = self.scales**2 * (self.laws.variance + self.laws.mean**2)
        return jnp.sqrt(jnp.sum(self.weights * second, 0) - self.mean**2)

    @eqx.filter_jit
    def quantile(self, levels: Float[Array, " levels"]) -> Float[Array, "levels rows"]:
        """Quantiles, by bisection between those of the scales."""
        shape = self.laws.mean.shape

        def at(level: Array) -> Array:
            ends = self.scales * self.laws.icdf(jnp.broadcast_to(level, shape))

            def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
                low, high = ends
                middle = (low + high) / 2
                below = jnp.sum(self.weights * self.laws.cdf(middle / self.scales), 0) < level
                return jnp.where(below, middle, low), jnp.where(below, high, middle)

            low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (ends.min(0), ends.max(0)))
            return (low + high) / 2

        return jax.lax.map(at, levels)
