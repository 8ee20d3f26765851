"""The one host loop: drives any Method in jitted chunks, with progress and Ctrl-C."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf.checkpoint import Checkpoint, decoded
from probinf.coordinates import Layout, flatten
from probinf.errors import MethodError, SavedFileError
from probinf.population import Population
from probinf.program import Key, Program
from probinf.progress import Bar
from probinf.progress import Status as Status

_TARGET_SECONDS = 1.0


class Run(NamedTuple):
    """Everything a finished (or interrupted) run leaves on the host.

    Attributes:
        program: the user's program.
        flat: the same measure on flat positions.
        layout: leads from flat positions back to the program's.
        states: final state of the method, leading axis lane.
        records: one dict-like record per lane, leading axis step.
        provenance: settings, key, versions, seconds.
    """

    program: Program
    flat: Program
    layout: Layout
    states: Any
    records: list[Any]
    provenance: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """An inference engine as a step machine; options are the fields of a frozen dataclass.

    A lane is one independent replica: a chain of MCMC, an island of SMC.
    """

    @property
    @abc.abstractmethod
    def lanes(self) -> int:
        """Number of independent replicas."""

    @property
    @abc.abstractmethod
    def chunk(self) -> int:
        """Most steps between two looks from the host: the length of the record buffer."""

    @abc.abstractmethod
    def init(self, key: Key, program: Program) -> Any:
        """State of one lane before its first step."""

    @abc.abstractmethod
    def step(self, key: Key, program: Program, state: Any) -> tuple[Any, Any]:
        """One step of one lane, and what to record of it."""

    @abc.abstractmethod
    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether a lane has nothing left to do."""

    @abc.abstractmethod
    def status(self, states: Any) -> Status:
        """Progress of all lanes (host arrays, leading axis lane)."""

    @abc.abstractmethod
    def finish(self, run: Run) -> Any:
        """The Posterior."""

    def populate(self, key: Key, program: Program) -> Population:
        """One lane from start to end as a pure function, for ``jit(vmap(...))``.

        Raises:
            MethodError: this engine has no weighted population.
        """
        raise MethodError(f"{type(self).__name__} does not produce a weighted population.")

    @abc.abstractmethod
    def validate(self, program: Program, layout: Layout) -> None:
        """Raise MethodError when this method cannot serve ``program``; called before a run."""


class Lane(NamedTuple):
    """A lane on its way: its key, the steps taken, the method's state."""

    key: Key
    taken: Int[Array, ""]
    state: Any


def start_lane(method: Method, program: Program, key: Key) -> Lane:
    """A lane before its first step."""
    return Lane(key, jnp.zeros((), int), method.init(jax.random.fold_in(key, 0), program))


def advance_lane(
    method: Method, program: Program, lane: Lane, limit: Int[Array, ""] | int, length: int
) -> tuple[Lane, Any, Int[Array, ""]]:
    """Up to ``limit`` steps of one lane: the lane, its records (axis ``length``), their count.

    Pure, so ``jit(vmap(...))`` over keys or data sets works. Step ``i`` uses the key
    ``fold_in(key, i)``, so chunking does not change the result.
    """
    record = jax.eval_shape(method.step, lane.key, program, lane.state)[1]
    records = jax.tree.map(lambda r: jnp.zeros((length, *r.shape), r.dtype), record)

    def running(carry: Any) -> Bool[Array, ""]:
        taken, lane, _ = carry
        return (taken < limit) & ~method.done(lane.state)

    def body(carry: Any) -> Any:
        taken, lane, records = carry
        key = jax.random.fold_in(lane.key, lane.taken + 1)
        state, record = method.step(key, program, lane.state)
        records = jax.tree.map(lambda b, r: b.at[taken].set(r), records, record)
        return taken + 1, Lane(lane.key, lane.taken + 1, state), records

    taken, lane, records = jax.lax.while_loop(running, body, (jnp.zeros((), int), lane, records))
    return lane, records, taken


def over_lanes(fn: Any, lanes: Any, count: int) -> Any:
    """``fn`` on every lane: spread over local devices where there are several, else in turn."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return jax.vmap(fn)(lanes)
    shards = max(n for n in range(1, min(len(devices), count) + 1) if count % n == 0)
    if shards == 1:
        return jax.lax.map(fn, lanes)
    mesh = jax.make_mesh(
        (shards,), ("lane",), devices=devices[:shards], axis_types=(jax.sharding.AxisType.Auto,)
    )
    spec = jax.sharding.PartitionSpec("lane")
    mapped = jax.shard_map(
        partial(jax.lax.map, fn), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    return mapped(lanes)


@partial(jax.jit, static_argnames=("method",))
def _start(method: Method, program: Program, keys: Key) -> Lane:
    return over_lanes(partial(start_lane, method, program), keys, method.lanes)


@partial(jax.jit, static_argnames=("method",))
def _advance(method: Method, program: Program, lanes: Lane, limit: Int[Array, ""]) -> Any:
    def one(lane: Lane) -> Any:
        return advance_lane(method, program, lane, limit, method.chunk)

    return over_lanes(one, lanes, method.lanes)


def run(
    method: Method,
    program: Program,
    key: Key,
    *,
    progress: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
) -> Any:
    """Drive ``method`` on ``program`` to its end and return the Posterior.

    Ctrl-C ends the run after the current chunk and returns what exists.
    """
    flat, layout = flatten(program)
    method.validate(program, layout)
    store = None if checkpoint is None else Checkpoint.create(checkpoint, method, program, key)
    return _drive(method, program, flat, layout, key, store, progress, max_seconds)


def resume(
    path: str | pathlib.Path,
    program: Program,
    *,
    method: Method | None = None,
    progress: bool = True,
    max_seconds: float | None = None,
) -> Any:
    """Continue the run that ``sample(..., checkpoint=path)`` left unfinished.

    The draws are bit for bit those of the unbroken run. A run that was finished is put
    together again from its files.

    Args:
        path: the checkpoint's folder.
        program: the same program, on the same data.
        method: needed only where the method or its kernel is not part of probinf.
        progress: show a progress bar in a terminal.
        max_seconds: stop after this time, as in ``sample``.

    Raises:
        SavedFileError: no run is there, a file was truncated or edited, or the data differ.
    """
    store = Checkpoint.open(path, program)
    if method is None:
        method = decoded(store.header["method"])
    elif repr(method) != store.header["method_text"]:
        raise SavedFileError(f"{path} was run with {store.header['method_text']}, not {method!r}.")
    flat, layout = flatten(program)
    method.validate(program, layout)
    return _drive(method, program, flat, layout, store.key, store, progress, max_seconds)


def _drive(
    method: Method,
    program: Program,
    flat: Program,
    layout: Layout,
    key: Key,
    store: Checkpoint | None,
    progress: bool,
    max_seconds: float | None,
) -> Any:
    began = time.perf_counter()
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(method.lanes))
    with Bar(type(method).__name__, progress) as bar:
        bar.show(Status(0.0, "compiling"))
        if store is not None and store.chunks:
            lanes, pieces = _stored(method, flat, keys, store)
        else:
            lanes, pieces = _start(method, flat, keys), [[] for _ in range(method.lanes)]
        jax.block_until_ready(_advance(method, flat, lanes, jnp.asarray(0)))
        compiled = time.perf_counter()
        before = 0.0 if store is None else store.seconds
        lanes, interrupted = _loop(method, flat, lanes, pieces, bar, store, max_seconds)
    ended = time.perf_counter()
    provenance = {
        "method": repr(method),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "compile_seconds": round(compiled - began, 3),
        "run_seconds": round(before + ended - compiled, 3),
        "interrupted": interrupted,
    }
    states = jax.tree.map(_to_host, lanes.state)
    records = [
        jax.tree.map(lambda *parts: np.concatenate(parts), *p) if p else None for p in pieces
    ]
    return method.finish(Run(program, flat, layout, states, records, provenance))


def _stored(
    method: Method, flat: Program, keys: Key, store: Checkpoint
) -> tuple[Lane, list[list[Any]]]:
    lanes = jax.eval_shape(partial(_start, method), flat, keys)
    records = jax.eval_shape(partial(_advance, method), flat, lanes, jnp.asarray(0))[1]
    return store.load(lanes, records, method.lanes)


def _loop(
    method: Method,
    flat: Program,
    lanes: Lane,
    pieces: list[list[Any]],
    bar: Bar,
    store: Checkpoint | None,
    max_seconds: float | None,
) -> tuple[Lane, bool]:
    """Chunk after chunk, each of them added to the ``pieces`` of its lane, and to the store."""
    limit = max(1, method.chunk // 10)
    start, earlier = time.perf_counter(), 0.0 if store is None else store.seconds
    try:
        while not bool(jnp.all(jax.vmap(method.done)(lanes.state))):
            began = time.perf_counter()
            moved, records, taken = jax.block_until_ready(
                _advance(method, flat, lanes, jnp.asarray(limit))
            )
            seconds = time.perf_counter() - began
            host, counts = jax.tree.map(_to_host, records), np.asarray(taken).tolist()
            chunk = [
                jax.tree.map(partial(_head, lane=k, count=count), host)
                for k, count in enumerate(counts)
            ]
            lanes = moved
            for piece, part in zip(pieces, chunk, strict=True):
                piece.append(part)
            if store is not None:
                store.append(lanes, chunk, earlier + time.perf_counter() - start)
            bar.show(method.status(jax.tree.map(_to_host, lanes.state)))
            pace = max(counts) / max(seconds, 1e-6)
            limit = int(np.clip(pace * _TARGET_SECONDS, 1, method.chunk))
            if max_seconds is not None and time.perf_counter() - start > max_seconds:
                return lanes, not bool(jnp.all(jax.vmap(method.done)(lanes.state)))
    except KeyboardInterrupt:
        return lanes, True
    return lanes, False


def _head(records: np.ndarray, lane: int, count: int) -> np.ndarray:
    return records[lane, :count].copy()


def _to_host(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)
