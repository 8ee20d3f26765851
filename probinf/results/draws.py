"""Collecting the records of a run chunk by chunk, so that no draw is held twice."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from probinf.core.coordinates import Layout, restored, storable, vector_of
from probinf.core.program import Program
from probinf.results.streaming import Running
from probinf.results.summary import Summary

STATS_BYTES = 40
"""Of the statistics of one transition."""

_BLOCK = 2**20  # numbers of one block of draws on its way to the user's coordinates
_MOST_ROWS = 2048


class Kept(NamedTuple):
    """What a run shall keep.

    Attributes:
        sites: of the draws; None for all of them, with the unconstrained positions.
        summaries_only: no draws at all, only their running summary.
    """

    sites: tuple[str, ...] | None = None
    summaries_only: bool = False

    @property
    def everything(self) -> bool:
        """Whether the positions are kept."""
        return self.sites is None and not self.summaries_only


class Collector(abc.ABC):
    """Takes the records of every chunk as they come."""

    @abc.abstractmethod
    def add(self, chunk: list[Any]) -> None:
        """One more chunk: a record per lane, leading axis step."""

    @abc.abstractmethod
    def result(self) -> Any:
        """What ``Method.finish`` finds in ``Run.records``."""


class Pieces(Collector):
    """All records of every lane, put together at the end."""

    def __init__(self, lanes: int) -> None:
        self.pieces: list[list[Any]] = [[] for _ in range(lanes)]

    def add(self, chunk: list[Any]) -> None:
        for pieces, record in zip(self.pieces, chunk, strict=True):
            pieces.append(jax.tree.map(np.copy, record))

    def so_far(self) -> list[Any]:
        """The same as ``result``, with everything kept for more to come."""
        kept = [list(pieces) for pieces in self.pieces]
        joined = self.result()
        self.pieces = kept
        return joined

    def result(self) -> list[Any]:
        """One record per lane; None where there is no chunk."""
        joined: list[Any] = []
        for pieces in self.pieces:
            parts = list(pieces)
            pieces.clear()
            joined.append(jax.tree.map(lambda *p: np.concatenate(p), *parts) if parts else None)
        return joined


class Chains(NamedTuple):
    """The draws of Markov chains after their warm-up.

    Attributes:
        record: statistics by draw, (chain, draw, ...); None while warming up. Its ``position``
            holds the unconstrained positions, or None where they are not kept.
        draws: by site, where only some are kept; None otherwise.
        summary: where no draws are kept; None otherwise.
        warmup_evaluations: density evaluations before.
    """

    record: Any
    draws: dict[str, np.ndarray] | None
    summary: Summary | None
    warmup_evaluations: int


class ChainCollector(Collector):
    """Draws of Markov chains, written once into arrays of their final size.

    Args:
        flat: the program on flat positions.
        layout: of the positions.
        kept: what to keep.
        chains: of the method.
        warmup: steps that are not kept.
        draws: steps that are.
        by_chain: from the records of all lanes to one with leading axes (chain, step).
        evaluations: of such a record.
        superchains: groups of chains with one start each, for the nested R-hat.
    """

    def __init__(
        self,
        flat: Program,
        layout: Layout,
        kept: Kept,
        *,
        chains: int,
        warmup: int,
        draws: int,
        by_chain: Callable[[list[Any]], Any],
        evaluations: Callable[[Any], np.ndarray],
        superchains: int | None = None,
    ) -> None:
        self.draws, self.warmup, self.by_chain = draws, warmup, by_chain
        self.evaluations = evaluations
        self.taken, self.spent = 0, 0
        self.shape: Any = None
        self.rows: list[Rows] = []
        self.positions: list[Rows] = []
        self.blocks: Blocks | None = None
        if not kept.everything:
            self.blocks = Blocks(flat, layout, kept, chains, draws, superchains)

    def add(self, chunk: list[Any]) -> None:
        lengths = [len(jax.tree.leaves(record)[0]) for record in chunk]
        if min(lengths) == 0:  # a chain without a start: `finish` says so
            return
        record = self.by_chain(chunk)
        first = min(max(self.warmup - self.taken, 0), lengths[0])
        self.taken += lengths[0]
        self.spent += int(self.evaluations(record)[:, :first].sum())
        if first == lengths[0]:
            return
        record = jax.tree.map(lambda leaf: leaf[:, first:], record)
        leaves, self.shape = jax.tree.flatten(record._replace(position=None))
        self.rows = self.rows or [Rows(self.draws) for _ in leaves]
        for rows, leaf in zip(self.rows, leaves, strict=True):
            rows.add(leaf)
        if self.blocks is not None:
            self.blocks.add(record.position)
            return
        parts, self.position_shape = jax.tree.flatten(record.position)
        self.positions = self.positions or [Rows(self.draws) for _ in parts]
        for rows, leaf in zip(self.positions, parts, strict=True):
            rows.add(leaf)

    def result(self) -> Chains:
        """Everything after the warm-up."""
        if self.shape is None:
            return Chains(None, None, None, self.spent)
        record = jax.tree.unflatten(self.shape, [rows.filled() for rows in self.rows])
        if self.blocks is not None:
            draws, summary = self.blocks.result()
            return Chains(record, draws, summary, self.spent)
        whole = [rows.filled() for rows in self.positions]
        position = jax.tree.unflatten(self.position_shape, whole)
        return Chains(record._replace(position=position), None, None, self.spent)


class Rows:
    """An array (chain, draw, ...) that is filled from the left; its size is known in advance."""

    def __init__(self, draws: int) -> None:
        self.draws, self.count = draws, 0
        self.array = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        """More draws, (chain, n, ...)."""
        if self.count == 0:
            self.array = np.empty((values.shape[0], self.draws, *values.shape[2:]), values.dtype)
        self.array[:, self.count : self.count + values.shape[1]] = values
        self.count += values.shape[1]

    def filled(self) -> np.ndarray:
        """The draws so far."""
        return self.array[:, : self.count]


class Blocks:
    """Positions brought to the user's coordinates in blocks of one size, then let go.

    Blocks begin at the same draws however the run is cut in chunks, so that a run which was
    resumed computes what an unbroken one does, bit for bit.
    """

    def __init__(
        self,
        flat: Program,
        layout: Layout,
        kept: Kept,
        chains: int,
        draws: int,
        superchains: int | None,
    ) -> None:
        self.flat, self.kept, self.superchains = flat, kept, superchains
        out = jax.eval_shape(partial(constrained, sites=kept.sites), flat, _one_row(flat))
        width = max(layout.size, sum(leaf.size for leaf in out.values()), 1)
        self.rows = int(np.clip(_BLOCK // (chains * width), 1, batch_length(draws)))
        self.waiting: list[Any] = []
        self.held = 0
        self.sites: dict[str, Rows] = {name: Rows(draws) for name in out}
        self.running = Running(chains, draws, self.rows) if kept.summaries_only else None

    def add(self, position: Any) -> None:
        """More positions, (chain, n, ...)."""
        self.waiting.append(position)
        self.held += vector_of(position).shape[1]
        if self.held < self.rows:
            return
        joined = self._joined()
        whole = self.held // self.rows * self.rows
        for first in range(0, whole, self.rows):
            self._emit(_cut(joined, first, first + self.rows), self.rows)
        self.waiting = [jax.tree.map(np.copy, _cut(joined, whole, self.held))]
        self.held -= whole

    def _joined(self) -> Any:
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *self.waiting)

    def _emit(self, block: Any, count: int) -> None:
        chains, rows = vector_of(block).shape[:2]
        flat_rows = jax.tree.map(lambda v: v.reshape(chains * rows, *v.shape[2:]), block)
        values = constrained(self.flat, flat_rows, sites=self.kept.sites)
        for name, value in values.items():
            whole = np.asarray(value).reshape(chains, rows, *value.shape[1:])
            values[name] = whole[:, :count]
            if self.running is None:
                self.sites[name].add(values[name])
        if self.running is not None:
            self.running.add(values)

    def result(self) -> tuple[dict[str, np.ndarray] | None, Summary | None]:
        """The draws of the sites, or the summary."""
        if self.held:  # the last block is filled up with copies of its last row
            last = self._joined()
            index = np.minimum(np.arange(self.rows), self.held - 1)
            self._emit(jax.tree.map(lambda v: v[:, index], last), self.held)
            self.held = 0
        if self.running is not None:
            return None, self.running.summary(self.superchains)
        return {name: rows.filled() for name, rows in self.sites.items()}, None


def _cut(tree: Any, first: int, last: int) -> Any:
    return jax.tree.map(lambda v: v[:, first:last], tree)


def batch_length(draws: int) -> int:
    """Draws of a batch whose means tell the Monte Carlo error: ``draws ** (2 / 3)``."""
    return max(1, round(draws ** (2 / 3)))


@partial(jax.jit, static_argnames=("sites",))
def constrained(
    flat: Program, rows: Any, *, sites: tuple[str, ...] | None = None
) -> dict[str, jax.Array]:
    """The user's coordinates of many storable positions; ``sites`` None for all."""

    def one(x: Any) -> dict[str, jax.Array]:
        values = flat.constrain(x, flat.data)
        return values if sites is None else {name: values[name] for name in sites}

    return jax.vmap(one)(restored(rows))


def chain_bytes(program: Program, layout: Layout, kept: Kept, *, chains: int, draws: int) -> int:
    """Bytes that the draws and statistics of Markov chains take at least, as they are kept.

    A chunk on its way (some 10 MB) and what the warm-up has to remember come on top.
    """
    out = jax.eval_shape(program.constrain, program.template(), program.data)
    itemsize, places = np.dtype(layout.dtype).itemsize, layout.places()
    row = STATS_BYTES
    if kept.everything:
        row += layout.size * itemsize
    if not kept.summaries_only:
        row += sum(
            leaf.size * leaf.dtype.itemsize
            for name, leaf in out.items()
            if (kept.sites is None or name in kept.sites)
            and not (kept.everything and places.get(name, (0, None))[1] == leaf.shape)
        )
    return chains * draws * row


def _one_row(flat: Program) -> Any:
    def row(key: Any) -> Any:
        return jax.tree.map(lambda v: v[None], storable(flat.start(key, flat.data)))

    return jax.eval_shape(row, jax.random.key(0))


def site_draws(
    flat: Program, layout: Layout, positions: Any, sites: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """The user's coordinates of positions (chain, draw, ...), written once.

    Sites whose values are the unconstrained ones (real parameters) are read-only views of
    them, so that they are not held twice.
    """
    chains, draws = vector_of(positions).shape[:2]
    rows = jax.tree.map(lambda v: v.reshape(chains * draws, *v.shape[2:]), positions)
    count = chains * draws
    size = int(min(count, np.clip(_BLOCK // max(layout.size, 1), 1, _MOST_ROWS)))
    places, vectors = layout.places(), vector_of(rows)
    found: dict[str, np.ndarray] = {}
    same: set[str] = set()
    for first in range(0, count, size):
        start = min(first, count - size)  # the last batch overlaps instead of recompiling
        batch = jax.tree.map(lambda v, s=start: v[s : s + size], rows)
        out = constrained(flat, batch, sites=sites)
        if first == 0:
            same = {
                name
                for name, value in out.items()
                if places.get(name, (0, None))[1] == value.shape[1:]
                and value.dtype == vectors.dtype
            }
        for name, value in out.items():
            values = np.asarray(value)[first - start :]
            if name in same:
                own = _view(vectors, places[name])
                if np.array_equal(values, own[first : first + len(values)]):
                    continue
                same.discard(name)  # what was equal so far is copied after all
                found[name] = np.empty((count, *values.shape[1:]), values.dtype)
                found[name][:first] = own[:first]
            if name not in found:
                found[name] = np.empty((count, *values.shape[1:]), values.dtype)
            found[name][first : first + len(values)] = values
    for name in same:
        found[name] = _view(vectors, places[name])
        found[name].flags.writeable = False
    return {
        name: found[name].reshape(chains, draws, *found[name].shape[1:]) for name in sorted(found)
    }


def _view(vectors: np.ndarray, place: tuple[int, tuple[int, ...]]) -> np.ndarray:
    first, shape = place
    size = int(np.prod(shape, dtype=int))
    return vectors[:, first : first + size].reshape(len(vectors), *shape)
