"""LikelihoodNetwork: parameters to context to a flow over the data, and its loss."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.neural.base import Neural, Split, rows_for, widened
from probinf.amortized.neural.familiar import Familiar
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.simulations import Sites
from probinf.core.program import Key


class LikelihoodNetwork(eqx.Module):
    """Parameters to context to a flow over the data.

    Attributes:
        inputs: marginal maps of the unconstrained parameters.
        targets: maps of the data, straight for values of both signs; counts spread over unit cells.
        flows: density of the mapped data given the parameters.
        familiar: the training data.
    """

    inputs: Marginals
    targets: Marginals
    flows: Ensemble
    familiar: Familiar

    @property
    def coordinates(self) -> int:
        """Number of unconstrained parameters."""
        return int(self.inputs.centre.shape[0])

    def log_likelihood(
        self, theta: Float[Array, " p"], data: Float[Array, " d"]
    ) -> Float[Array, ""]:
        """log q(data | theta)."""
        z, log_det = self.targets(data)
        return self.flows.log_density(z, self.context(theta)) + log_det

    def context(self, theta: Float[Array, " p"]) -> Float[Array, " c"]:
        """Parameters on two scales: normal scores, and ranks, which end where a support ends.

        What is a polynomial of a bounded parameter is hard to learn from its normal score alone.
        """
        scores = self.inputs(theta)[0]
        ranks = jax.scipy.special.ndtr(scores)
        return jnp.concatenate([widened(scores), (ranks - 0.5) * np.sqrt(12)])


def likelihood_network(
    method: Neural, key: Key, inputs: Marginals, targets: Marginals
) -> LikelihoodNetwork:
    """An untrained network."""
    size = targets.centre.shape[0]
    flows = method.flows(key, size=size, context=2 * inputs.centre.shape[0])
    return LikelihoodNetwork(inputs, targets, flows, Familiar.blank(size))


@dataclasses.dataclass(frozen=True)
class LikelihoodLoss:
    """Mean of -log q(data | theta) over a batch, summed over the members."""

    sites: Sites
    rows: int
    held: bool = False

    def __call__(self, model: LikelihoodNetwork, data: Split, key: Key) -> Float[Array, ""]:
        members = model.flows.members
        first, second = jax.random.split(key)
        theta, y = rows_for(
            data, first, self.sites, members=members, rows=self.rows, held=self.held
        )
        y = y + self.sites.counts * (jax.random.uniform(second, y.shape) - 0.5)
        z, log_det = jax.vmap(jax.vmap(model.targets))(y)
        context = jax.vmap(jax.vmap(model.context))(theta)
        log_q = model.flows.each(z, context)
        return -jnp.sum(jnp.mean(log_q + log_det, axis=1))
