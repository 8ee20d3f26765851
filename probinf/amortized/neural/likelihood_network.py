"""LikelihoodNetwork: parameters to context to a flow over the data, and its loss."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.neural.base import Flows, rows_for, widened
from probinf.amortized.neural.cells import cell
from probinf.amortized.neural.familiar import Familiar
from probinf.amortized.neural.marginals import Marginals, Stretched
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.neural.sources import Split
from probinf.amortized.neural.success import Success
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.core.program import Key


class LikelihoodNetwork(eqx.Module):
    """Parameters on the user's scale to context to a flow over the data.

    Attributes:
        inputs: marginal maps of the parameters.
        targets: maps of the data, straight for values of both signs; counts spread over unit cells.
        flows: density of the mapped data given the parameters.
        familiar: the training data.
        prior: margins of the training prior.
        success: probability that a simulation does not fail; None where none did.
        counts: which of the data are counts.
    """

    inputs: Stretched
    targets: Marginals
    flows: Ensemble
    familiar: Familiar
    prior: TrainedPrior
    success: Success | None
    counts: tuple[bool, ...] = eqx.field(static=True)

    def log_likelihood(
        self, theta: Float[Array, " p"], data: Float[Array, " d"]
    ) -> Float[Array, ""]:
        """log q(data | theta), of counts the probability; that of a success is included."""
        context = self.context(theta)
        points = jnp.asarray(cell(self.counts), data.dtype)
        each = jax.vmap(lambda point: self.log_density(context, data + point))(points)
        found = jax.scipy.special.logsumexp(each) - np.log(len(points))
        return found if self.success is None else found + self.success(context)

    def log_weight(self, theta: Float[Array, " p"], data: Float[Array, " d"]) -> Float[Array, ""]:
        """What weighs the prior: the log likelihood."""
        return self.log_likelihood(theta, data)

    def log_density(
        self, context: Float[Array, " c"], data: Float[Array, " d"]
    ) -> Float[Array, ""]:
        """Log density of data, counts spread over their cells, given a context."""
        z, log_det = self.targets(data)
        return self.flows.log_density(z, context) + log_det

    def context(self, theta: Float[Array, " p"]) -> Float[Array, " c"]:
        """Parameters on two scales: normal scores, and ranks, which end where a support ends.

        What is a polynomial of a bounded parameter is hard to learn from its normal score alone.
        """
        scores = self.inputs(theta)
        ranks = jax.scipy.special.ndtr(scores)
        return jnp.concatenate([widened(scores), (ranks - 0.5) * np.sqrt(12)])


def likelihood_network(
    method: Flows,
    key: Key,
    inputs: Stretched,
    targets: Marginals,
    sites: Sites,
    prior: TrainedPrior,
    failures: bool,
    calibrated: int = 1,
) -> LikelihoodNetwork:
    """An untrained network."""
    context = 2 * inputs.marginals.centre.shape[0]
    flows = method.flows(key, size=sites.size, context=context)
    success = Success.blank(context) if failures else None
    counts = tuple(bool(v) for v in sites.counts)
    familiar = Familiar.blank(sites.size, sites.size, calibrated)
    return LikelihoodNetwork(inputs, targets, flows, familiar, prior, success, counts)


@dataclasses.dataclass(frozen=True)
class LikelihoodLoss:
    """Mean of -log q(data | theta) over a batch, summed over the members."""

    sites: Sites
    parameters: Parameters
    rows: int
    held: bool = False

    def __call__(self, model: LikelihoodNetwork, data: Split, key: Key) -> Float[Array, ""]:
        members = model.flows.members
        first, second = jax.random.split(key)
        found = rows_for(
            data, first, self.sites, self.parameters,
            members=members, rows=self.rows, held=self.held,
        )  # fmt: skip
        y, worked = found.data, found.worked
        y = y + self.sites.counts * (jax.random.uniform(second, y.shape) - 0.5)
        z, log_det = jax.vmap(jax.vmap(model.targets))(y)
        context = jax.vmap(jax.vmap(model.context))(found.values)
        log_q = model.flows.each(z, context) + log_det
        # over the simulations that did not fail
        each = jnp.sum(jnp.where(worked, log_q, 0.0), axis=1)
        return -jnp.sum(each / jnp.maximum(jnp.sum(worked, axis=1), 1))
