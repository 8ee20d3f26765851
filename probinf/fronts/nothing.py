"""The program of no parameter at all."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.program import Data, Key, Position, Program, Score


def nothing() -> Program:
    """One position, of no coordinates, of mass one."""
    return Program(_empty, _empty, _one, _same, data=())


def _empty(key: Key, data: Data) -> Position:
    return {}


def _one(x: Position, data: Data) -> Score:
    return Score(jnp.zeros((), float), jnp.zeros((), float))


def _same(x: Position, data: Data) -> dict[str, Array]:
    return {}
