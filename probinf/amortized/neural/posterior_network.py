"""PosteriorNetwork: data to context to a flow over the parameters, and its loss."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.embedding import Embedding, takes_sets
from probinf.amortized.nets.ensemble import Ensemble
from probinf.amortized.neural.base import Flows, rows_for, widened
from probinf.amortized.neural.familiar import Familiar, Familiarity
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.simulations import Sites
from probinf.amortized.neural.sources import Split
from probinf.amortized.neural.trained_prior import TrainedPrior
from probinf.core.program import Key
from probinf.errors import StructureError


class PosteriorNetwork(eqx.Module):
    """Data to context to flow.

    Attributes:
        inputs: marginal maps of the data (of one datum, for sets).
        targets: marginal maps of the unconstrained parameters.
        embedding: network from data to context; None passes the data on.
        flows: density of the mapped parameters given the context.
        familiar: the training summaries.
        prior: margins of the training prior.
        lacked: by entry of the data, whether it was missing in some of the training data; None
            where data are complete.
    """

    inputs: Marginals
    targets: Marginals
    embedding: Any
    flows: Ensemble
    familiar: Familiar
    prior: TrainedPrior
    lacked: tuple[bool, ...] | None = eqx.field(static=True, default=None)

    @property
    def coordinates(self) -> int:
        """Number of unconstrained parameters."""
        return int(self.targets.centre.shape[0])

    def scores(self, data: Float[Array, " d"]) -> Float[Array, " d"]:
        """Normal scores of one data set or datum, 0 where an entry is missing (NaN)."""
        if self.lacked is None:
            return self.inputs(data)[0]
        here = jnp.isfinite(data)
        return jnp.where(here, self.inputs(jnp.where(here, data, self.inputs.centre))[0], 0.0)

    def context(self, data: Array, sites: Sites, kept: Array | None = None) -> Float[Array, " c"]:
        """The flow's context: data as a vector, or rows where ``kept`` says which count."""
        if kept is not None:
            rows = jax.vmap(lambda row: widened(self.scores(row)))(data)
            if self.lacked is not None:  # a datum that lacks something is left out
                kept = kept & jnp.isfinite(data).all(axis=-1)
            return self.embedding(rows, kept)
        z = widened(self.scores(data))
        if self.lacked is not None:
            z = jnp.concatenate([z, jnp.where(jnp.isfinite(data), 0.0, 1.0)])
        if self.embedding is None:
            return z
        one = len(sites.shapes) == 1
        return jnp.ravel(self.embedding(z.reshape(sites.shapes[0]) if one else z))


class Conditioned(NamedTuple):
    """The dynamic part of a learned posterior given data."""

    flows: Ensemble
    targets: Marginals
    context: Float[Array, " c"]
    familiarity: Familiarity

    def sample(self, key: Key) -> Float[Array, " p"]:
        """One draw of the unconstrained parameters."""
        return self.targets.inverse(self.flows.draw(key, self.context))

    def log_density(self, x: Float[Array, " p"]) -> Float[Array, ""]:
        """Log density of unconstrained parameters."""
        z, log_det = self.targets(x)
        return self.flows.log_density(z, self.context) + log_det


def posterior_network(
    method: Flows,
    embedding: Any,
    keys: tuple[Key, Key],
    inputs: Marginals,
    targets: Marginals,
    sites: Sites,
    prior: TrainedPrior,
    *,
    lacked: tuple[bool, ...] | None = None,
    calibrated: int = 1,
) -> PosteriorNetwork:
    """An untrained network, for whatever context the embedding returns.

    Raises:
        StructureError: the embedding returns no array.
    """
    if takes_sets(embedding):
        context = embedding.size
        embedding = embedding.build(keys[0], (inputs.centre.shape[0],))
    elif embedding is None:
        context = sites.size * (1 if lacked is None else 2)
    else:
        shape = sites.shapes[0] if len(sites.shapes) == 1 else (sites.size,)
        if isinstance(embedding, Embedding):
            embedding = embedding.build(keys[0], shape)
        out = eqx.filter_eval_shape(embedding, jnp.zeros(shape))
        if not hasattr(out, "shape"):
            raise StructureError(f"NPE: the embedding must return an array, got {out}.")
        context = int(np.prod(out.shape))
    flows = method.flows(keys[1], size=targets.centre.shape[0], context=context)
    familiar = Familiar.blank(context, inputs.centre.shape[0], calibrated)
    return PosteriorNetwork(inputs, targets, embedding, flows, familiar, prior, lacked)


@dataclasses.dataclass(frozen=True)
class PosteriorLoss:
    """Mean of -log q(theta | data) over a batch, summed over the members."""

    sites: Sites
    rows: int
    sets: bool
    held: bool = False

    def __call__(self, model: PosteriorNetwork, data: Split, key: Key) -> Float[Array, ""]:
        members = model.flows.members
        first, second = jax.random.split(key)
        found = rows_for(data, first, self.sites, members=members, rows=self.rows, held=self.held)
        theta, y, worked = found.theta, found.data, found.worked
        z = jax.vmap(jax.vmap(lambda t: model.targets(t)[0]))(theta)
        if self.sets:
            n = self.sites.shapes[0][0]
            u = jax.random.uniform(second, theta.shape[:2])
            count = jnp.floor(jnp.exp(u * jnp.log(n + 1.0)))
            kept = jnp.arange(n) < count[..., None]
            context = jax.vmap(
                jax.vmap(lambda v, k: model.context(self.sites.as_rows(v), self.sites, k))
            )(y, kept)
        else:
            context = jax.vmap(jax.vmap(lambda v: model.context(v, self.sites)))(y)
        log_q = model.flows.each(z, context)
        # over the simulations that did not fail
        each = jnp.sum(jnp.where(worked, log_q, 0.0), axis=1)
        return -jnp.sum(each / jnp.maximum(jnp.sum(worked, axis=1), 1))
