"""Embeddings of exchangeable data: a mean over the data, or attention among them."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.amortized.nets.attention import Dense, Transformer
from probinf.amortized.nets.embedding import Embedding, are_widths
from probinf.core.program import Key
from probinf.errors import ModelError


class DeepSet(eqx.Module):
    """Mean over the data of a network's outputs, then a second network; any number of data.

    Attributes:
        each: applied to every datum.
        means: takes the outputs of these to the numbers that are averaged; None averages them.
        pooled: applied to the mean and the logarithm of the number of data.
    """

    each: list[eqx.nn.Linear]
    means: eqx.nn.Linear | None
    pooled: list[eqx.nn.Linear]

    def __init__(
        self, key: Key, features: int, hidden: tuple[int, ...], size: int, means: int | None = None
    ) -> None:
        first, second = jax.random.split(key)
        self.each = _linears(first, (features, *hidden))
        self.means = None
        if means is not None:
            self.means = eqx.nn.Linear(hidden[-1], means, key=jax.random.fold_in(key, 2))
        self.pooled = _linears(second, (self.averaged + 1, *hidden, size))

    @property
    def averaged(self) -> int:
        """How many numbers of each datum are averaged."""
        return int((self.each[-1] if self.means is None else self.means).out_features)

    def __call__(self, rows: Float[Array, "n f"], mask: Bool[Array, " n"]) -> Float[Array, " c"]:
        count = jnp.maximum(jnp.sum(mask), 1)
        outputs = jax.vmap(self.one)(rows)
        mean = jnp.sum(jnp.where(mask[:, None], outputs, 0.0), axis=0) / count
        return _through(self.pooled, jnp.append(mean, jnp.log(count)), last=False)

    def one(self, row: Float[Array, " f"]) -> Float[Array, " k"]:
        """What is averaged: the embedding of one datum."""
        found = _through(self.each, row, last=True)
        return found if self.means is None else self.means(found)


def _linears(key: Key, sizes: tuple[int, ...]) -> list[eqx.nn.Linear]:
    keys = jax.random.split(key, len(sizes) - 1)
    return [eqx.nn.Linear(n, m, key=k) for n, m, k in zip(sizes, sizes[1:], keys, strict=False)]


def _through(layers: list[eqx.nn.Linear], x: Array, last: bool) -> Array:
    for k, layer in enumerate(layers):
        x = layer(x)
        x = jax.nn.silu(x) if last or k < len(layers) - 1 else x
    return x


@dataclasses.dataclass(frozen=True)
class SetEmbedding(Embedding):
    """For exchangeable data of any number: a permutation-invariant, mean-pooled network.

    Every observed site has the data along its leading axis. In training the number of data
    is drawn log-uniformly from one to the program's own, so that one network serves all.

    Args:
        hidden: widths of the networks.
        size: length of the summary.
        means: how many numbers of each datum are averaged: few, where their means are to be the
            summaries of sets of any size (:func:`for_sets`); by default the last of ``hidden``.

    Source: Zaheer et al. (2017).
    """

    kind: ClassVar[str] = "deep_set"
    sets: ClassVar[bool] = True

    hidden: tuple[int, ...] = (64, 64)
    size: int = 32
    means: int | None = None

    def __post_init__(self) -> None:
        given = (self.size,) if self.means is None else (self.size, self.means)
        if not (are_widths(self.hidden) and are_widths(given)):
            raise ModelError(
                f"SetEmbedding: widths, size and means are positive whole numbers, got {self}."
            )

    def build(self, key: Key, shape: tuple[int, ...]) -> DeepSet:
        """The untrained network for data of so many features."""
        return DeepSet(key, shape[0], self.hidden, self.size, self.means)


class AttentiveSet(eqx.Module):
    """Data that attend to each other, pooled by learned queries.

    Attributes:
        each: of every datum to its token.
        seeds: (k, width) the queries.
        transformer: symmetric in the data.
        last: of the pooled tokens and the logarithm of the number of data.
    """

    each: Dense
    seeds: Float[Array, "k width"]
    transformer: Transformer
    last: Dense

    def __call__(self, rows: Float[Array, "n f"], mask: Bool[Array, " n"]) -> Float[Array, " c"]:
        tokens = self.transformer(self.each(rows), mask, self.seeds)
        count = jnp.maximum(jnp.sum(mask), 1)
        return self.last(jnp.append(jnp.ravel(tokens), jnp.log(count)))


@dataclasses.dataclass(frozen=True)
class SetTransformer(Embedding):
    """For exchangeable data of any number whose relations matter: attention among the data.

    Permutation-invariant, as :class:`SetEmbedding`, at a cost quadratic in the number of data.

    Args:
        width: of the tokens.
        layers: of attention.
        heads: of each; they divide the width.
        seeds: learned queries that pool the data.
        size: length of the summary.

    Raises:
        ModelError: the heads do not divide the width.

    Source: Lee et al. (2019), "Set Transformer".
    """

    kind: ClassVar[str] = "set_transformer"
    sets: ClassVar[bool] = True

    width: int = 32
    layers: int = 2
    heads: int = 4
    seeds: int = 2
    size: int = 32

    def __post_init__(self) -> None:
        if not are_widths(dataclasses.astuple(self)) or self.width % self.heads:
            raise ModelError(
                "SetTransformer: options are positive whole numbers and heads divide the width, "
                f"got {self}."
            )

    def build(self, key: Key, shape: tuple[int, ...]) -> AttentiveSet:
        """The untrained network for data of so many features."""
        one, two, three, four = jax.random.split(key, 4)
        return AttentiveSet(
            Dense(shape[0], self.width, one),
            jax.random.normal(two, (self.seeds, self.width)),
            Transformer(self.width, self.layers, self.heads, 2 * self.width, three),
            Dense(self.seeds * self.width + 1, self.size, four),
        )
