"""ask: what a program wants to know of a Python function, as a primitive of JAX."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from probinf.core.host.calls import Call
from probinf.errors import MethodError

ask_p = Primitive("ask_the_host")
_silent: contextvars.ContextVar[bool] = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def unasked() -> Iterator[None]:
    """While tracing, every answer is 0: for who wants of a score what no question is needed for."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Asks:
    """Lies in the data of a program that asks; no array, so that no transformation changes it.

    Attributes:
        call: the function.
    """

    call: Call = dataclasses.field(metadata={"static": True})


class Question(NamedTuple):
    """Many values that are wanted of one function.

    Attributes:
        call: the function.
        where: (n,) which of them are wanted; the others come back as -inf.
        keys: (n, ...) each, what stands for a row in the memory.
        values: a tree of (n, ...) arrays, what the function takes.
        shape: of the answer, (n, ...).
    """

    call: Call
    where: np.ndarray
    keys: list[np.ndarray]
    values: Any
    shape: tuple[int, ...]


def asks(tree: Any) -> bool:
    """Whether a program somewhere in this tree asks the host."""
    leaves = jax.tree.leaves(tree, is_leaf=_is_marker)
    return any(_is_marker(leaf) for leaf in leaves)


def _is_marker(value: Any) -> bool:
    return isinstance(value, Asks)


def only(program: Any, active: jax.Array, x: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Rows to evaluate: where a row is not needed and evaluations cost much, one that is known.

    Args:
        program: of which they are positions.
        active: (k,) which rows are needed.
        x: (k, d).
        otherwise: (k, d), positions that were evaluated before.
    """
    return jnp.where(active[:, None], x, otherwise) if asks(program) else x


def ask(call: Call, key: Any, values: Any, where: jax.Array) -> jax.Array:
    """The value of a Python function; -inf where it is not wanted.

    Inside ``jax.make_jaxpr`` and ``vmap`` it is an equation, which ``walking`` answers between
    compiled calls; it has no derivative, and cannot be compiled.

    Args:
        call: the function.
        key: a tree of arrays of which ``values`` is a function: equal keys are asked once.
        values: a tree of arrays, what the function takes.
        where: a scalar, whether it is wanted.
    """
    if _silent.get():
        return jnp.zeros(call.shape)
    leaves = [_plain(leaf) for leaf in jax.tree.leaves(key)]
    flat, tree = jax.tree.flatten(values)
    operands = [jnp.asarray(where), *leaves, *(jnp.asarray(v) for v in flat)]
    dtype = jnp.result_type(float)
    found: jax.Array = ask_p.bind(
        *operands, call=call, keys=len(leaves), tree=tree, rank=0, dtype=dtype
    )
    return found


def _plain(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def question(operands: list[Any], *, call: Call, keys: int, tree: Any, rank: int) -> Question:
    """What an equation asks, from its operands; leading axes become one."""
    batch = operands[0].shape[:rank]
    rows = [_rows(v, rank) for v in operands]
    values = jax.tree.unflatten(tree, [_in_double(v) for v in rows[1 + keys :]])
    return Question(call, rows[0], rows[1 : 1 + keys], values, (*batch, *call.shape))


def _rows(value: Any, rank: int) -> np.ndarray:
    host = np.asarray(value)
    count = int(np.prod(host.shape[:rank], dtype=int))
    return host.reshape(count, *host.shape[rank:])


def _in_double(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if np.issubdtype(value.dtype, np.floating) else value


@ask_p.def_abstract_eval
def _abstract(where: Any, *operands: Any, call: Call, rank: int, dtype: Any, **_: Any) -> Any:
    return jax.core.ShapedArray((*where.shape[:rank], *call.shape), dtype)


def _batched(operands: Any, axes: Any, *, rank: int, **params: Any) -> Any:
    size = next(v.shape[a] for v, a in zip(operands, axes, strict=True) if a is not None)
    moved = [
        jnp.broadcast_to(v, (size, *v.shape)) if a is None else jnp.moveaxis(v, a, 0)
        for v, a in zip(operands, axes, strict=True)
    ]
    return ask_p.bind(*moved, rank=rank + 1, **params), 0


def _no_derivative(primals: Any, tangents: Any, *, call: Call, **_: Any) -> Any:
    raise MethodError(f"{call.name} is ordinary Python, called through from_callback")


def _not_compiled(ctx: Any, *operands: Any, call: Call, **_: Any) -> Any:
    raise MethodError(
        f"{call.name} is ordinary Python (from_callback), which cannot be compiled into one piece "
        "with this. pi.sample, diagnose, bridge and to_datatree evaluate it on the host; jax.jit "
        "cannot."
    )


batching.primitive_batchers[ask_p] = _batched
ad.primitive_jvps[ask_p] = _no_derivative
mlir.register_lowering(ask_p, _not_compiled)
