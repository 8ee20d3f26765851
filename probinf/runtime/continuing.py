"""Continuing a finished run from where its lanes ended, as one longer run would have gone on."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.precision import precisely
from probinf.core.program import Key
from probinf.runtime.lanes import Lane, start_lanes
from probinf.runtime.loop import drive, to_host
from probinf.runtime.method import Method, Run
from probinf.runtime.progress import Bar
from probinf.runtime.records import Collector


def go_on(
    method: Method[Any],
    run: Run,
    taken: int,
    collector: Collector,
    *,
    progress: bool,
    max_seconds: float | None,
) -> Run:
    """The run with the states and the records of its further steps.

    Args:
        method: with its new end; its steps must not depend on that.
        run: finished.
        taken: steps of every lane so far; the next one has the key it would have had.
        collector: takes the further records.
        progress: show a progress bar in a terminal.
        max_seconds: None for no limit.
    """
    began = time.perf_counter()
    with precisely(run.provenance.get("precision")):
        count = len(jax.tree.leaves(run.states)[0])
        keys = jax.vmap(partial(jax.random.fold_in, run.key))(jnp.arange(count))
        example = jax.eval_shape(partial(start_lanes, method), run.flat, keys)
        states = jax.tree.map(partial(_on_device, run.key), example.state, run.states)
        lanes = Lane(keys, jnp.full((count,), taken, example.taken.dtype), states)
        with Bar(type(method).__name__, progress) as bar:
            lanes, interrupted = drive(
                method,
                run.flat,
                lanes,
                length=method.plan(run.program, run.layout).chunk,
                collector=collector,
                keep=lambda _, chunk, __: collector.add(chunk),
                show=bar.show,
                max_seconds=max_seconds,
            )
        states = jax.tree.map(to_host, lanes.state)
    seconds = run.provenance["run_seconds"] + time.perf_counter() - began
    told = {"run_seconds": round(seconds, 3), "interrupted": interrupted}
    return run._replace(
        states=states, records=collector.result(), provenance={**run.provenance, **told}
    )


def _on_device(key: Key, like: Any, leaf: np.ndarray) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=str(jax.random.key_impl(key)))
    return jnp.asarray(leaf, like.dtype)
