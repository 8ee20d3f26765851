"""Best-first search over beginnings of texts, and what it proves: the half on the host."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Program
from probinf.errors import ModelError, ZeroLikelihoodError
from probinf.fronts.tokens.data import Sizes
from probinf.fronts.tokens.reward import Reward
from probinf.tokens import prefixes
from probinf.tokens.bounds import Bounds

Entry = tuple[float, int, int, int]
"""Minus the bound, birth of the beginning, its slot, and which token follows."""

_ROUNDING = 1e-4  # of sums of float32, by their size


class MostProbable(NamedTuple):
    """The texts of the largest mass that were found, the largest first.

    Attributes:
        tokens: (M, T), ``eos`` after the end.
        length: (M,).
        log_prob: (M,) under the model.
        log_density: (M,) of the target, not normalised.
        bound: no other text has a larger log density than this.
        proved: whether these are the M largest of all: ``bound`` is not above the last of them.
        opened: beginnings that the model has read.
    """

    tokens: np.ndarray
    length: np.ndarray
    log_prob: np.ndarray
    log_density: np.ndarray
    bound: float
    proved: bool
    opened: int

    @property
    def gap(self) -> float:
        """By how much a text that was not found could surpass the last one; 0 where proved."""
        return 0.0 if self.proved else float(self.bound - self.log_density[-1])


class _Node(NamedTuple):
    """A beginning that was opened: how its likeliest tokens go on, and the bounds of these."""

    bound: float
    of_next: np.ndarray
    log_next: np.ndarray
    next: np.ndarray


class Search:
    """The queue of beginnings that are next, by bounds, and the best texts so far."""

    def __init__(
        self,
        program: Program,
        sizes: Sizes,
        bounds: Bounds,
        count: int,
        rows: int,
        slots: int,
        branches: int,
    ) -> None:
        self._space: Any = program.state_space
        self._data, self._sizes, self._bounds = program.data, sizes, bounds
        self._count, self._rows, self._slots = count, rows, slots
        self._branches = min(branches + 1, self._data.lm.vocab_size)
        self._rewarded = isinstance(self._data.potential, Reward)
        self._nodes: dict[int, _Node] = {}
        self._free = list(range(slots - 1, 0, -1))
        self._queue: list[Entry] = []
        self._births = 0
        self._born: dict[int, int] = {}
        self._texts: list[tuple[float, int, Any]] = []  # a heap, the least first
        self._missed = -np.inf  # bound of all that was forgotten
        self._opened = 1
        self._pool, first = prefixes.begun(
            self._data, bounds.ahead, sizes=sizes, slots=slots, branches=self._branches
        )
        self._fresh = self._take(first, [0], [np.inf])

    def beam(self, limit: int) -> None:
        """The best of what follows the last beginnings, until they end."""
        while self._fresh and self._opened < limit:
            mine = [
                (-node.of_next[rank], self._born[slot], slot, rank)
                for slot in self._fresh
                for node in (self._nodes[slot],)
                for rank in range(len(node.next))
                if node.of_next[rank] > self._worst
            ]
            wanted = heapq.nsmallest(min(self._rows, limit - self._opened), mine)
            taken = {(slot, rank) for _, _, slot, rank in wanted}
            self._queue = [e for e in self._queue if (e[2], e[3]) not in taken]
            heapq.heapify(self._queue)
            self._fresh = self._open(wanted)

    def best_first(self, limit: int) -> None:
        """Beginnings in the order of their bounds."""
        while self._opened < limit:
            wanted: list[Entry] = []
            while self._queue and len(wanted) < min(self._rows, limit - self._opened):
                entry = heapq.heappop(self._queue)
                if self._born.get(entry[2]) != entry[1]:
                    continue  # forgotten
                if -entry[0] <= self._worst:
                    heapq.heappush(self._queue, entry)
                    break
                wanted.append(entry)
            if not wanted:
                return
            self._open(wanted)

    def found(self) -> MostProbable:
        """The texts, and what is known of all others."""
        bound = max([self._missed, *(-e[0] for e in self._alive())])
        proved = bound <= self._worst
        bound = max(bound, self._worst)
        if not self._texts:
            what = (
                "no text has positive mass"
                if proved
                else f"no text of positive mass has ended among {self._opened} beginnings; let the "
                "search go on (limit=, slots=, rows=)"
            )
            raise ZeroLikelihoodError(f"most_probable: {what}.")
        texts = sorted(self._texts, key=lambda text: (-text[0], text[1]))
        tokens, length, log_prob = (np.stack(v) for v in zip(*(t[2] for t in texts), strict=True))
        density = np.array([text[0] for text in texts])
        return MostProbable(
            tokens, length, log_prob, density, float(bound), bool(proved), self._opened
        )

    @property
    def _worst(self) -> float:
        """What a text has to surpass to be among the best."""
        return self._texts[0][0] if len(self._texts) == self._count else -np.inf

    def _alive(self) -> list[Entry]:
        """What is in the queue and was not forgotten."""
        return [e for e in self._queue if self._born.get(e[2]) == e[1]]

    def _slot(self, keep: set[int]) -> int:
        """A free slot; where there is none, the beginnings of the smallest bounds are forgotten."""
        if not self._free:
            self._queue = [e for e in self._alive() if -e[0] > self._worst]
            heapq.heapify(self._queue)
            left: dict[int, float] = {}
            for entry in self._queue:
                left[entry[2]] = max(left.get(entry[2], -np.inf), -entry[0])
            others = sorted(self._nodes.keys() - keep, key=lambda slot: left.get(slot, -np.inf))
            needed = max(len(others) // 4, self._rows)
            for k, slot in enumerate(others):
                if k >= needed and slot in left:
                    break
                self._missed = max(self._missed, left.get(slot, -np.inf))
                del self._nodes[slot], self._born[slot]
                self._free.append(slot)
        return self._free.pop()

    def _check(self, seen: Any) -> None:
        """Raise where a weight is no number, or a potential larger than it can be."""
        self._space.refuse_fault(seen.fault, seen.seen, self._rewarded)
        lost = np.isnan(seen.log_next).any(1) & ~seen.done
        self._space.refuse_fault(np.where(lost, seen.number, -1), np.where(lost, np.nan, 0), False)
        largest = self._bounds.largest
        worst = int(np.argmax(seen.gained))
        if seen.gained[worst] > largest + _ROUNDING * (1 + abs(largest)):
            text = seen.tokens[worst][: seen.length[worst]].tolist()
            raise ModelError(
                f"most_probable: the log potential of the last step of {text} is "
                f"{seen.gained[worst]:g}, and that of a step was said to be {largest:g} at most; "
                "raise largest_potential=."
            )

    def _open(self, entries: list[Entry]) -> list[int]:
        """Append, judge and read; the slots of those that go on."""
        if not entries:
            return []
        n = len(entries)
        pad = self._rows - n
        keep = {entry[2] for entry in entries}
        slots = [self._slot(keep) for _ in entries]
        nodes = [self._nodes[entry[2]] for entry in entries]
        ranks = [entry[3] for entry in entries]

        def column(values: list[Any], fill: Any, kind: Any) -> jax.Array:
            return jnp.asarray(np.array([*values, *[fill] * pad], kind))

        given = zip(nodes, ranks, strict=True)
        tokens, logs = zip(*((v.next[r], v.log_next[r]) for v, r in given), strict=True)
        self._pool, seen = prefixes.opened(
            self._pool,
            column([entry[2] for entry in entries], 0, np.int32),
            column(list(tokens), 0, np.int32),
            column(list(logs), 0.0, np.float32),
            column(slots, self._slots, np.int32),
            self._data,
            self._bounds.ahead,
            sizes=self._sizes,
            branches=self._branches,
        )
        self._opened += n
        return self._take(seen, slots, [-entry[0] for entry in entries])

    def _take(self, found: prefixes.Opened, slots: list[int], over: list[float]) -> list[int]:
        """What was opened, with the bounds of what it was opened from: texts, and beginnings."""
        seen: Any = jax.tree.map(lambda v: np.asarray(v)[: len(slots)], found)
        self._check(seen)
        going = []
        for i, slot in enumerate(slots):
            density = self._bounds.exponent * float(seen.log_prob[i]) + float(seen.log_potential[i])
            if seen.done[i]:
                self._free.append(slot)
                self._end(seen, i, density, over[i])
            elif np.isfinite(density):
                going.append(self._go_on(seen, i, slot, density, over[i]))
            else:
                self._free.append(slot)
        return [slot for slot in going if slot >= 0]

    def _end(self, seen: Any, i: int, density: float, over: float) -> None:
        if density > over + _ROUNDING * (1 + abs(density)):
            raise ModelError(
                f"most_probable: the text {seen.tokens[i][: seen.length[i]].tolist()} has the log "
                f"density {density:g}, and one of its beginnings was bounded by {over:g}. A bound "
                "that is too small proves nothing: ahead= must never be below what can follow."
            )
        if np.isneginf(density) or density <= self._worst:
            return
        text = (density, -self._births, (seen.tokens[i], seen.length[i], seen.log_prob[i]))
        self._births += 1
        if len(self._texts) == self._count:
            heapq.heapreplace(self._texts, text)
        else:
            heapq.heappush(self._texts, text)

    def _go_on(self, seen: Any, i: int, slot: int, density: float, over: float) -> int:
        number, length = int(seen.number[i]), int(seen.length[i])
        rest = self._bounds.of_rest(
            float(seen.log_potential[i]), number, length, float(seen.ahead[i])
        )
        bound = min(over, density + rest)
        if not bound > self._worst:
            self._free.append(slot)
            return -1
        a = self._bounds.exponent
        without = self._bounds.of_rest(float(seen.log_potential[i]), number, length, np.inf)
        logs = np.asarray(seen.log_next[i], float)
        possible = np.isfinite(logs)
        of_next = np.minimum(bound, density + a * logs + without)[possible]
        other = float(seen.log_other[i])
        if np.isfinite(other):
            self._missed = max(self._missed, min(bound, density + a * other + without))
        birth, self._births = self._births, self._births + 1
        self._born[slot] = birth
        self._nodes[slot] = _Node(bound, of_next, logs[possible], seen.next[i][possible])
        for rank, value in enumerate(of_next):
            if value > self._worst:
                heapq.heappush(self._queue, (-value, birth, slot, rank))
        return slot
