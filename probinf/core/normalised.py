"""normalised: a law of a program's coordinates, as a program that can be drawn from."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.coordinates import Layout, Mixed, vector_of
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.nesting import nest


class Law(Protocol):
    """A normalised density on vectors, as a pytree of arrays."""

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""


@dataclasses.dataclass(frozen=True)
class _Draw:
    layout: Layout

    def __call__(self, key: Key, data: Data) -> Position:
        if not self.layout.has_keys:
            return self.layout.unravel(data[1].sample(key).astype(self.layout.dtype))
        first, second = jax.random.split(key)
        vector = data[1].sample(first).astype(self.layout.dtype)
        return self.layout.unravel(Mixed(vector, _fresh_keys(self.layout, second)))


@dataclasses.dataclass(frozen=True)
class _Density:
    layout: Layout

    def __call__(self, x: Position, data: Data) -> Score:
        log_q = jnp.asarray(data[1].log_density(vector_of(self.layout.ravel(x))))
        return Score(log_q.astype(self.layout.dtype), jnp.zeros((), self.layout.dtype))


def _fresh_keys(layout: Layout, key: Key) -> tuple[Key, ...]:
    shapes = [s for s, is_key in zip(layout.shapes, layout.is_key, strict=True) if is_key]
    keys = jax.random.split(key, len(shapes))
    return tuple(jax.random.split(k, s) if s else k for k, s in zip(keys, shapes, strict=True))


def normalised(program: Program, law: Any) -> Program:
    """A law as a program with log weight 0, in the coordinates of ``program``.

    ``rebase(program, normalised(program, law))`` is the program again, started from the law.
    Random-key coordinates are drawn afresh.

    Args:
        program: whose unconstrained coordinates, in their order, the law is about.
        law: a pytree with ``sample(key)`` and ``log_density(vector)``; dynamic.
    """
    layout = Layout.of(program)
    return nest(
        program,
        law,
        draw=_Draw(layout),
        start=_Draw(layout),
        score=_Density(layout),
        pointwise=None,
        observations=None,
        sites=None,
    )
