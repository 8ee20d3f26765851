"""The one host loop: compiled chunks of about a second, handed over as they come, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.host.asking import asks
from probinf.core.program import Program
from probinf.core.spreading import agreed
from probinf.runtime.lanes import Lane, advance_lanes, all_done
from probinf.runtime.method import Method
from probinf.runtime.pace import Pace
from probinf.runtime.progress import Status
from probinf.runtime.records import Collector

Keep = Callable[[Lane, list[Any], float], None]


def drive(
    method: Method[Any],
    flat: Program,
    lanes: Lane,
    *,
    length: int,
    collector: Collector,
    keep: Keep,
    show: Callable[[Status], None],
    max_seconds: float | None,
) -> tuple[Lane, bool]:
    """Chunk after chunk until all lanes are done, or Ctrl-C, or ``max_seconds`` are over.

    Args:
        method: the engine.
        flat: the program on flat positions.
        lanes: on their way.
        length: most steps of a chunk.
        collector: holds the records, for ``method.again``.
        keep: takes every chunk: the lanes after it, a record per lane, seconds so far.
        show: takes the progress after it.
        max_seconds: None for no limit.

    Returns:
        The lanes, and whether they were interrupted.
    """
    # one step may take longer than max_seconds, or much longer than the steps of other programs
    first = 1 if max_seconds is not None or asks(flat.data) else length // 10
    start, pace = time.perf_counter(), Pace(first, length)

    def seconds() -> float:
        return time.perf_counter() - start

    def finished() -> bool:
        return bool(all_done(method, lanes.state))

    try:
        while True:
            if finished():
                more = method.again(flat, lanes, collector)
                if more is None:
                    return lanes, False
                keep(*more, seconds())
                lanes = more[0]
                continue
            began = seconds()
            limit = jnp.asarray(agreed(pace.limit))
            moved, records, taken = jax.block_until_ready(
                advance_lanes(method, length, flat, lanes, limit)
            )
            counts = np.asarray(taken).tolist()
            pace.took(max(counts), seconds() - began)
            host = jax.tree.map(to_host, records)
            chunk = [
                jax.tree.map(partial(_head, lane=k, count=count), host)
                for k, count in enumerate(counts)
            ]
            keep(moved, chunk, seconds())
            lanes = moved
            del moved, records, host, chunk  # or they would be held beside the next ones
            show(method.status(jax.tree.map(to_host, lanes.state)))
            if max_seconds is not None and agreed(seconds() > max_seconds) and not finished():
                return lanes, True
    except KeyboardInterrupt:
        return lanes, True


def _head(records: np.ndarray, lane: int, count: int) -> np.ndarray:
    return records[lane, :count]


def to_host(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array, random keys as their data."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)
