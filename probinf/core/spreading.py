"""Spreading: equal parts of a computation over devices, with the same answer on any number."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from probinf.core.batches import mapped

AXIS = "spread"
PIECES = 8
"""Parts that particles or rows are cut into, so that 1, 2, 4 and 8 devices do the same sums."""
_ROOM = 0.5  # share of an accelerator's memory for what lanes in lockstep hold
_COPIES = 8  # of a lane's state that its step may hold at once

_alone: contextvars.ContextVar[bool] = contextvars.ContextVar("alone", default=False)


def devices() -> list[Any]:
    """The devices of this process; those of all processes where these work together."""
    return jax.devices() if jax.process_count() > 1 else jax.local_devices()


def is_first_process() -> bool:
    """Whether this process writes files and shows progress for all that work together."""
    return jax.process_index() == 0


def agreed(value: int) -> int:
    """What the first process says, where clocks of several that work together may differ."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return int(broadcast_one_to_all(np.asarray(value)))


def in_lockstep() -> bool:
    """Whether a device moves many lanes at once (accelerators) or one after the other (CPUs)."""
    return bool(devices()[0].platform != "cpu")


@contextlib.contextmanager
def alone(value: bool) -> Iterator[None]:
    """Whether what is traced inside is the only lane, which may spread its own particles."""
    token = _alone.set(value)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether the lane that is being traced has all devices to itself."""
    return _alone.get()


def mesh_of(count: int) -> Mesh:
    """As many devices as ``count`` parts can use; all, where several processes work together."""
    found = devices()
    if jax.process_count() == 1:
        found = found[:count]
    return jax.make_mesh((len(found),), (AXIS,), devices=found, axis_types=(AxisType.Auto,))


def spread(
    fn: Callable[..., Any], parts: Any, count: int, *, gather: bool = False, shared: Any = None
) -> Any:
    """``fn`` on every part, the parts spread over devices.

    On a CPU a device takes its parts in turn, by a loop whose body is compiled alike however many
    there are; elsewhere it takes as many at once as its memory holds.

    Args:
        fn: of one part, and of what they share where there is something.
        parts: a tree with leading axis ``count``.
        count: of the parts; where the devices do not divide it, the last one is done twice.
        gather: whether every device shall hold all results, so that what is computed from them is
            computed in one order.
        shared: a tree of arrays, the same for all.
    """
    mesh = mesh_of(count)
    shards = mesh.devices.size
    each = -(-count // shards)
    local = partial(_local, fn, each)
    if shards == 1:
        return local(parts, shared)
    padded = parts
    if each * shards != count:
        index = jnp.minimum(jnp.arange(each * shards), count - 1)
        padded = jax.tree.map(lambda leaf: leaf[index], parts)
    spec, same = PartitionSpec(AXIS), PartitionSpec()
    mapped = jax.shard_map(local, mesh=mesh, in_specs=(spec, same), out_specs=spec, check_vma=False)
    found = mapped(padded, shared)
    gather = gather or jax.process_count() > 1
    if gather:
        found = everywhere(found, mesh)
    if each * shards != count:
        found = jax.tree.map(lambda leaf: leaf[:count], found)
    return found


def over_particles(fn: Callable[[Any], Any], particles: Any, *, alike: bool = True) -> Any:
    """``fn`` on every particle (leading axis); those of a lane that is alone over all devices.

    Args:
        fn: of one particle.
        particles: leading axis particle.
        alike: cut them into parts on a single device too, so that products of matrices are rounded
            as on several. False is for short steps of few particles: they are spread over
            accelerators only, since meeting costs CPU devices more than they gain.
    """
    if not is_alone() or not (alike or (in_lockstep() and len(devices()) > 1)):
        return jax.vmap(fn)(particles)
    grouped = jax.tree.map(lambda leaf: leaf[None], particles)
    found = in_parts(lambda part, _: jax.vmap(fn)(part), grouped, jnp.zeros(1))
    return jax.tree.map(lambda leaf: leaf[0], found)


def in_parts(fn: Callable[..., Any], *trees: Any) -> Any:
    """``fn`` on groups of particles, cut into parts that are spread over devices.

    The parts are the same ones for any number of devices up to :data:`PIECES`, and what comes
    back is whole on every device, so that sums over particles have one order.

    Args:
        fn: of particles and of what their group shares, which may be cut anywhere.
        *trees: leading axes (group, particle); the last one (group,), what a group shares.
    """
    *members, shared = trees
    groups, count = jax.tree.leaves(members)[0].shape[:2]
    each = _parts(count, max(PIECES, len(devices())) // groups)
    parts = groups * each
    cut = jax.tree.map(lambda a: a.reshape(parts, count // each, *a.shape[2:]), members)
    repeated = jax.tree.map(lambda a: jnp.repeat(a, each, axis=0), shared)
    cut, repeated = everywhere((cut, repeated), mesh_of(parts))
    with alone(False):
        found = spread(lambda part: fn(*part[0], part[1]), (cut, repeated), parts, gather=True)
    return jax.tree.map(lambda a: a.reshape(groups, count, *a.shape[2:]), found)


def _parts(count: int, most: int) -> int:
    """The largest number of equal parts, at most so many."""
    return max(n for n in range(1, max(most, 1) + 1) if count % n == 0)


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """The same arrays, whole on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def _local(fn: Callable[..., Any], count: int, parts: Any, shared: Any) -> Any:
    """``fn`` on all parts of one device."""
    if shared is not None:
        fn = partial(_with_shared, fn, shared)
    if in_lockstep():
        return mapped(fn, parts, _at_once(fn, count, parts))
    return in_turn(fn, parts, count)


def _with_shared(fn: Callable[..., Any], shared: Any, part: Any) -> Any:
    return fn(part, shared)


def in_turn(fn: Callable[[Any], Any], parts: Any, count: int) -> Any:
    """``fn`` on one part after the other.

    The compiler neither knows how many there are nor sees beyond one of them, or it would round
    otherwise for one part than for two.
    """

    kinds: list[Any] = []

    @partial(jax.jit, inline=True)  # traced once, for its shapes and for the loop
    def one(index: Any) -> Any:
        part = jax.tree.map(lambda leaf: leaf[index], parts)
        value = jax.tree.map(_array, fn(jax.lax.optimization_barrier(part)))
        kinds[:] = map(_kind_of_key, jax.tree.leaves(value))
        return jax.tree.map(_plain, value)

    example = jax.eval_shape(one, 0)
    blank = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), example)

    def body(index: Any, found: Any) -> Any:
        value = jax.lax.optimization_barrier(one(index))
        return jax.tree.map(lambda all_, v: all_.at[index].set(v), found, value)

    limit = jax.lax.optimization_barrier(jnp.asarray(count))
    leaves, treedef = jax.tree.flatten(jax.lax.fori_loop(0, limit, body, blank))
    typed = [
        leaf if kind is None else jax.random.wrap_key_data(leaf, impl=kind)
        for leaf, kind in zip(leaves, kinds, strict=True)
    ]
    return jax.tree.unflatten(treedef, typed)


def _array(value: Any) -> Any:
    return value if hasattr(value, "dtype") else jnp.asarray(value)


def _kind_of_key(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_impl(leaf) if is_key else None


def _plain(leaf: Any) -> Any:
    """Random keys as their data, arrays as they are."""
    return leaf if _kind_of_key(leaf) is None else jax.random.key_data(leaf)


def _at_once(fn: Callable[[Any], Any], count: int, parts: Any) -> int:
    """How many parts a device takes at once: all, unless its memory is known and too small."""
    told = devices()[0].memory_stats() if devices()[0].platform != "cpu" else None
    room = (told or {}).get("bytes_limit")
    if room is None:
        return count
    part = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), parts)
    leaves = jax.tree.leaves((part, jax.eval_shape(fn, part)))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return int(np.clip(_ROOM * room // max(_COPIES * size, 1), 1, count))
