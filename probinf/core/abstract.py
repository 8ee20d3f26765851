"""What can be said of a program without its numbers: once for each structure and shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from probinf.core.program import Program

Said = TypeVar("Said")


def once_per_shape(say: Callable[[Program], Said]) -> Callable[[Program], Said]:
    """A function of a program that looks at no number; new data of the same shape ask it no more.

    Args:
        say: from a program, whose data are shapes and dtypes only, to what is said of it.
    """

    @lru_cache(maxsize=64)
    def said(bare: Program, structure: Any, shapes: tuple[Any, ...], double: bool) -> Said:
        return say(dataclasses.replace(bare, data=jax.tree.unflatten(structure, shapes)))

    @wraps(say)
    def of(program: Program) -> Said:
        leaves, structure = jax.tree.flatten(program.data)
        shapes = tuple(shape_of(leaf) for leaf in leaves)
        double = jnp.result_type(float) == jnp.float64  # on which the types of results depend
        return said(dataclasses.replace(program, data=None), structure, shapes, double)

    return of


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of an array as JAX will hold it: without doubles, unless they are enabled."""
    dtype = jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if not jnp.issubdtype(dtype, jax.dtypes.extended):
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)
