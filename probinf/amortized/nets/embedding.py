"""Embeddings: networks that turn a data set into the context of a flow."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.amortized.nets.attention import Dense, Transformer
from probinf.core.program import Key
from probinf.errors import MissingPackageError, ModelError, StructureError


class Embedding(abc.ABC):
    """Options of an embedding; a frozen record, from which a file rebuilds its network.

    Attributes:
        kind: its name in files.
        sets: whether it takes exchangeable data of any number, with a mask.
    """

    kind: ClassVar[str]
    sets: ClassVar[bool] = False
    size: int

    @abc.abstractmethod
    def build(self, key: Key, shape: tuple[int, ...]) -> Any:
        """The untrained network for one data set (or one datum, for sets) of this shape."""

    def stored(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @staticmethod
    def restored(stored: dict[str, Any]) -> Embedding:
        """From JSON values."""
        options: dict[str, Any] = dict(stored)
        cls: Any = {c.kind: c for c in (SetEmbedding, SetTransformer, CNN)}[options.pop("kind")]
        found: Embedding = cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        )
        return found


def _widths(values: object) -> bool:
    """Whether these are a sequence of positive whole numbers, at least one."""
    return (
        isinstance(values, Sequence)
        and len(values) > 0
        and all(isinstance(v, int | np.integer) and v >= 1 for v in values)
    )


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
        if not (_widths(self.hidden) and _widths(given)):
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
        if not _widths(dataclasses.astuple(self)) or self.width % self.heads:
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


class Convolutions(eqx.Module):
    """Convolutions that halve the resolution, a coarse grid of means, an affine map.

    Attributes:
        layers: the convolutions.
        pool: means over a grid of at most four cells along each axis.
        last: to the summary.
        axes: along which it convolves.
    """

    layers: list[Any]
    pool: Any
    last: eqx.nn.Linear
    axes: int = eqx.field(static=True)

    def __call__(self, value: Float[Array, "..."]) -> Float[Array, " c"]:
        x = value if value.ndim > self.axes else value[..., None]
        x = jnp.moveaxis(x, -1, 0)
        for layer in self.layers:
            x = jax.nn.silu(layer(x))
        return self.last(jnp.ravel(self.pool(x)))


@dataclasses.dataclass(frozen=True)
class CNN(Embedding):
    """For sequences and images: convolutions along one or two axes, channels along the last.

    Args:
        axes: 1 for sequences, of shape (n,) or (n, channels); 2 for images, (n, m) or
            (n, m, channels).
        channels: of each convolution; each halves the resolution.
        kernel: width of the convolutions, an odd number.
        size: length of the summary.

    Raises:
        ModelError: an option is out of range.
    """

    kind: ClassVar[str] = "cnn"

    axes: int = 1
    channels: tuple[int, ...] = (16, 32)
    kernel: int = 5
    size: int = 32

    def __post_init__(self) -> None:
        counts = _widths(self.channels) and _widths((self.kernel, self.size))
        if self.axes not in (1, 2) or not counts or self.kernel % 2 == 0:
            raise ModelError(
                "CNN: axes must be 1 or 2, kernel odd, channels and size positive whole numbers, "
                f"got axes={self.axes}, kernel={self.kernel}, channels={self.channels}, "
                f"size={self.size}."
            )

    def build(self, key: Key, shape: tuple[int, ...]) -> Convolutions:
        """The untrained network.

        Raises:
            StructureError: data of this shape have no such axes.
        """
        if len(shape) not in (self.axes, self.axes + 1):
            raise StructureError(
                f"CNN(axes={self.axes}) takes data with {self.axes} axes, and one of channels if "
                f"there are any; the observed site has shape {shape}."
            )
        sizes = shape[: self.axes]
        inputs = shape[self.axes] if len(shape) > self.axes else 1
        keys = jax.random.split(key, len(self.channels) + 1)
        convolution = eqx.nn.Conv1d if self.axes == 1 else eqx.nn.Conv2d
        layers = []
        for k, outputs in enumerate(self.channels):
            layers.append(
                convolution(inputs, outputs, self.kernel, 2, self.kernel // 2, key=keys[k])
            )
            inputs, sizes = outputs, tuple((n + 1) // 2 for n in sizes)
        cells = tuple(min(4, n) for n in sizes)
        if self.axes == 1:
            pool: Any = eqx.nn.AdaptiveAvgPool1d(cells[0])
        else:
            pool = eqx.nn.AdaptiveAvgPool2d(cells)
        last = eqx.nn.Linear(inputs * int(np.prod(cells)), self.size, key=keys[-1])
        return Convolutions(layers, pool, last, self.axes)


def takes_sets(embedding: Any) -> bool:
    """Whether an embedding takes exchangeable data of any number."""
    return isinstance(embedding, Embedding) and embedding.sets


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
