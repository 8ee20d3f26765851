"""Blocks: draws on their way to the user's coordinates, kept by site or only summed up."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from probinf.core.coordinates import Layout, storable, vector_of
from probinf.core.program import Program
from probinf.results.sites import BLOCK, constrained
from probinf.results.streaming import Running
from probinf.results.summary import Summary
from probinf.runtime.records import Kept


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
        self.rows = int(np.clip(BLOCK // (chains * width), 1, batch_length(draws)))
        self.waiting: list[Any] = []
        self.held = 0
        self.sites: dict[str, Rows] = {name: Rows(draws) for name in out}
        self.running = Running(chains, draws, self.rows, flat.axes) if kept.summaries_only else None

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


def _one_row(flat: Program) -> Any:
    def row(key: Any) -> Any:
        return jax.tree.map(lambda v: v[None], storable(flat.start(key, flat.data)))

    return jax.eval_shape(row, jax.random.key(0))
