"""The one host loop: drives any Method in jitted chunks, with progress and Ctrl-C."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from probinf.core.coordinates import Layout, flatten
from probinf.core.population import Population
from probinf.core.program import Key, Program
from probinf.errors import MethodError, SavedFileError
from probinf.results.draws import Collector, Kept, Pieces
from probinf.runtime.checkpoint import Checkpoint, decoded
from probinf.runtime.compiling import compiled
from probinf.runtime.progress import Bar
from probinf.runtime.progress import Status as Status

_TARGET_SECONDS = 1.0
_BUFFER = 2**23  # bytes of the records of one chunk, where a record is large


class Run(NamedTuple):
    """Everything a finished (or interrupted) run leaves on the host.

    Attributes:
        program: the user's program.
        flat: the same measure on flat positions.
        layout: leads from flat positions back to the program's.
        states: final state of the method, leading axis lane.
        records: what the method's collector made of the records; by default one per lane,
            leading axis step.
        provenance: settings, key, versions, seconds.
        kept: what the user wants to keep.
    """

    program: Program
    flat: Program
    layout: Layout
    states: Any
    records: Any
    provenance: dict[str, Any]
    kept: Kept = Kept()


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

    def again(
        self, program: Program, lanes: Lane, collector: Collector
    ) -> tuple[Lane, list[Any]] | None:
        """When all lanes are done: lanes that have more to do, or None when that was all.

        It must follow from its arguments alone, so that a resumed run goes the same way.

        Args:
            program: on flat positions.
            lanes: all of them done.
            collector: holds the records so far.

        Returns:
            The lanes to go on with, and one more record for each of them.
        """
        return None

    @property
    def moves_integers(self) -> bool:
        """Whether it can deal with discrete coordinates."""
        return False

    def row_bytes(self, layout: Layout) -> int:
        """Bytes of the records of one step of all lanes, where they hold positions; else 0."""
        return 0

    def collector(self, flat: Program, layout: Layout, kept: Kept) -> Collector:
        """What takes the records of a run; by default all of them are kept.

        Raises:
            MethodError: ``kept`` asks for summaries of draws that have no order.
        """
        if kept.summaries_only:
            raise MethodError(
                "summaries_only= is for Markov chains, whose draws come one after the other "
                f"(NUTS, MCMC, ChEES, ParallelTempering); {type(self).__name__} weighs all draws "
                "at its end. Name some sites with keep= instead."
            )
        return Pieces(self.lanes)

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


@partial(compiled, static=("method",), once=True)
def start_lanes(method: Method, program: Program, keys: Key) -> Lane:
    """All lanes before their first step."""
    return over_lanes(partial(start_lane, method, program), keys, method.lanes)


@partial(compiled, static=("method", "length"))
def _advance(
    method: Method, length: int, program: Program, lanes: Lane, limit: Int[Array, ""]
) -> Any:
    def one(lane: Lane) -> Any:
        return advance_lane(method, program, lane, limit, length)

    return over_lanes(one, lanes, method.lanes)


def run(
    method: Method,
    program: Program,
    key: Key,
    *,
    progress: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
    kept: Kept = Kept(),
    start: Any = None,
) -> Any:
    """Drive ``method`` on ``program`` to its end and return the Posterior.

    Ctrl-C ends the run after the current chunk and returns what exists. ``start`` are states
    (leading axis lane) to begin with, in place of ``method.init``.
    """
    flat, layout = flatten(program, integers=method.moves_integers)
    method.validate(program, layout)
    collector = method.collector(flat, layout, kept)
    store = None if checkpoint is None else Checkpoint.create(checkpoint, method, program, key)
    blank = Run(program, flat, layout, None, None, {}, kept)
    return _drive(method, blank, key, collector, store, progress, max_seconds, start)


def resume(
    path: str | pathlib.Path,
    program: Program,
    *,
    method: Method | None = None,
    progress: bool = True,
    max_seconds: float | None = None,
    keep: str | Sequence[str] | None = None,
    summaries_only: bool = False,
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
        keep: sites whose draws are kept, as in ``sample``. All draws are in the folder, so that
            a run made with ``summaries_only=True`` gives them back by name, a few at a time.
        summaries_only: keep no draws, as in ``sample``.

    Raises:
        SavedFileError: no run is there, a file was truncated or edited, or the data differ.
        MethodError: ``keep`` names an unknown site.
    """
    store = Checkpoint.open(path, program)
    if method is None:
        method = decoded(store.header["method"])
    elif repr(method) != store.header["method_text"]:
        raise SavedFileError(f"{path} was run with {store.header['method_text']}, not {method!r}.")
    flat, layout = flatten(program, integers=method.moves_integers)
    method.validate(program, layout)
    kept = wanted(program, keep, summaries_only)
    collector = method.collector(flat, layout, kept)
    blank = Run(program, flat, layout, None, None, {}, kept)
    return _drive(method, blank, store.key, collector, store, progress, max_seconds)


def wanted(program: Program, keep: str | Sequence[str] | None, summaries_only: bool) -> Kept:
    """What the user wants to keep, checked against the sites of the program.

    Raises:
        MethodError: ``keep`` is empty or names an unknown site.
    """
    if keep is None:
        return Kept(None, summaries_only)
    sites = (keep,) if isinstance(keep, str) else tuple(keep)
    known = sorted(jax.eval_shape(program.constrain, program.template(), program.data))
    unknown = [name for name in sites if name not in known]
    if unknown or not sites:
        raise MethodError(
            f"keep: no site named {unknown}; this program has {known}."
            if unknown
            else "keep: no site is named. Use summaries_only=True to keep no draws."
        )
    return Kept(tuple(sorted(set(sites))), summaries_only)


def _drive(
    method: Method,
    blank: Run,
    key: Key,
    collector: Collector,
    store: Checkpoint | None,
    progress: bool,
    max_seconds: float | None,
    start: Any = None,
) -> Any:
    began, flat = time.perf_counter(), blank.flat
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(method.lanes))
    with Bar(type(method).__name__, progress) as bar:
        bar.show(Status(0.0, "compiling"))
        row = method.row_bytes(blank.layout)
        length = int(np.clip(_BUFFER // max(row, 1), 1, method.chunk))
        if store is not None and store.chunks:
            example = jax.eval_shape(partial(start_lanes, method), flat, keys)
            records = jax.eval_shape(
                partial(_advance, method, length), flat, example, jnp.asarray(0)
            )[1]
            lanes = store.lanes(example)
            for chunk in store.stored(records, method.lanes):
                collector.add(chunk)
        elif start is not None:
            lanes = Lane(keys, jnp.zeros((method.lanes,), int), start)
        else:
            lanes = start_lanes(method, flat, keys)
        jax.block_until_ready(_advance(method, length, flat, lanes, jnp.asarray(0)))
        compiled = time.perf_counter()
        before = 0.0 if store is None else store.seconds
        lanes, interrupted = _loop(method, flat, lanes, length, collector, bar, store, max_seconds)
    ended = time.perf_counter()
    provenance = {
        "method": repr(method),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "compile_seconds": round(compiled - began, 3),
        "run_seconds": round(before + ended - compiled, 3),
        "interrupted": interrupted,
    }
    states = jax.tree.map(_to_host, lanes.state)
    done = blank._replace(states=states, records=collector.result(), provenance=provenance)
    return method.finish(done)


def _loop(
    method: Method,
    flat: Program,
    lanes: Lane,
    length: int,
    collector: Collector,
    bar: Bar,
    store: Checkpoint | None,
    max_seconds: float | None,
) -> tuple[Lane, bool]:
    """Chunk after chunk, each of them handed to the collector, and to the store."""
    limit = max(1, length // 10)
    start, earlier = time.perf_counter(), 0.0 if store is None else store.seconds

    def finished() -> bool:
        return bool(jnp.all(jax.vmap(method.done)(lanes.state)))

    def keep(moved: Lane, chunk: list[Any]) -> Lane:
        collector.add(chunk)
        if store is not None:
            store.append(moved, chunk, earlier + time.perf_counter() - start)
        return moved

    try:
        while True:
            if finished():
                more = method.again(flat, lanes, collector)
                if more is None:
                    return lanes, False
                lanes = keep(*more)
                continue
            began = time.perf_counter()
            moved, records, taken = jax.block_until_ready(
                _advance(method, length, flat, lanes, jnp.asarray(limit))
            )
            seconds = time.perf_counter() - began
            host, counts = jax.tree.map(_to_host, records), np.asarray(taken).tolist()
            chunk = [
                jax.tree.map(partial(_head, lane=k, count=count), host)
                for k, count in enumerate(counts)
            ]
            lanes = keep(moved, chunk)
            del moved, records, host, chunk  # or they would be held beside the next ones
            bar.show(method.status(jax.tree.map(_to_host, lanes.state)))
            pace = max(counts) / max(seconds, 1e-6)
            limit = int(np.clip(pace * _TARGET_SECONDS, 1, length))
            over = max_seconds is not None and time.perf_counter() - start > max_seconds
            if over and not finished():
                return lanes, True
    except KeyboardInterrupt:
        return lanes, True


def _head(records: np.ndarray, lane: int, count: int) -> np.ndarray:
    return records[lane, :count]


def _to_host(leaf: Any) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)
