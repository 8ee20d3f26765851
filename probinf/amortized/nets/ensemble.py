"""Ensemble: flows trained side by side from one linear start, used as their equal mixture."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.amortized.nets.regression import Regression
from probinf.core.flows.flow import SplineFlow
from probinf.core.program import Key


class Ensemble(eqx.Module):
    """The equal mixture of flows of one structure: a normalised density again.

    Attributes:
        start: the linear-Gaussian answer; the flows see what it leaves over.
        flows: their arrays stacked along a leading axis.
        members: how many there are.
    """

    start: Regression
    flows: SplineFlow
    members: int = eqx.field(static=True)

    @classmethod
    def of(
        cls, key: Key, members: int, make: Callable[[Key], SplineFlow], start: Regression
    ) -> Ensemble:
        """Independent first weights for each member."""
        made = eqx.filter_jit(eqx.filter_vmap(make))(jax.random.split(key, members))
        return cls(start, made, members)

    def each(
        self, z: Float[Array, "members n d"], context: Float[Array, "members n c"]
    ) -> Float[Array, "members n"]:
        """Log densities of every member at its own points and contexts."""

        def of_one(flow: SplineFlow, z: Array, context: Array) -> Array:
            left, log_det = jax.vmap(self.start)(z, context)
            return jax.vmap(flow.log_density)(left, context) + log_det

        return eqx.filter_vmap(of_one)(self.flows, z, context)

    def log_density(self, z: Float[Array, " d"], context: Float[Array, " c"]) -> Float[Array, ""]:
        """Log density of the mixture."""
        left, log_det = self.start(z, context)
        found = eqx.filter_vmap(SplineFlow.log_density, in_axes=(0, None, None))(
            self.flows, left, context
        )
        return jax.scipy.special.logsumexp(found) - jnp.log(self.members) + log_det

    def draw(self, key: Key, context: Float[Array, " c"]) -> Float[Array, " d"]:
        """One exact draw: a member by chance, then a draw from it."""
        first, second = jax.random.split(key)
        member = jax.random.randint(first, (), 0, self.members)
        # Weights picked by draw would be copied for every draw of a batch; draws are not.
        every = eqx.filter_vmap(SplineFlow.draw, in_axes=(0, None, None))(
            self.flows, second, context
        )
        return self.start.inverse(every[member], context)
