"""Lanes: independent replicas of an engine, advanced in compiled chunks and spread over devices."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from probinf.core.compiling import Compiled, compiled
from probinf.core.host.asking import asks
from probinf.core.program import Key, Program
from probinf.core.rows import is_cut
from probinf.core.spreading import alone, in_lockstep, in_turn, spread
from probinf.runtime import hosted
from probinf.runtime.method import Method


class Lane(NamedTuple):
    """A lane on its way: its key, the steps taken, the method's state."""

    key: Key
    taken: Int[Array, ""]
    state: Any


def start_lane(method: Method[Any], program: Program, key: Key) -> Lane:
    """A lane before its first step."""
    return Lane(key, jnp.zeros((), int), method.init(jax.random.fold_in(key, 0), program))


def step_lane(method: Method[Any], program: Program, lane: Lane) -> tuple[Lane, Any]:
    """One step of a lane, and what to record of it; step ``i`` uses ``fold_in(key, i)``."""
    key = jax.random.fold_in(lane.key, lane.taken + 1)
    state, record = method.step(key, program, lane.state)
    return Lane(lane.key, lane.taken + 1, state), record


def advance_lane(
    method: Method[Any], program: Program, lane: Lane, limit: Int[Array, ""] | int, length: int
) -> tuple[Lane, Any, Int[Array, ""]]:
    """Up to ``limit`` steps of one lane: the lane, its records (axis ``length``), their count.

    Pure, so ``jit(vmap(...))`` over keys or data sets works. Step ``i`` uses the key
    ``fold_in(key, i)``, so chunking does not change the result.
    """
    step = jax.jit(partial(step_lane, method, program), inline=True)  # traced once, for both uses
    record = jax.eval_shape(step, lane)[1]
    records = jax.tree.map(lambda r: jnp.zeros((length, *r.shape), r.dtype), record)

    def running(carry: Any) -> Bool[Array, ""]:
        taken, lane, _ = carry
        return (taken < limit) & ~method.done(lane.state)

    def body(carry: Any) -> Any:
        taken, lane, records = carry
        lane, record = step(lane)
        records = jax.tree.map(lambda b, r: b.at[taken].set(r), records, record)
        return taken + 1, lane, records

    taken, lane, records = jax.lax.while_loop(running, body, (jnp.zeros((), int), lane, records))
    return lane, records, taken


def over_lanes(fn: Any, lanes: Any, count: int, program: Program | None = None) -> Any:
    """``fn`` on every lane, spread over devices; a single lane may spread its particles.

    Args:
        fn: of one lane.
        lanes: leading axis lane.
        count: of the lanes.
        program: on which they are; where its rows lie on all devices, lanes are not spread.
    """
    rows = program is not None and is_cut(program.data)
    with alone(count == 1 and not rows):
        if rows and in_lockstep():
            return jax.vmap(fn)(lanes)
        return in_turn(fn, lanes, count) if rows or count == 1 else spread(fn, lanes, count)


@partial(compiled, static=("count",), once=True)
def lane_keys(key: Key, count: int) -> Key:
    """The keys of so many lanes."""
    keys: Key = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    return keys


def start_lanes(method: Method[Any], program: Program, keys: Key) -> Lane:
    """All lanes before their first step."""
    found: Lane
    if _asks(program, keys):
        found = hosted.start(start_lane, method, program, keys)
    else:
        found = _start_lanes(method, program, keys)
    return found


def start_while_compiling(method: Method[Any], length: int, program: Program, keys: Key) -> Lane:
    """:func:`start_lanes`, whose compilation and run hide behind those of :func:`advance_lanes`."""
    starts_wait = _start_lanes.ahead(method, program, keys)
    if starts_wait is None:
        return start_lanes(method, program, keys)
    loop_waits = None
    with contextlib.suppress(Exception):  # a pytree of the user's may want arrays, not shapes
        lanes = jax.eval_shape(partial(_start_lanes, method), program, keys)
        loop_waits = _advance(method).ahead(method, length, program, lanes, jnp.asarray(0))
    starts_wait()
    found = start_lanes(method, program, keys)
    if loop_waits is not None:
        loop_waits()
    return found


@partial(compiled, static=("method",), once=True)
def _start_lanes(method: Method[Any], program: Program, keys: Key) -> Lane:
    """All lanes before their first step."""
    return over_lanes(partial(start_lane, method, program), keys, keys.shape[0], program)


@partial(compiled, static=("method",), once=True)
def all_done(method: Method[Any], states: Any) -> Bool[Array, ""]:
    """Whether every lane has arrived."""
    return jnp.all(jax.vmap(method.done)(states))


def advance_lanes(
    method: Method[Any], length: int, program: Program, lanes: Lane, limit: Int[Array, ""]
) -> tuple[Lane, Any, Int[Array, " lanes"]]:
    """All lanes, up to ``limit`` steps each: the lanes, their records, the steps of each."""
    found: Any
    if _asks(program, lanes.taken):
        found = hosted.advance(step_lane, method, program, lanes, int(limit))
    else:
        found = _advance(method)(method, length, program, lanes, limit)
    return found


def _asks(program: Program, array: Array) -> bool:
    """Whether the host takes the steps, since it is asked between them."""
    return not isinstance(array, jax.core.Tracer) and asks(program.data)


def _advance_lanes(
    method: Method[Any], length: int, program: Program, lanes: Lane, limit: Int[Array, ""]
) -> tuple[Lane, Any, Int[Array, " lanes"]]:

    def one(lane: Lane) -> tuple[Lane, Any, Int[Array, ""]]:
        return advance_lane(method, program, lane, limit, length)

    found: tuple[Lane, Any, Int[Array, " lanes"]] = over_lanes(
        one, lanes, lanes.taken.shape[0], program
    )
    return found


def _advance(method: Method[Any]) -> Compiled:
    return _advance_long if method.has_long_arrays else _advance_short


_advance_short = compiled(_advance_lanes, static=("method", "length"))
_advance_long = compiled(_advance_lanes, static=("method", "length"), long=True)
