"""Batches of one size, so that what is compiled for the first serves all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Batch(NamedTuple):
    """Rows ``start`` to ``stop``, the first ``known`` of which belong to the batch before."""

    start: int
    stop: int
    known: int


def batches(count: int, size: int) -> Iterator[Batch]:
    """Batches that cover ``count`` rows; the last one overlaps the one before it.

    Args:
        count: rows, at least ``size``.
        size: of every batch.
    """
    for first in range(0, count, size):
        start = min(first, count - size)
        yield Batch(start, start + size, first - start)
