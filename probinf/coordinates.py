"""Flat coordinates: every engine moves one vector, with random-key coordinates kept beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.errors import StructureError
from probinf.program import Data, Key, Position, Program, Score


class Mixed(NamedTuple):
    """A position with random keys: the floating-point part as one vector, the keys as they are.

    Attributes:
        vector: (d,) or with leading axes.
        keys: typed keys, or their data on the way to the host.
    """

    vector: Any
    keys: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a position tree lies in a flat vector; compared by value, so usable as static.

    Attributes:
        treedef: structure of the position.
        shapes: shape of every leaf; leaves that are random keys have ``is_key`` True.
        is_key: per leaf.
        dtype: of the vector.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    is_key: tuple[bool, ...]
    dtype: Any

    @classmethod
    def of(cls, program: Program) -> Layout:
        """The layout of ``program``'s positions.

        Raises:
            StructureError: a coordinate is neither floating point nor a random key.
        """
        leaves, treedef = jax.tree_util.tree_flatten_with_path(program.template())
        is_key = tuple(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for _, leaf in leaves)
        for (path, leaf), key in zip(leaves, is_key, strict=True):
            if not key and not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise StructureError(
                    f"coordinate {jax.tree_util.keystr(path)} has dtype {leaf.dtype}; a position "
                    "holds floating-point arrays and random keys only."
                )
        floats = [leaf.dtype for (_, leaf), key in zip(leaves, is_key, strict=True) if not key]
        dtype = jnp.result_type(*floats) if floats else jnp.result_type(float)
        return cls(treedef, tuple(leaf.shape for _, leaf in leaves), is_key, dtype)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(_size(s) for s, key in zip(self.shapes, self.is_key, strict=True) if not key)

    @property
    def has_keys(self) -> bool:
        """Whether a coordinate is a random key, so that gradients do not exist."""
        return any(self.is_key)

    def ravel(self, x: Position) -> Float[Array, " d"] | Mixed:
        """Position tree to vector (or ``Mixed``)."""
        leaves = jax.tree.leaves(x)
        floats = [
            jnp.ravel(leaf).astype(self.dtype)
            for leaf, key in zip(leaves, self.is_key, strict=True)
            if not key
        ]
        vector = jnp.concatenate(floats) if floats else jnp.zeros((0,), self.dtype)
        keys = tuple(leaf for leaf, key in zip(leaves, self.is_key, strict=True) if key)
        return Mixed(vector, keys) if keys else vector

    def unravel(self, flat: Float[Array, " d"] | Mixed) -> Position:
        """Vector (or ``Mixed``) back to the position tree."""
        vector, keys = (flat.vector, list(flat.keys)) if isinstance(flat, Mixed) else (flat, [])
        leaves, first = [], 0
        for shape, key in zip(self.shapes, self.is_key, strict=True):
            if key:
                leaves.append(keys.pop(0))
            else:
                size = _size(shape)
                leaves.append(vector[first : first + size].reshape(shape))
                first += size
        return jax.tree.unflatten(self.treedef, leaves)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def vector_of(position: Any) -> Any:
    """The floating-point part of a flat position, or of many with leading axes."""
    return position.vector if isinstance(position, Mixed) else position


@dataclasses.dataclass(frozen=True)
class _Ravelled:
    fn: Callable[[Key, Data], Position]
    layout: Layout

    def __call__(self, key: Key, data: Data) -> Float[Array, " d"] | Mixed:
        return self.layout.ravel(self.fn(key, data))


@dataclasses.dataclass(frozen=True)
class _Unravelled:
    fn: Callable[..., Any]
    layout: Layout

    def __call__(self, *args: Any) -> Any:
        *head, flat, data = args
        return self.fn(*head, self.layout.unravel(flat), data)


@dataclasses.dataclass(frozen=True)
class _FlatScore:
    fn: Callable[[Position, Data], Score]
    layout: Layout

    def __call__(self, flat: Float[Array, " d"] | Mixed, data: Data) -> Score:
        log_base, log_weight = self.fn(self.layout.unravel(flat), data)
        dtype = self.layout.dtype
        return Score(jnp.asarray(log_base, dtype), jnp.asarray(log_weight, dtype))


def flatten(program: Program) -> tuple[Program, Layout]:
    """The same measure on flat positions, and the layout that leads back."""
    layout = Layout.of(program)

    def lifted(fn: Callable[..., Any] | None) -> Callable[..., Any] | None:
        return None if fn is None else _Unravelled(fn, layout)

    flat = dataclasses.replace(
        program,
        draw=_Ravelled(program.draw, layout),
        start=_Ravelled(program.start, layout),
        score=_FlatScore(program.score, layout),
        constrain=_Unravelled(program.constrain, layout),
        simulate=lifted(program.simulate),
        pointwise=lifted(program.pointwise),
        sites=lifted(program.sites),
    )
    return flat, layout


def storable(position: Any) -> Any:
    """The position as plain arrays, random keys as their data."""
    if isinstance(position, Mixed):
        return Mixed(position.vector, tuple(jax.random.key_data(k) for k in position.keys))
    return position


def restored(position: Any) -> Any:
    """The inverse of :func:`storable`."""
    if isinstance(position, Mixed):
        keys = tuple(jax.random.wrap_key_data(jnp.asarray(k)) for k in position.keys)
        return Mixed(jnp.asarray(position.vector), keys)
    return jnp.asarray(position)
