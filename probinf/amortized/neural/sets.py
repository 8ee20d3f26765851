"""FittedSets: an encoder trained on sets of one and two, its head on pooled embeddings of many."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.embedding import takes_sets
from probinf.amortized.nets.fixed import Fixed
from probinf.amortized.nets.set_embeddings import DeepSet
from probinf.amortized.neural.base import require_count, widened
from probinf.amortized.neural.familiar import SUMMARY
from probinf.amortized.neural.marginals import Marginals
from probinf.amortized.neural.npe import NPE, FittedNPE
from probinf.amortized.neural.simulations import Simulated, Sites, warn_failed
from probinf.amortized.neural.sources import Pairs
from probinf.amortized.training.options import Options, Training
from probinf.core.batches import mapped
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, vector_of
from probinf.core.host.asking import asks
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import ObservationError, RangeError, StructureError, TrainingError

_BATCH = 64  # sets at a time
_FLOOR = 1e-6  # of the largest eigenvalue
_MOST_LOST = 0.1


class Encoder(Fixed):
    """What is kept of a set: the mean of the embeddings of its data, and how many there are.

    Attributes:
        inputs: marginal maps of one datum.
        embedding: whose network of each datum is used.
        mean: (k,) of the pooled embeddings.
        white: (k, k) whitens them.
    """

    inputs: Marginals
    embedding: DeepSet
    mean: Float[Array, " k"]
    white: Float[Array, "k k"]

    def each(self, row: Float[Array, " f"]) -> Float[Array, " k"]:
        """The embedding of one datum."""
        return self.embedding.one(widened(self.inputs(row)[0]))

    def summary(self, pooled: Float[Array, " k"], count: Array) -> Float[Array, " c"]:
        """Whitened means and the logarithm of the number of data."""
        return jnp.append(self.white @ (pooled - self.mean), jnp.log(count))

    def __call__(self, rows: Float[Array, "n f"]) -> Float[Array, " c"]:
        """The summary of a set of any size."""
        return self.summary(jnp.mean(jax.vmap(self.each)(rows), axis=0), jnp.asarray(len(rows)))


@partial(jitted, static=("sites", "sizes"))
def _pooled(
    keys: Key, flat: Program, encoder: Encoder, sites: Sites, sizes: tuple[int, int]
) -> tuple[Array, Array, Array, Array]:
    """Parameters, mean embeddings and sizes of simulated sets, and whether they worked."""

    def one(key: Key) -> tuple[Array, Array, Array, Array]:
        first, second, third = jax.random.split(key, 3)
        x = flat.draw(first, flat.data)
        assert flat.simulate is not None
        simulated = flat.simulate(second, x, flat.data)
        data = jnp.concatenate([jnp.ravel(simulated[n]).astype(float) for n in sites.names])
        low, high = (np.log(float(v)) for v in (sizes[0], sizes[1] + 1))
        u = jax.random.uniform(third)
        count = jnp.clip(jnp.floor(jnp.exp(low + u * (high - low))), *sizes)
        each = jax.vmap(encoder.each)(sites.as_rows(data))
        kept = jnp.arange(len(each)) < count
        mean = jnp.sum(jnp.where(kept[:, None], each, 0.0), axis=0) / count
        theta = vector_of(x)
        worked = jnp.isfinite(data).all() & jnp.isfinite(theta).all() & jnp.isfinite(mean).all()
        return theta, jnp.where(worked, mean, 0.0), count, worked

    return mapped(one, keys, _BATCH)


def for_sets(
    fitted: FittedNPE,
    program: Program,
    *,
    key: int | Key,
    smallest: int = 1,
    simulations: int = 50_000,
    head: NPE | None = None,
    training: Training | None = None,
    **options: Unpack[Options],
) -> FittedSets:
    """The encoder of a network for small sets, with a head trained on pooled embeddings of large.

    Train an NPE with a SetEmbedding on a program of two data: pairs are enough for a pooled encoder
    to keep what is sufficient at any number, shared nuisances included. Here sets of a program
    of many are simulated, of each only the mean embedding is kept, and a new head learns from
    these: no gradient passes through large sets, and the head's cost does not grow with them.

    Args:
        fitted: the network for small sets.
        program: the same model with the largest number of data.
        key: random key or seed.
        smallest: number of data; sizes are drawn log-uniformly from here to the largest.
        simulations: sets; a head that has seen too few is the first thing that limits the answer.
        head: an NPE without an embedding, whose flow is the head; ``NPE(layers=3)`` by default.
        training: as in :meth:`NPE.fit`.
        **options: fields of :class:`Training`.

    Raises:
        StructureError: the network has no SetEmbedding, or data are of another shape.
        TrainingError: an option is out of range, or too many simulations fail.

    Source: "It just takes two: scaling amortized inference to large sets" (2026).
    """
    embedding = fitted.network.embedding
    if not takes_sets(fitted.options.embedding) or not isinstance(embedding, DeepSet):
        raise StructureError(
            "for_sets: the network must have a SetEmbedding, which pools its data by their mean. "
            "Train NPE(embedding=SetEmbedding()) on a program of two data."
        )
    if fitted.network.lacked is not None:
        raise StructureError("for_sets: the network was trained with missing data.")
    if asks(program.data):
        raise TrainingError(
            "for_sets: sets are simulated inside compiled code, which a simulator in ordinary "
            "Python cannot join."
        )
    sites = Sites.of(program)
    shapes = tuple((s[1:], t[1:]) for s, t in zip(sites.shapes, fitted.sites.shapes, strict=False))
    if sites.names != fitted.sites.names or any(s != t for s, t in shapes):
        raise StructureError(
            f"for_sets: the program observes {dict(zip(sites.names, sites.shapes, strict=True))}, "
            "the network learned one datum of "
            f"{dict(zip(fitted.sites.names, fitted.sites.shapes, strict=True))}."
        )
    largest = sites.shapes[0][0]
    require_count("for_sets", "smallest", smallest, 1)
    if smallest > largest:
        raise TrainingError(
            f"for_sets: smallest must lie between 1 and the {largest} data of the program, got "
            f"{smallest}."
        )
    require_count("for_sets", "simulations", simulations, 200)
    first, second = jax.random.split(as_key(key))
    k = embedding.averaged
    encoder = Encoder(fitted.network.inputs, embedding, jnp.zeros(k), jnp.eye(k))
    flat, _ = flatten(program)
    keys = jax.random.split(first, simulations)
    found = _pooled(keys, flat, encoder, sites, (smallest, largest))
    theta, pooled, count, worked = (np.asarray(v) for v in found)
    if (lost := int((~worked).sum())) > _MOST_LOST * simulations:
        raise TrainingError(f"for_sets: {lost} of {simulations} simulated sets hold NaN.")
    encoder = eqx.tree_at(
        lambda e: (e.mean, e.white), encoder, _whitening(pooled[worked].astype(float))
    )
    data = np.asarray(jax.vmap(encoder.summary)(jnp.asarray(pooled), jnp.asarray(count)))
    simulated = Simulated(theta, np.zeros((simulations, 0)), data, worked)
    warn_failed(simulated, "the posterior learned here counts it so.")
    summary = Sites(SUMMARY, ((data.shape[1],),), (False,))
    method = NPE(layers=3) if head is None else head
    if method.embedding is not None:
        raise TrainingError("for_sets: head= is an NPE without an embedding, which is there.")
    source = Pairs(program, summary, simulated, told={"sizes": [smallest, largest]})
    learned = method.fit(source, key=second, training=training, **options)
    return FittedSets(encoder, learned, sites, (smallest, largest))


def _whitening(pooled: np.ndarray) -> tuple[Array, Array]:
    mean, covariance = pooled.mean(axis=0), np.atleast_2d(np.cov(pooled.T))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, _FLOOR * values.max())
    return jnp.asarray(mean, float), jnp.asarray((vectors / np.sqrt(values)).T, float)


class FittedSets(eqx.Module):
    """A learned posterior for exchangeable data of any number in a range.

    Attributes:
        encoder: from a set to its summary.
        head: from the summary to the posterior.
        sites: the observed sites, of the largest sets.
        sizes: the smallest and the largest number of data.
    """

    encoder: Encoder
    head: FittedNPE
    sites: Sites = eqx.field(static=True)
    sizes: tuple[int, int] = eqx.field(static=True)

    def posterior(self, observed: Any, *, program: Program | None = None) -> Program:
        """The learned posterior given a set, as a program with weight one.

        Args:
            observed: the data along the leading axis of every site.
            program: what the coordinates belong to; by default that of the training.

        Raises:
            ObservationError: a shape or name is wrong, or a value is not finite.
            RangeError: there are fewer or more data than in training.
        """
        rows = self.sites.rows(observed)
        if not len(rows):
            raise ObservationError("posterior: there are no data.")
        low, high = self.sizes
        if not low <= len(rows) <= high:
            raise RangeError(
                f"posterior: {len(rows)} data, trained on {low} to {high}. Adapt the network with "
                "for_sets(program, smallest=...) to a program of as many."
            )
        return self.head.posterior(self.encoder(rows), program=program)
