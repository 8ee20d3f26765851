"""Networks of Equinox and Flax as embeddings."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.amortized.nets.embedding import Embedding
from probinf.errors import MissingPackageError, ModelError


def adapted(embedding: Any) -> Any:
    """An embedding as a training takes it.

    Raises:
        ModelError: nothing can be called with data.
    """
    if embedding is None or isinstance(embedding, Embedding):
        return embedding
    if any(c.__module__.startswith("flax.nnx") for c in type(embedding).__mro__):
        return from_flax(embedding)
    if isinstance(embedding, type) or not callable(embedding):
        raise ModelError(
            "NPE: embedding must be None, SetEmbedding(), SetTransformer(), CNN(), or an Equinox "
            f"or Flax NNX module, got {embedding!r}."
        )
    return embedding


class FlaxEmbedding(eqx.Module):
    """A Flax NNX module as an embedding: its parameters are trained with the flow.

    Attributes:
        state: parameters of the module.
        graph: its structure.
    """

    state: Any
    graph: Any = eqx.field(static=True)

    def __call__(self, value: Float[Array, "..."]) -> Float[Array, " c"]:
        from flax import nnx

        return nnx.merge(self.graph, self.state)(value)


def from_flax(module: Any) -> FlaxEmbedding:
    """A Flax NNX module as an Equinox one, which :class:`NPE` also does by itself.

    Args:
        module: takes one data set, standardised, in the shape of its site (a vector where
            there are several sites), and returns a vector.

    Raises:
        ModelError: it is no NNX module.
        MissingPackageError: the extra ``flax`` is not installed.
    """
    try:
        from flax import nnx
    except ImportError:
        raise MissingPackageError("from_flax needs Flax: pip install 'probinf[flax]'.") from None
    if not isinstance(module, nnx.Module):
        raise ModelError(
            f"from_flax: expected a flax.nnx.Module, got {type(module).__name__}. Wrap other "
            "networks in an equinox.Module."
        )
    graph, state = nnx.split(module)
    return FlaxEmbedding(jax.tree.map(jnp.asarray, state), graph)
