"""Collecting the draws of Markov chains chunk by chunk, so that no draw is held twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from probinf.results.blocks import Blocks, Rows
from probinf.results.summary import Summary
from probinf.runtime.method import Run
from probinf.runtime.records import Collector


class Transition(NamedTuple):
    """What an engine of chains records of one transition.

    Attributes:
        position: as ``storable`` makes it.
        stats: by name; ``"evaluations"`` of the density among them.
    """

    position: Any
    stats: dict[str, Any]


class Chains(NamedTuple):
    """The draws of Markov chains after their warm-up.

    Attributes:
        stats: by name, (chain, draw, ...); empty while warming up.
        position: unconstrained, (chain, draw, ...); None where they are not kept.
        draws: by site, where only some are kept; None otherwise.
        summary: where no draws are kept; None otherwise.
        warmup_evaluations: density evaluations before.
        latest: unconstrained, some of the last draws, where they are not kept; for the check of
            their precision.
    """

    stats: dict[str, np.ndarray]
    position: Any
    draws: dict[str, np.ndarray] | None
    summary: Summary | None
    warmup_evaluations: int
    latest: Any = np.empty((0, 0))


class ChainCollector(Collector):
    """Draws of Markov chains, written once into arrays of their final size.

    Args:
        run: that begins.
        chains: of the engine.
        warmup: steps that are not kept.
        draws: steps that are.
        lockstep: whether a lane holds many chains.
        superchains: groups of chains with one start each, for the nested R-hat.
    """

    def __init__(
        self,
        run: Run,
        *,
        chains: int,
        warmup: int,
        draws: int,
        lockstep: bool,
        superchains: int | None = None,
    ) -> None:
        self.draws, self.warmup, self.lockstep = draws, warmup, lockstep
        self.taken, self.spent = 0, 0
        self.structure: Any = None
        self.rows: list[Rows] = []
        self.blocks: Blocks | None = None
        self.latest: Any = np.empty((0, 0))
        if not run.kept.everything:
            self.blocks = Blocks(run.flat, run.layout, run.kept, chains, draws, superchains)

    def add(self, chunk: list[Transition]) -> None:
        lengths = [len(jax.tree.leaves(record)[0]) for record in chunk]
        if min(lengths) == 0:  # a chain without a start: `finish` says so
            return
        if self.lockstep:
            each = [jax.tree.map(lambda v: np.swapaxes(v, 0, 1), lane) for lane in chunk]
            record = jax.tree.map(lambda *lanes: np.concatenate(lanes), *each)
        else:
            record = jax.tree.map(lambda *lanes: np.stack(lanes), *chunk)
        first = min(max(self.warmup - self.taken, 0), lengths[0])
        self.taken += lengths[0]
        self.spent += int(record.stats["evaluations"][:, :first].sum())
        if first == lengths[0]:
            return
        record = jax.tree.map(lambda leaf: leaf[:, first:], record)
        if self.blocks is not None:
            self.blocks.add(record.position)
            self.latest = jax.tree.map(_some, record.position)
            record = record._replace(position=None)
        leaves, self.structure = jax.tree.flatten(record)
        self.rows = self.rows or [Rows(self.draws) for _ in leaves]
        for rows, leaf in zip(self.rows, leaves, strict=True):
            rows.add(leaf)

    def result(self) -> Chains:
        """Everything after the warm-up."""
        if self.structure is None:
            return Chains({}, None, None, None, self.spent)
        position, stats = jax.tree.unflatten(self.structure, [rows.filled() for rows in self.rows])
        draws, summary = (None, None) if self.blocks is None else self.blocks.result()
        return Chains(stats, position, draws, summary, self.spent, self.latest)


def _some(positions: np.ndarray) -> np.ndarray:
    """At most 64 draws of each chain of a chunk (chain, draw, ...), copied."""
    return positions[:, :: -(-positions.shape[1] // 64)].copy()
