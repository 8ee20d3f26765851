"""Spline flows as laws of vectors, in the two directions in which one can be used."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.flows.flow import SplineFlow
from probinf.core.program import Key

_LOG_2_PI = 1.8378770664093453


def _bare(flow: Any) -> tuple[SplineFlow, Array]:
    return flow, jnp.zeros((0,), jnp.float32)  # the narrowest type: weights and vector decide


class FittedFlow(NamedTuple):
    """A flow from the vector to normal noise: fast densities, for fits to draws.

    Attributes:
        flow: a ``SplineFlow`` without context.
    """

    flow: Any

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw, coordinate after coordinate."""
        flow, nothing = _bare(self.flow)
        return flow.draw(key, nothing)

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        flow, nothing = _bare(self.flow)
        return flow.log_density(x, nothing)


class DrawnFlow(NamedTuple):
    """A flow from normal noise to the vector: fast draws, for variational inference.

    Attributes:
        flow: a ``SplineFlow`` without context.

    Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling (2016).
    """

    flow: Any

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        return self.sample_and_log_density(key)[0]

    def sample_and_log_density(self, key: Key) -> tuple[Array, Array]:
        """A draw and its log density, to be differentiated."""
        flow, nothing = _bare(self.flow)
        noise = jax.random.normal(key, (flow.size,))
        x, log_det = flow.to_normal(noise, nothing)
        return x, _log_normal(noise) - log_det

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector, whose noise is found coordinate after coordinate."""
        flow, nothing = _bare(self.flow)
        noise = flow.from_normal(x, nothing)
        return _log_normal(noise) - flow.to_normal(noise, nothing)[1]


def _log_normal(noise: Array) -> Array:
    return -0.5 * (noise @ noise + len(noise) * _LOG_2_PI)
