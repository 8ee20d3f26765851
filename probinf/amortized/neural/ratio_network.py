"""RatioNetwork: parameters and data to a log ratio, and the contrastive loss that teaches it."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.embedding import Embedding
from probinf.amortized.nets.fixed import Fixed
from probinf.amortized.nets.regression import Regression
from probinf.amortized.nets.residual import Residual
from probinf.amortized.neural.base import Neural, rows_for, widened
from probinf.amortized.neural.familiar import Familiar
from probinf.amortized.neural.marginals import Marginals, Stretched
from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.neural.sources import Split
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.core.program import Key
from probinf.errors import StructureError


class GaussianRatio(Fixed):
    """The log ratio of a joint normal law of parameters and data: of linear models the answer.

    Attributes:
        given: regression of the parameters on the data.
        alone: the parameters without data.
    """

    given: Regression
    alone: Regression

    @classmethod
    def of(cls, theta: np.ndarray, data: np.ndarray) -> GaussianRatio:
        """From pairs (n, p), (n, d), of about unit scale."""
        return cls(Regression.of(theta, data), Regression.of(theta, np.zeros((len(theta), 0))))

    @classmethod
    def blank(cls, parameters: int, context: int) -> GaussianRatio:
        """One everywhere, for contexts that are not known before training."""
        return cls(Regression.blank(parameters, context), Regression.blank(parameters, 0))

    def __call__(self, theta: Float[Array, " p"], data: Float[Array, " c"]) -> Float[Array, ""]:
        given, log_det = self.given(theta, data)
        alone, log_det_alone = self.alone(theta, jnp.zeros(0))
        return log_det - log_det_alone - 0.5 * (jnp.sum(given**2) - jnp.sum(alone**2))


class RatioNetwork(eqx.Module):
    """log p(theta, data) - log p(theta) - log p(data), of parameters on the user's scale.

    Attributes:
        inputs: marginal maps of the parameters.
        targets: marginal maps of the data.
        start: the linear-Gaussian answer, to which networks add.
        embedding: network from data to context; None passes the data on.
        gains: (members,) shares of the start that are used.
        heads: networks stacked along a leading axis.
        familiar: the training data.
        prior: margins of the training prior.
        shape: of the data as the embedding takes them.
    """

    inputs: Stretched
    targets: Marginals
    start: GaussianRatio
    embedding: Any
    gains: Float[Array, " members"]
    heads: Residual
    familiar: Familiar
    prior: TrainedPrior
    shape: tuple[int, ...] = eqx.field(static=True)

    def log_ratio(self, theta: Float[Array, " p"], data: Float[Array, " d"]) -> Float[Array, ""]:
        """log p(data | theta) / p(data), where p(data) is that of the training."""
        found = self.each(self.scores(theta), self.context(data))
        return jax.scipy.special.logsumexp(found) - np.log(self.gains.shape[0])

    def log_weight(self, theta: Float[Array, " p"], data: Float[Array, " d"]) -> Float[Array, ""]:
        """What weighs the prior: the log ratio."""
        return self.log_ratio(theta, data)

    def each(
        self, scores: Float[Array, " p"], context: Float[Array, " c"]
    ) -> Float[Array, " members"]:
        """The log ratio of every member."""
        gaussian = self.start(scores, context)
        ranks = (jax.scipy.special.ndtr(scores) - 0.5) * np.sqrt(12)
        whole = jnp.concatenate([scores, ranks, context])
        return self.gains * gaussian + eqx.filter_vmap(lambda head: head(whole))(self.heads)

    def scores(self, theta: Float[Array, " p"]) -> Float[Array, " p"]:
        """Normal scores of the parameters, extremes drawn in."""
        return widened(self.inputs(theta))

    def context(self, data: Float[Array, " d"]) -> Float[Array, " c"]:
        """What the networks see of the data."""
        z = widened(self.targets(data)[0])
        return z if self.embedding is None else jnp.ravel(self.embedding(z.reshape(self.shape)))


def ratio_network(
    method: Neural,
    embedding: Any,
    key: Key,
    inputs: Stretched,
    targets: Marginals,
    sites: Sites,
    prior: TrainedPrior,
    *,
    calibrated: int = 1,
) -> RatioNetwork:
    """An untrained network, for whatever context the embedding returns.

    Raises:
        StructureError: the embedding returns no array.
    """
    first, second = jax.random.split(key)
    shape = sites.shapes[0] if len(sites.shapes) == 1 else (sites.size,)
    context, parameters = sites.size, inputs.marginals.centre.shape[0]
    if embedding is not None:
        if isinstance(embedding, Embedding):
            embedding = embedding.build(first, shape)
        out = eqx.filter_eval_shape(embedding, jnp.zeros(shape))
        if not hasattr(out, "shape"):
            raise StructureError(f"NRE: the embedding must return an array, got {out}.")
        context = int(np.prod(out.shape))
    make = eqx.filter_vmap(lambda k: Residual(k, 2 * parameters + context, method.hidden))
    heads = eqx.filter_jit(make)(jax.random.split(second, method.members))
    start = GaussianRatio.blank(parameters, context)
    familiar = Familiar.blank(sites.size, sites.size, calibrated)
    gains = jnp.ones(method.members)
    return RatioNetwork(inputs, targets, start, embedding, gains, heads, familiar, prior, shape)


@dataclasses.dataclass(frozen=True)
class RatioLoss:
    """Cross entropy of telling which parameters made the data, or none of them did.

    Every data set of a batch is asked twice: among parameters that other data sets were made
    from, none is right; with its own in place of the last, that one is. Without the first
    question a ratio is learned up to a factor for each data set. Parameters at which a
    simulation failed are among the others and never right, so that failures count as evidence.

    Source: Miller, Weniger & Forré (2022), "Contrastive neural ratio estimation", eq. 10-11.
    """

    sites: Sites
    parameters: Parameters
    rows: int
    contrasts: int
    gamma: float
    held: bool = False

    def __call__(self, model: RatioNetwork, data: Split, key: Key) -> Float[Array, ""]:
        found = rows_for(
            data, key, self.sites, self.parameters, members=1, rows=self.rows, held=self.held
        )
        values, y, worked = (v[0] for v in (found.values, found.data, found.worked))
        scores, context = jax.vmap(model.scores)(values), jax.vmap(model.context)(y)
        count = len(scores)

        def against(shift: Array) -> Float[Array, "rows members"]:
            others = scores[(jnp.arange(count) + shift) % count]
            return jax.vmap(model.each)(others, context)

        own = against(jnp.asarray(0))
        others = jax.vmap(against)(1 + jnp.arange(self.contrasts))
        return -jnp.sum(self.answers(own, others, self.gamma, worked))

    @staticmethod
    def answers(
        own: Float[Array, "n m"], others: Float[Array, "k n m"], gamma: float, worked: Array
    ) -> Float[Array, " m"]:
        """Mean log probability of the right answers, by member."""
        k = others.shape[0]
        room = jnp.full((1, *own.shape), jnp.log(k / gamma))
        none = jax.scipy.special.logsumexp(jnp.concatenate([room, others]), axis=0)
        among = jnp.concatenate([room, own[None], others[:-1]])
        one = jax.scipy.special.logsumexp(among, axis=0)
        each = (room[0] - none + gamma * (own - one)) / (1 + gamma)
        kept = jnp.where(worked[:, None], each, 0.0)
        return jnp.sum(kept, axis=0) / jnp.maximum(jnp.sum(worked), 1)
