"""A program without its random-key coordinates, which a learned likelihood does not need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.coordinates import Layout
from probinf.core.program import Data, Key, Position, Program


def parameters_only(program: Program) -> Program:
    """The base of a program without its random-key coordinates, which hold None.

    A learned likelihood needs no random key; without one gradients exist. The weight must
    not be used: it is that of an arbitrary key.
    """
    if not Layout.of(program).has_keys:
        return program
    template = program.template()
    is_key = jax.tree.map(lambda v: jnp.issubdtype(v.dtype, jax.dtypes.prng_key), template)
    leaves, treedef = jax.tree.flatten(is_key)
    strip = _Strip(treedef, tuple(bool(v) for v in leaves))
    shapes = tuple(tuple(v.shape) for v in jax.tree.leaves(template))
    return dataclasses.replace(
        program,
        draw=_Stripped(program.draw, strip),
        start=_Stripped(program.start, strip),
        score=_Filled(program.score, strip, shapes),
        constrain=_Filled(program.constrain, strip, shapes),
        simulate=None
        if program.simulate is None
        else _FilledSimulate(program.simulate, strip, shapes),
        unconstrain=None
        if program.unconstrain is None
        else _FilledUnconstrain(program.unconstrain, strip, shapes),
        pointwise=None,
        sites=None,
    )


@dataclasses.dataclass(frozen=True)
class _Strip:
    treedef: Any
    is_key: tuple[bool, ...]

    def strip(self, x: Position) -> Position:
        """``x`` with None in place of its keys."""
        leaves = zip(jax.tree.leaves(x), self.is_key, strict=True)
        return jax.tree.unflatten(self.treedef, [None if key else leaf for leaf, key in leaves])

    def fill(self, x: Position, keys: list[Any]) -> Position:
        """``x`` with these keys again."""
        leaves, rest = iter(jax.tree.leaves(x)), iter(keys)
        return jax.tree.unflatten(
            self.treedef, [next(rest) if key else next(leaves) for key in self.is_key]
        )


@dataclasses.dataclass(frozen=True)
class _Stripped:
    fn: Callable[[Key, Data], Position]
    form: _Strip

    def __call__(self, key: Key, data: Data) -> Position:
        return self.form.strip(self.fn(key, data))


@dataclasses.dataclass(frozen=True)
class _Filled:
    fn: Callable[..., Any]
    form: _Strip
    shapes: tuple[tuple[int, ...], ...]

    def keys(self, key: Key) -> list[Any]:
        """One key per key coordinate."""
        shapes = [s for s, is_key in zip(self.shapes, self.form.is_key, strict=True) if is_key]
        return [
            jax.random.split(k, s) if s else k
            for k, s in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
        ]

    def __call__(self, x: Position, data: Data) -> Any:
        return self.fn(self.form.fill(x, self.keys(jax.random.key(0))), data)


@dataclasses.dataclass(frozen=True)
class _FilledSimulate(_Filled):
    def __call__(self, key: Key, x: Position, data: Data) -> Any:  # type: ignore[override]
        first, second = jax.random.split(key)
        return self.fn(second, self.form.fill(x, self.keys(first)), data)


@dataclasses.dataclass(frozen=True)
class _FilledUnconstrain(_Filled):
    def __call__(self, values: Any, x: Position, data: Data) -> Any:  # type: ignore[override]
        placed = self.fn(values, self.form.fill(x, self.keys(jax.random.key(0))), data)
        return placed._replace(position=self.form.strip(placed.position))
