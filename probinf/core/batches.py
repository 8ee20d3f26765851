"""Batches of one size, so that what is compiled for the first serves all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Batch(NamedTuple):
    """Rows ``start`` to ``stop``, the first ``known`` of which belong to the batch before."""

    start: int
    stop: int
    known: int


def batches(count: int, size: int) -> Iterator[Batch]:
    """Batches that cover ``count`` rows; the last one overlaps the one before it.

    Args:
        count: rows, at least ``size``.
        size: of every batch.
    """
    for first in range(0, count, size):
        start = min(first, count - size)
        yield Batch(start, start + size, first - start)


def mapped(fn: Callable[[Any], Any], rows: Any, size: int) -> Any:
    """``fn`` on every row of a tree, at most so many at once.

    All batches have one size, the last one filled up with its last row: ``lax.map`` would compile
    ``fn`` a second time for what is left over, and divides by zero where a leaf is empty.

    Args:
        fn: of one row.
        rows: a tree with a leading axis.
        size: rows at once, at most.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    batches = -(-count // size)
    if batches <= 1:
        return jax.vmap(fn)(rows)
    size = -(-count // batches)
    index = jnp.minimum(jnp.arange(batches * size), count - 1).reshape(batches, size)

    def batch(taken: Any) -> Any:
        return jax.vmap(fn)(jax.tree.map(lambda leaf: leaf[taken], rows))

    found = jax.lax.map(batch, index)
    return jax.tree.map(lambda a: a.reshape(batches * size, *a.shape[2:])[:count], found)
