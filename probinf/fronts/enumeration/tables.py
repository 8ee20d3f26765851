"""Tables: arrays whose axes have names, multiplied, summed out and looked up by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.errors import DiscreteLatentError

Over = Literal["sum", "max"]
"""Add up the probabilities of all values, or take that of the most probable one."""

MOST = 2**26
"""Entries of the largest table that is made: 256 MB in single precision, for each chain."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Log probabilities with one named axis for each variable and plate they depend on."""

    names: tuple[str, ...]
    values: Array

    def placed(self, names: Sequence[str]) -> Array:
        """The values with axes in this order; length one where there is no such axis."""
        present = [n for n in names if n in self.names]
        moved = jnp.transpose(self.values, [self.names.index(n) for n in present])
        sizes = iter(moved.shape)
        return moved.reshape([next(sizes) if n in self.names else 1 for n in names])

    def sizes(self) -> dict[str, int]:
        """Length of every axis."""
        return dict(zip(self.names, self.values.shape, strict=True))

    def added(self, names: Sequence[str]) -> Table:
        """Summed over these axes: the product over the entries of a plate."""
        axes = tuple(k for k, n in enumerate(self.names) if n in names)
        rest = tuple(n for n in self.names if n not in names)
        return Table(rest, self.values.sum(axis=axes))


def product(tables: Sequence[Table], names: Sequence[str], sizes: Mapping[str, int]) -> Table:
    """The product of several tables, with all the axes named, in that order.

    Raises:
        DiscreteLatentError: it has too many entries.
    """
    shape = tuple(sizes[n] for n in names)
    refuse_large(names, shape)
    total = jnp.zeros(shape)
    for table in tables:
        total = total + table.placed(names)
    return Table(tuple(names), total)


def refuse_large(names: Sequence[str], shape: Sequence[int]) -> None:
    """Raise DiscreteLatentError where a table would not fit into memory."""
    if math.prod(shape) > MOST:
        said = " x ".join(f"{size} ('{name}')" for name, size in zip(names, shape, strict=True))
        raise DiscreteLatentError(
            f"summing out the discrete sites needs a table of {math.prod(shape):.3g} entries, "
            f"{said}; the most is {MOST:.3g}. Put sites that are independent of each other into "
            "plates, give them fewer values, or keep them as coordinates with "
            "allow_discrete=True and MCMC over blocks."
        )


def reduced(values: Array, over: Over) -> Array:
    """Log of the sum over the last axis, or the largest entry; -inf and its gradient are safe."""
    largest = jnp.max(values, axis=-1)
    if over == "max":
        return largest
    finite = jnp.isfinite(largest)
    shift = jax.lax.stop_gradient(jnp.where(finite, largest, 0.0))
    inside = jnp.where(finite[..., None], values - shift[..., None], 0.0)
    return jnp.where(finite, jnp.log(jnp.sum(jnp.exp(inside), axis=-1)) + shift, largest)


def chosen(key: Array | None, values: Array) -> Array:
    """An index along the last axis: drawn by its probability, or the most probable one."""
    if key is None:
        return jnp.argmax(values, axis=-1)
    return jax.random.categorical(key, values, axis=-1)


def at(table: Table, index: Mapping[str, Table]) -> Table:
    """The table at the given values of some of its variables.

    Args:
        table: to look up.
        index: by variable a table of whole numbers over plates, all of which the table has.
    """
    names, values = table.names, table.values
    for name, where in index.items():
        if name not in names:
            continue
        axis = names.index(name)
        others = [n for n in names if n != name]
        place = jnp.expand_dims(where.placed(others), axis)
        values = jnp.take_along_axis(values, place, axis=axis).squeeze(axis)
        names = tuple(others)
    return Table(names, values)
