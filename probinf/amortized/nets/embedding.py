"""Embeddings: networks that turn a data set into the context of a flow."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.core.program import Key
from probinf.errors import MissingPackageError, ModelError


class DeepSet(eqx.Module):
    """Mean over the data of a network's outputs, then a second network; any number of data.

    Attributes:
        each: applied to every datum.
        pooled: applied to the mean and the logarithm of the number of data.
    """

    each: list[eqx.nn.Linear]
    pooled: list[eqx.nn.Linear]

    def __init__(self, key: Key, features: int, hidden: tuple[int, ...], size: int) -> None:
        first, second = jax.random.split(key)
        self.each = _linears(first, (features, *hidden))
        self.pooled = _linears(second, (hidden[-1] + 1, *hidden, size))

    def __call__(self, rows: Float[Array, "n f"], mask: Bool[Array, " n"]) -> Float[Array, " c"]:
        count = jnp.maximum(jnp.sum(mask), 1)
        outputs = jax.vmap(lambda row: _through(self.each, row, last=True))(rows)
        mean = jnp.sum(jnp.where(mask[:, None], outputs, 0.0), axis=0) / count
        return _through(self.pooled, jnp.append(mean, jnp.log(count)), last=False)


def _linears(key: Key, sizes: tuple[int, ...]) -> list[eqx.nn.Linear]:
    keys = jax.random.split(key, len(sizes) - 1)
    return [eqx.nn.Linear(n, m, key=k) for n, m, k in zip(sizes, sizes[1:], keys, strict=False)]


def _through(layers: list[eqx.nn.Linear], x: Array, last: bool) -> Array:
    for k, layer in enumerate(layers):
        x = layer(x)
        x = jax.nn.silu(x) if last or k < len(layers) - 1 else x
    return x


@dataclasses.dataclass(frozen=True)
class SetEmbedding:
    """For exchangeable data of any number: a permutation-invariant, mean-pooled network.

    Every observed site has the data along its leading axis. In training the number of data
    is drawn log-uniformly from one to the program's own, so that one network serves all.

    Args:
        hidden: widths of the networks.
        size: length of the summary.

    Source: Zaheer et al. (2017).
    """

    hidden: tuple[int, ...] = (64, 64)
    size: int = 32

    def build(self, key: Key, features: int) -> DeepSet:
        """The untrained network for data of so many features."""
        return DeepSet(key, features, self.hidden, self.size)


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
    """A Flax NNX module for the ``embedding`` of :class:`NPE`.

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
