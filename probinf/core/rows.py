"""Rows: a part of a program's data cut into blocks that lie on different devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

from probinf.core.spreading import AXIS, devices, mesh_of, spread


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Data of a program, the leaves that have rows in blocks.

    The last rows are repeated to fill the blocks up, and blocks to share them out evenly;
    ``counted`` leaves these out.

    Attributes:
        leaves: of the data; those with rows as (blocks, rows of a block, ...).
        counted: (blocks, rows of a block) which rows are data.
        axes: of every leaf the axis that its rows have in the data; None where it has none.
        treedef: of the data.
        count: rows of the data.
        blocks: with a row that counts.
    """

    leaves: tuple[Any, ...]
    counted: Any
    axes: tuple[int | None, ...] = dataclasses.field(metadata={"static": True})
    treedef: Any = dataclasses.field(metadata={"static": True})
    count: int = dataclasses.field(metadata={"static": True})
    blocks: int = dataclasses.field(metadata={"static": True})

    def whole(self) -> Any:
        """The data as they were."""

        def joined(leaf: Any, axis: int | None) -> Any:
            if axis is None:
                return leaf
            flat = leaf.reshape(-1, *leaf.shape[2:])[: self.count]
            return (np if isinstance(flat, np.ndarray) else jnp).moveaxis(flat, 0, axis)

        found = [joined(leaf, axis) for leaf, axis in zip(self.leaves, self.axes, strict=True)]
        return jax.tree.unflatten(self.treedef, found)

    def cut(self) -> list[Any]:
        """The leaves with rows, leading axis block."""
        return [v for v, axis in zip(self.leaves, self.axes, strict=True) if axis is not None]

    def uncut(self) -> list[Any]:
        """The other leaves."""
        return [v for v, axis in zip(self.leaves, self.axes, strict=True) if axis is None]

    def block(self, cut: list[Any], uncut: list[Any]) -> Any:
        """The data with the rows of one block only."""
        ours, others = iter(cut), iter(uncut)
        found = [
            next(others) if axis is None else jnp.moveaxis(next(ours), 0, axis)
            for axis in self.axes
        ]
        return jax.tree.unflatten(self.treedef, found)


def cut_rows(data: Any, axes: list[int | None], count: int, blocks: int) -> Rows:
    """Data with so many rows, cut into blocks.

    Args:
        data: a tree of host arrays.
        axes: of every leaf, the axis of its rows.
        count: rows.
        blocks: at most so many.
    """
    leaves, treedef = jax.tree.flatten(data)
    length = -(-count // min(blocks, count))
    used = -(-count // length)
    stored = -(-used // len(devices())) * len(devices())
    index = np.minimum(np.arange(stored * length), count - 1)

    def blocked(leaf: Any, axis: int | None) -> Any:
        if axis is None:
            return leaf
        rows = np.moveaxis(np.asarray(leaf), axis, 0)
        if len(index) != count:
            rows = rows[index]
        return rows.reshape(stored, length, *rows.shape[1:])

    return Rows(
        tuple(blocked(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)),
        (np.arange(stored * length) < count).reshape(stored, length),
        tuple(axes),
        treedef,
        count,
        used,
    )


def _is_rows(value: Any) -> bool:
    return isinstance(value, Rows)


def is_cut(tree: Any) -> bool:
    """Whether a program somewhere in this tree has its rows on all devices."""
    return any(map(_is_rows, jax.tree.leaves(tree, is_leaf=_is_rows)))


def placed(data: Any) -> Any:
    """Data as arrays of JAX, blocks of rows on their devices."""
    if not is_cut(data):
        return jax.tree.map(jnp.asarray, data)

    def put(value: Any) -> Any:
        if not _is_rows(value):
            return jnp.asarray(value)
        sharding = NamedSharding(mesh_of(len(devices())), PartitionSpec(AXIS))

        def on_devices(leaf: Any) -> Any:
            if jax.process_count() == 1:
                return jax.device_put(jnp.asarray(leaf), sharding)
            host = np.asarray(jnp.asarray(leaf))
            return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

        leaves = tuple(
            jnp.asarray(leaf) if axis is None else on_devices(leaf)
            for leaf, axis in zip(value.leaves, value.axes, strict=True)
        )
        return dataclasses.replace(value, leaves=leaves, counted=on_devices(value.counted))

    return jax.tree.map(put, data, is_leaf=_is_rows)


def converted(arguments: Any) -> Any:
    """Arguments of a compiled function whose host arrays are arrays of JAX, in this precision.

    Where compiled code runs on several devices, JAX converts host arrays that it is given in
    threads of its own, which do not know the precision of the thread that called: the program
    reads beyond their ends.
    """

    def put(value: Any) -> Any:
        if _is_rows(value):
            host = any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(value))
            return placed(value) if host else value
        return jnp.asarray(value) if isinstance(value, np.ndarray) else value

    return jax.tree.map(put, arguments, is_leaf=_is_rows)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def sum_over_rows(term: Callable[..., Array], x: Any, fixed: Any, rows: Rows) -> Array:
    """The sum of ``term`` over blocks: on all devices at once, added in the order of the blocks.

    A derivative with respect to ``x`` is computed block by block with the value, so that no more
    than one block on each device is in memory; there is none with respect to the data.

    Args:
        term: ``(x, fixed, data, counted) -> scalar`` of the rows of one block.
        x: floating-point arrays.
        fixed: arrays without derivative.
        rows: the data.
    """
    return _total(_by_block(term, x, fixed, rows), rows.blocks)


@sum_over_rows.defjvp
def _sum_and_slope(term: Any, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, fixed, rows = primals
    value, slope = _by_block(jax.value_and_grad(term), x, fixed, rows)
    slope = jax.tree.map(lambda g: _total(g, rows.blocks), slope)
    parts = jax.tree.map(jnp.vdot, slope, tangents[0])
    total = _total(value, rows.blocks)
    return total, sum(jax.tree.leaves(parts), start=jnp.zeros_like(total))


def _by_block(fn: Callable[..., Any], x: Any, fixed: Any, rows: Rows) -> Any:
    parts = rows.cut(), rows.counted

    def one(part: Any, shared: Any) -> Any:
        x, fixed, uncut = shared
        return fn(x, fixed, rows.block(part[0], uncut), part[1])

    shared = x, fixed, rows.uncut()
    return spread(one, parts, rows.counted.shape[0], gather=True, shared=shared)


def _total(parts: Array, blocks: int) -> Array:
    """Block by block, without those that only fill up."""
    found: Array = jax.lax.fori_loop(1, blocks, lambda k, total: total + parts[k], parts[0])
    return found
