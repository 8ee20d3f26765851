"""Sessions: a run from its plan to its posterior; to start and to resume are the same thing."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.coordinates import flatten, refuse_integers
from probinf.core.host.answering import tallied
from probinf.core.precision import current, precisely
from probinf.core.program import Key, Program
from probinf.core.rows import placed
from probinf.core.spreading import agreed, is_first_process
from probinf.errors import SavedFileError
from probinf.fronts.recompiling import recompiles
from probinf.runtime.checkpoint import Checkpoint
from probinf.runtime.codec import decoded, described, encoded
from probinf.runtime.lanes import (
    Lane,
    advance_lanes,
    lane_keys,
    start_lanes,
    start_while_compiling,
)
from probinf.runtime.loop import drive, to_host
from probinf.runtime.memory import guarded
from probinf.runtime.method import Method, Run
from probinf.runtime.progress import Bar, Status
from probinf.runtime.records import Kept

Result = TypeVar("Result")

BUFFER = 2**23
"""Bytes of the records of one chunk, where a record is large."""


def start(
    method: Method[Result],
    program: Program,
    key: Key,
    *,
    kept: Kept = Kept(),
    progress: bool = True,
    checkpoint: str | pathlib.Path | None = None,
    max_seconds: float | None = None,
    states: Any = None,
    notes: dict[str, Any] | None = None,
) -> Result:
    """Drive an engine on a program to its end.

    Ctrl-C ends the run after the current chunk and returns what exists.

    Args:
        method: the engine.
        program: the user's.
        key: of the run.
        kept: what is kept of the draws.
        progress: show a progress bar in a terminal.
        checkpoint: a new folder for the run.
        max_seconds: stop after this time.
        states: (leading axis lane) to begin with, in place of ``method.init``.
        notes: go into the provenance, also of a run that is resumed.
    """
    session = _Session(method, program, key, kept, {"precision": current(), **(notes or {})})
    if checkpoint is not None:
        with precisely("double"):  # the data as given, whatever the precision of the run
            session.store = Checkpoint.create(checkpoint, method, program, key, session.notes)
    return session.run(progress, max_seconds, states)


def holds_run(path: str | pathlib.Path) -> bool:
    """Whether a run has begun in a folder, as the first of several processes sees it."""
    return bool(agreed(Checkpoint.exists(path)))


def resume(
    path: str | pathlib.Path,
    program: Program,
    *,
    method: Method[Result] | None = None,
    key: Key | None = None,
    kept: Kept = Kept(),
    progress: bool = True,
    max_seconds: float | None = None,
    check: bool = True,
    states: Any = None,
    notes: dict[str, Any] | None = None,
) -> Result:
    """Continue a run from its folder; see :func:`probinf.resume`.

    ``states`` begin a run whose folder has no chunk yet, and ``notes`` must be those that it was
    started with. With ``key`` it must be the run of that key.
    """
    if "update_of" in Checkpoint.open(path, program, check=False).header["notes"] and not notes:
        raise SavedFileError(
            f"{path} holds an update, which is nothing without the posterior that it began with. "
            "Call pi.update again, with the same arguments."
        )
    with precisely("double"):
        store = Checkpoint.open(path, program, method, check)
    for name, value in (notes or {}).items():
        if store.header["notes"].get(name) != value:
            raise SavedFileError(f"{path} holds a run that began otherwise: {name} differs.")
    if key is not None and np.asarray(jax.random.key_data(key)).tolist() != store.header["key"]:
        raise SavedFileError(
            f"{path} holds the run of another key. Give every run a folder of its own, or go on "
            "with that one by pi.resume."
        )
    if method is None:
        method = decoded(store.header["method"])
        assert method is not None
    elif encoded(method) != store.header["method"]:
        raise SavedFileError(f"{path} was run with {store.header['text']}, not {method!r}.")
    written = store.header["notes"]
    with precisely(written.get("precision")):
        session = _Session(method, program, store.key, kept, written)
        session.store = store
        return session.run(progress, max_seconds, states)


class _Session:
    """One run: what is known before its first step."""

    def __init__(
        self,
        method: Method[Any],
        program: Program,
        key: Key,
        kept: Kept,
        notes: dict[str, Any],
    ) -> None:
        self.method, self.key, self.notes = method, key, notes
        self.store: Checkpoint | None = None
        flat, layout = flatten(program, integers=True)
        flat = dataclasses.replace(flat, data=placed(flat.data))
        plan = method.plan(program, layout)
        if not plan.moves_integers:
            refuse_integers(layout)
        self.memory = guarded(program, layout, kept, plan.draws)
        self.plan, self.blank = plan, Run(program, flat, layout, kept)
        self.collector = method.collector(self.blank, plan)

    def run(self, progress: bool, max_seconds: float | None, states: Any = None) -> Any:
        """All of it; what a checkpoint holds is taken from there."""
        began, method, flat = time.perf_counter(), self.method, self.blank.flat
        before = 0.0 if self.store is None else self.store.seconds
        length = int(np.clip(BUFFER // max(self.plan.row_bytes, 1), 1, self.plan.chunk))
        with tallied() as tally, Bar(type(method).__name__, progress and is_first_process()) as bar:
            bar.show(Status(0.0, "compiling"))
            lanes = self._begin(length, states)
            # limit 0: compiled, with no step taken
            jax.block_until_ready(advance_lanes(method, length, flat, lanes, jnp.asarray(0)))
            compiled = time.perf_counter()
            lanes, interrupted = drive(
                method,
                flat,
                lanes,
                length=length,
                collector=self.collector,
                keep=self._keep,
                show=bar.show,
                max_seconds=max_seconds,
            )
        ended = time.perf_counter()
        provenance = {
            "engine": type(method).__name__,
            "method": described(method),
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "compile_seconds": round(compiled - began, 3),
            "run_seconds": round(before + ended - compiled, 3),
            "interrupted": interrupted,
            **recompiles(self.blank.program),
            **self.notes,
            **self.memory,
            **tally.told(),
        }
        return method.finish(
            self.blank._replace(
                states=jax.tree.map(to_host, lanes.state),
                records=self.collector.result(),
                provenance=provenance,
                key=self.key,
            )
        )

    def _begin(self, length: int, states: Any) -> Lane:
        """The lanes before the first step, or after the last chunk of the checkpoint."""
        count, flat = self.plan.lanes, self.blank.flat
        keys = lane_keys(self.key, count)
        if self.store is not None and self.store.chunks:
            example = jax.eval_shape(partial(start_lanes, self.method), flat, keys)
            advance = partial(advance_lanes, self.method, length)
            records = jax.eval_shape(advance, flat, example, jnp.asarray(0))[1]
            lanes: Lane = self.store.lanes(example, self.method.grows)
            for chunk in self.store.stored(records, count):
                self.collector.add(chunk)
            self.earlier = self.store.seconds
            agreed(1)  # all have read before one of them writes
            return lanes
        self.earlier = 0.0
        if states is None and self.notes.get("start") == "given":
            raise SavedFileError(
                "this run was to begin at the values of start=, and ended before its first chunk "
                "was written. Begin it again with pi.sample(..., start=) and a new folder."
            )
        if states is not None:
            return Lane(keys, jnp.zeros((count,), int), states)
        return start_while_compiling(self.method, length, flat, keys)

    def _keep(self, lanes: Lane, chunk: list[Any], seconds: float) -> None:
        self.collector.add(chunk)
        if self.store is not None:
            self.store.append(lanes, chunk, self.earlier + seconds)
