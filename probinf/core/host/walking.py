"""Walking: a function whose program asks the host, run as compiled parts with questions between.

A trace of the function (its jaxpr) is cut at every ``ask``. What lies between two questions is
compiled; loops and branches with a question inside are taken in Python. A walk is a generator that
yields questions and is sent their answers, so that many walks (lanes of an engine) are asked at
once.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, jaxpr_as_fun, jaxprs_in_params
from jax.extend.core.primitives import cond_p, scan_p, while_p

from probinf.core.host.answering import Memory, answers
from probinf.core.host.asking import Question, ask_p, question
from probinf.core.scans import scan_inputs
from probinf.core.xla import options
from probinf.errors import MethodError

Walk = Generator[tuple[Question, Memory], np.ndarray, Any]
"""Yields questions, is sent answers, returns the result."""

_INLINED = ("call_jaxpr", "jaxpr", "fun_jaxpr")


class _Stage(NamedTuple):
    """Some equations that are done together: compiled, or one that holds a question."""

    take: Callable[[list[Any], Memory], Walk]
    ins: tuple[Any, ...]
    outs: tuple[Any, ...]


class Plan:
    """A jaxpr cut at its questions."""

    def __init__(self, closed: ClosedJaxpr) -> None:
        self.jaxpr, self.consts = closed.jaxpr, list(closed.consts)
        self.stages = list(_stages(closed.jaxpr))

    def walk(self, args: Sequence[Any], memory: Memory) -> Walk:
        """The values of the jaxpr's outputs."""
        env: dict[Any, Any] = dict(zip(self.jaxpr.constvars, self.consts, strict=True))
        env.update(zip(self.jaxpr.invars, args, strict=True))

        def read(v: Any) -> Any:
            return v.val if isinstance(v, Literal) else env[v]

        for stage in self.stages:
            out = yield from stage.take([read(v) for v in stage.ins], memory)
            env.update(zip(stage.outs, out, strict=True))
        return [read(v) for v in self.jaxpr.outvars]


def _stages(jaxpr: Jaxpr) -> Any:
    pieces: list[list[Any]] = []
    for eqn in jaxpr.eqns:
        if _asks(eqn):
            pieces.append([eqn])
            pieces.append([])
        elif pieces:
            pieces[-1].append(eqn)
        else:
            pieces.append([eqn])
    # what later pieces read, from the end on
    needed = {v for v in jaxpr.outvars if isinstance(v, Var)}
    found: list[_Stage] = []
    for eqns in reversed([piece for piece in pieces if piece]):
        made = [v for eqn in eqns for v in eqn.outvars]
        alone = len(eqns) == 1 and _asks(eqns[0])
        if alone:
            found.append(_Stage(_taken(eqns[0]), tuple(eqns[0].invars), tuple(made)))
        else:
            outs = tuple(v for v in made if v in needed)
            if not outs:
                continue
            ins = _read(eqns, set(made))
            found.append(_Stage(_compiled(jaxpr, eqns, ins, outs), ins, outs))
        needed |= {v for eqn in eqns for v in eqn.invars if isinstance(v, Var)}
    return reversed(found)


def _read(eqns: list[Any], made: set[Any]) -> tuple[Any, ...]:
    seen = dict.fromkeys(v for eqn in eqns for v in eqn.invars if isinstance(v, Var))
    return tuple(v for v in seen if v not in made)


def _compiled(
    jaxpr: Jaxpr, eqns: list[Any], ins: tuple[Any, ...], outs: tuple[Any, ...]
) -> Callable[[list[Any], Memory], Walk]:
    """Equations without a question, as one compiled function."""
    told = jaxpr.debug_info._replace(arg_names=("",) * len(ins), result_paths=("",) * len(outs))
    piece = jaxpr.replace(
        constvars=[], invars=list(ins), outvars=list(outs), eqns=eqns, debug_info=told
    )
    fn = jax.jit(jaxpr_as_fun(ClosedJaxpr(piece, ())), compiler_options=options())

    def take(args: list[Any], memory: Memory) -> Walk:
        yield from ()  # a generator, like the others
        return fn(*args)

    return take


def _asks(eqn: Any) -> bool:
    if eqn.primitive is ask_p:
        return True
    return any(_jaxpr_asks(inner) for inner in jaxprs_in_params(eqn.params))


@lru_cache(maxsize=4096)
def _jaxpr_asks(jaxpr: Jaxpr) -> bool:
    return any(_asks(eqn) for eqn in jaxpr.eqns)


def _taken(eqn: Any) -> Callable[[list[Any], Memory], Walk]:
    """What is done at an equation with a question in it."""
    params = eqn.params
    if eqn.primitive is ask_p:
        return _asked(params)
    if eqn.primitive is while_p:
        return _looped(params)
    if eqn.primitive is scan_p:
        return _scanned(params)
    if eqn.primitive is cond_p:
        return _branched(params)
    for name in _INLINED:
        inner = params.get(name)
        if isinstance(inner, Jaxpr):
            inner = ClosedJaxpr(inner, ())
        if isinstance(inner, ClosedJaxpr):
            return Plan(inner).walk
    raise MethodError(
        f"a likelihood from from_callback is evaluated inside JAX's {eqn.primitive}, where the "
        "host cannot be asked."
    )


def _asked(params: dict[str, Any]) -> Callable[[list[Any], Memory], Walk]:
    dtype = params["dtype"]
    known = {name: params[name] for name in ("call", "keys", "tree", "rank")}

    def take(args: list[Any], memory: Memory) -> Walk:
        wanted = question(args, **known)
        found = yield wanted, memory
        return [jnp.asarray(found.reshape(wanted.shape), dtype)]

    return take


def _looped(params: dict[str, Any]) -> Callable[[list[Any], Memory], Walk]:
    cond, body = Plan(params["cond_jaxpr"]), Plan(params["body_jaxpr"])
    a, b = params["cond_nconsts"], params["body_nconsts"]

    @jax.jit
    def chosen(goes_on: Any, new: list[Any], old: list[Any]) -> list[Any]:
        return [jnp.where(_over(goes_on, n), n, o) for n, o in zip(new, old, strict=True)]

    def take(args: list[Any], memory: Memory) -> Walk:
        ahead, inside, carry = args[:a], args[a : a + b], args[a + b :]
        while True:
            (goes_on,) = yield from cond.walk([*ahead, *carry], memory)
            if not np.any(goes_on):
                return carry
            moved = yield from body.walk([*inside, *carry], memory)
            # under vmap there is an answer for every row, and those that are done stay: what they
            # would ask again is in the memory
            carry = chosen(goes_on, moved, carry) if np.ndim(goes_on) else moved

    return take


def _over(goes_on: Any, leaf: Any) -> Any:
    """A condition for every row, with as many axes as a leaf."""
    return goes_on.reshape(*goes_on.shape, *[1] * (leaf.ndim - goes_on.ndim))


def _scanned(params: dict[str, Any]) -> Callable[[list[Any], Memory], Walk]:
    body, length = Plan(params["jaxpr"]), params["length"]
    a, carried = scan_inputs(params)
    b = a + carried
    order = range(length)[:: -1 if params["reverse"] else 1]
    pick = jax.jit(lambda xs, i: [x[i] for x in xs])

    def take(args: list[Any], memory: Memory) -> Walk:
        consts, carry, xs = args[:a], args[a:b], args[b:]
        kept: list[Any] = [None] * length
        for i in order:
            out = yield from body.walk([*consts, *carry, *pick(xs, i)], memory)
            carry, kept[i] = out[: b - a], out[b - a :]
        if not length:
            return [
                *carry,
                *(jnp.zeros((0, *v.aval.shape), v.aval.dtype) for v in _ys(body, b - a)),
            ]
        return [*carry, *(stacked(rows) for rows in zip(*kept, strict=True))]

    return take


def _ys(body: Plan, first: int) -> list[Any]:
    return list(body.jaxpr.outvars[first:])


def _branched(params: dict[str, Any]) -> Callable[[list[Any], Memory], Walk]:
    branches = [Plan(branch) for branch in params["branches"]]

    def take(args: list[Any], memory: Memory) -> Walk:
        index = int(np.clip(int(args[0]), 0, len(branches) - 1))
        found = yield from branches[index].walk(args[1:], memory)
        return found

    return take


def stacked(rows: Sequence[Any]) -> Any:
    """Arrays with a new leading axis, random keys among them, without compiling anything."""
    if jnp.issubdtype(rows[0].dtype, jax.dtypes.prng_key):
        data = np.stack([np.asarray(jax.random.key_data(row)) for row in rows])
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(rows[0]))
    return jnp.asarray(np.stack([np.asarray(row) for row in rows]))


@lru_cache(maxsize=64)
def _planned(fn: Callable[..., Any], static: Any, tree: Any, shapes: Any, double: bool) -> Any:
    names, values = static
    known = dict(zip(names, values, strict=True))

    def flat(*leaves: Any) -> Any:
        args, kwargs = jax.tree.unflatten(tree, leaves)
        return fn(*args, **kwargs, **known)

    examples = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    closed, out = jax.make_jaxpr(flat, return_shape=True)(*examples)
    return Plan(closed), jax.tree.structure(out)


def walk(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    memory: Memory,
    known: dict[str, Any] | None = None,
) -> Walk:
    """``fn(*args, **known)`` as a walk.

    Args:
        fn: pure; compared by value, like what it is given by name.
        args: trees of arrays.
        memory: of answers; equal questions in it are asked once.
        known: static arguments.
    """
    leaves, tree = jax.tree.flatten((args, {}))
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    shapes = tuple((v.shape, v.dtype) for v in arrays)
    double = jnp.result_type(float) == jnp.float64
    static = tuple(known or {}), tuple((known or {}).values())
    plan, structure = _planned(fn, static, tree, shapes, double)
    out = yield from plan.walk(arrays, memory)
    return jax.tree.unflatten(structure, out)


def finished(walks: Sequence[Walk]) -> list[Any]:
    """The results of walks, whose questions are asked together."""
    results: list[Any] = [None] * len(walks)
    waiting: dict[int, tuple[Question, Memory]] = {}

    def go_on(k: int, answer: np.ndarray | None) -> None:
        try:
            waiting[k] = next(walks[k]) if answer is None else walks[k].send(answer)
        except StopIteration as end:
            results[k] = end.value

    for k in range(len(walks)):
        go_on(k, None)
    while waiting:
        asked, waiting = waiting, {}
        for k, answer in zip(asked, answers(list(asked.values())), strict=True):
            go_on(k, answer)
    return results


def on_host(fn: Callable[..., Any], static: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    """``fn`` of a program that asks, as ``jax.jit`` with these static names would run it."""
    bound = inspect.signature(fn).bind(*args, **kwargs)
    known = {name: bound.arguments.pop(name) for name in static if name in bound.arguments}
    dynamic = bound.arguments
    by_name = _ByName(fn, tuple(dynamic))
    return finished([walk(by_name, tuple(dynamic.values()), {}, known)])[0]


@dataclasses.dataclass(frozen=True)
class _ByName:
    """A function whose arguments are given by name."""

    fn: Callable[..., Any]
    names: tuple[str, ...]

    def __call__(self, *args: Any, **known: Any) -> Any:
        return self.fn(**dict(zip(self.names, args, strict=True)), **known)


def _now(*operands: Any, dtype: Any, **params: Any) -> jax.Array:
    """Outside of any trace the answer is asked for at once."""
    wanted = question(list(operands), **params)
    (found,) = answers([(wanted, {})])
    return jnp.asarray(found.reshape(wanted.shape), dtype)


ask_p.def_impl(_now)
