"""Flat coordinates: every engine moves one vector, with random-key coordinates kept beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.program import Data, Key, Placed, Position, Program, Score
from probinf.errors import StructureError


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
        integers: dtype of every leaf that is discrete, None for the others; their values lie
            in the vector as whole numbers.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    is_key: tuple[bool, ...]
    dtype: Any
    integers: tuple[Any, ...] = ()

    @classmethod
    def of(cls, program: Program, *, integers: bool = False) -> Layout:
        """The layout of ``program``'s positions.

        Args:
            program: any program.
            integers: whether who asks can deal with discrete coordinates.

        Raises:
            StructureError: a coordinate is neither floating point nor a random key, nor
                discrete where that is welcome.
        """
        leaves, treedef = jax.tree_util.tree_flatten_with_path(program.template())
        is_key = tuple(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for _, leaf in leaves)
        whole = tuple(
            leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.integer) else None for _, leaf in leaves
        )
        for (path, leaf), key, count in zip(leaves, is_key, whole, strict=True):
            if key or jnp.issubdtype(leaf.dtype, jnp.floating) or (integers and count is not None):
                continue
            raise _no_coordinate(jax.tree_util.keystr(path), leaf.dtype)
        floats = [leaf.dtype for _, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
        dtype = jnp.result_type(*floats) if floats else jnp.result_type(float)
        shapes = tuple(leaf.shape for _, leaf in leaves)
        return cls(treedef, shapes, is_key, dtype, whole if any(whole) else ())

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(_size(s) for s, key in zip(self.shapes, self.is_key, strict=True) if not key)

    def places(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """First index in the vector and shape of every real coordinate, by its name.

        Empty where the position is not a dict by name.
        """
        names = jax.tree.unflatten(self.treedef, range(len(self.shapes)))
        if not isinstance(names, dict) or not all(isinstance(k, int) for k in names.values()):
            return {}
        firsts, first = [], 0
        for shape, key in zip(self.shapes, self.is_key, strict=True):
            firsts.append(first)
            first += 0 if key else _size(shape)
        return {
            name: (firsts[k], self.shapes[k]) for name, k in names.items() if not self.is_key[k]
        }

    @property
    def integer_sites(self) -> tuple[str, ...]:
        """Names of the discrete coordinates."""
        if not self.integers:
            return ()
        names = jax.tree.unflatten(self.treedef, range(len(self.shapes)))
        return tuple(name for name in self.places() if self.integers[names[name]] is not None)

    def part(self, sites: tuple[str, ...]) -> tuple[np.ndarray, Layout]:
        """Where some sites lie in the vector, and the layout of these alone."""
        places, whole = self.places(), set(self.integer_sites)
        chosen = [name for name in places if name in sites]
        index = [np.arange(places[n][0], places[n][0] + _size(places[n][1])) for n in chosen]
        return np.concatenate(index), Layout(
            jax.tree.structure(dict.fromkeys(chosen, 0)),
            tuple(places[name][1] for name in chosen),
            (False,) * len(chosen),
            self.dtype,
            tuple(np.dtype(np.int32) if n in whole else None for n in chosen)
            if whole & set(chosen)
            else (),
        )

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
                leaf = vector[first : first + size].reshape(shape)
                whole = self.integers[len(leaves)] if self.integers else None
                leaves.append(leaf if whole is None else jnp.round(leaf).astype(whole))
                first += size
        return jax.tree.unflatten(self.treedef, leaves)


def refuse_integers(layout: Layout) -> None:
    """Refuse discrete coordinates, for engines that cannot move them.

    Raises:
        StructureError: there are some.
    """
    index = jax.tree.unflatten(layout.treedef, range(len(layout.shapes)))
    for path, k in jax.tree_util.tree_leaves_with_path(index):
        if layout.integers and layout.integers[k] is not None:
            raise _no_coordinate(jax.tree_util.keystr(path), layout.integers[k])


def _no_coordinate(name: str, dtype: Any) -> StructureError:
    return StructureError(
        f"coordinate {name} has dtype {dtype}; a position holds floating-point arrays and random "
        "keys only. Discrete coordinates are moved in blocks: pi.MCMC(kernels.cycle("
        'kernels.block("z", kernels.Enumerate()), kernels.block("mu", kernels.NUTS()))).'
    )


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


@dataclasses.dataclass(frozen=True)
class _FlatPlaced:
    fn: Callable[..., Placed]
    layout: Layout

    def __call__(self, values: dict[str, Array], flat: Any, data: Data) -> Placed:
        placed = self.fn(values, self.layout.unravel(flat), data)
        return placed._replace(position=self.layout.ravel(placed.position))


def layout_of(flat: Program) -> Layout:
    """The layout of a program that ``flatten`` made, also inside ``temper`` and the like."""
    fn: Any = flat.start
    while not isinstance(fn, _Ravelled):
        fn = fn.fn
    return fn.layout


def with_layout(flat: Program, layout: Layout) -> Program:
    """A flat program whose positions are laid out otherwise; its ``start`` is no longer used."""
    return dataclasses.replace(flat, start=_Ravelled(flat.start, layout))


def flatten(program: Program, *, integers: bool = False) -> tuple[Program, Layout]:
    """The same measure on flat positions, and the layout that leads back.

    Args:
        program: any program.
        integers: whether who asks can deal with discrete coordinates.
    """
    layout = Layout.of(program, integers=integers)

    def lifted(fn: Callable[..., Any] | None) -> Callable[..., Any] | None:
        return None if fn is None else _Unravelled(fn, layout)

    inverse = program.unconstrain
    placed = None if inverse is None else _FlatPlaced(inverse, layout)
    flat = dataclasses.replace(
        program,
        draw=_Ravelled(program.draw, layout),
        start=_Ravelled(program.start, layout),
        score=_FlatScore(program.score, layout),
        constrain=_Unravelled(program.constrain, layout),
        simulate=lifted(program.simulate),
        pointwise=lifted(program.pointwise),
        sites=lifted(program.sites),
        discrete=None
        if program.discrete is None
        else program.discrete.lifted(lambda fn: _Unravelled(fn, layout)),
        unconstrain=placed,
        log_jacobian=lifted(program.log_jacobian),
        subsampled=lifted(program.subsampled),
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
