"""Lanes of a program that asks the host: step by step, all of them asked together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.host.walking import Walk, finished, stacked, walk
from probinf.core.program import Key, Program
from probinf.runtime.method import Method


def start(one: Callable[..., Any], method: Method[Any], program: Program, keys: Key) -> Any:
    """All lanes before their first step; ``one(method, program, key)`` starts one."""
    walks = [walk(_By(one, method), (program, keys[k]), {}) for k in range(keys.shape[0])]
    return jax.tree.map(lambda *rows: stacked(rows), *finished(walks))


def advance(
    one: Callable[..., Any], method: Method[Any], program: Program, lanes: Any, limit: int
) -> tuple[Any, Any, Any]:
    """All lanes, up to ``limit`` steps each: the lanes, their records, the steps of each.

    A lane remembers what it asked during one step and no longer, so that a run that is resumed
    after a step asks the same.
    """
    count = lanes.taken.shape[0]
    step = _By(one, method)
    each = [jax.tree.map(lambda leaf, k=k: leaf[k], lanes) for k in range(count)]
    walks = [_steps(step, method, program, lane, limit) for lane in each]
    moved, records, taken = zip(*finished(walks), strict=True)
    length = max(max(taken), 1)
    known = [row for rows in records for row in rows[:1]]  # tracing a step takes a while
    record = known[0] if known else jax.eval_shape(step, program, each[0])[1]
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), record)
    filled = [[*rows, *[blank] * (length - len(rows))] for rows in records]
    lane_records = [jax.tree.map(lambda *leaves: np.stack(leaves), *rows) for rows in filled]
    return (
        jax.tree.map(lambda *rows: stacked(rows), *moved),
        jax.tree.map(lambda *rows: np.stack(rows), *lane_records),
        jnp.asarray(taken),
    )


def _steps(step: Any, method: Method[Any], program: Program, lane: Any, limit: int) -> Walk:
    taken, records = 0, []
    while taken < limit and not bool(_done(method, lane.state)):
        lane, record = yield from walk(step, (program, lane), {})
        records.append(jax.tree.map(np.asarray, record))
        taken += 1
    return lane, records, taken


@partial(jax.jit, static_argnames="method")
def _done(method: Method[Any], state: Any) -> Any:
    return jnp.all(method.done(state))


@dataclasses.dataclass(frozen=True)
class _By:
    """``one(method, ...)``, compared by value."""

    one: Callable[..., Any]
    method: Method[Any]

    def __call__(self, *args: Any) -> Any:
        return self.one(self.method, *args)
