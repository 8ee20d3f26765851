"""Jobs: the evaluations of one batch, given to whoever evaluates them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from probinf.core.host.calls import Call
from probinf.core.host.pools import Failure, Workers, here

__all__ = ["Failure", "evaluated"]


@lru_cache(maxsize=32)
def _workers(call: Call) -> Workers:
    return Workers(call.executor, call.timeout, call.name)


def evaluated(call: Call, rows: Sequence[Any]) -> list[Any]:
    """Values or failures, in the order of the rows."""
    if call.before is not None:
        before = call.before
        rows = _vectorized(before, rows) if call.vectorized else here(before, rows)
    fine = [k for k, row in enumerate(rows) if not isinstance(row, Failure)]
    values: list[Any] = list(rows)
    jobs = [_python(rows[k]) for k in fine]
    found = _in_parts(call, jobs) if call.vectorized else _workers(call).run(call.function, jobs)
    for k, value in zip(fine, found, strict=True):
        values[k] = value
    return values


def _python(row: Any) -> Any:
    """Scalars as numbers, arrays as they are."""
    if isinstance(row, dict):
        return {name: v[()] if np.ndim(v) == 0 else v for name, v in row.items()}
    return row


def _vectorized(function: Any, rows: Sequence[Any]) -> list[Any]:
    (found,) = here(function, [_stacked(rows)])
    if isinstance(found, Failure):
        return [found] * len(rows)
    return list(np.asarray(found))


def _stacked(rows: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _in_parts(call: Call, rows: Sequence[Any]) -> list[Any]:
    """Rows in parts whose size does not depend on the workers; a part that fails row by row."""
    workers = _workers(call)
    parts = [rows[k : k + call.rows] for k in range(0, len(rows), call.rows)]
    values: list[Any] = []
    for part, value in zip(
        parts, workers.run(call.function, [_stacked(p) for p in parts]), strict=True
    ):
        if not isinstance(value, Failure):
            values += _each(value, part)
        elif len(part) == 1:
            values.append(value)
        else:
            single = workers.run(call.function, [_stacked([row]) for row in part])
            for row, found in zip(part, single, strict=True):
                values += [found] if isinstance(found, Failure) else _each(found, [row])
    return values


def _each(value: Any, part: Sequence[Any]) -> list[Any]:
    found = np.asarray(value)
    if found.ndim and found.shape[0] == len(part):
        return list(found)
    text = f"returned shape {found.shape} for {len(part)} sets of parameters, not ({len(part)},)"
    return [Failure("wrong shape", text)] * len(part)
