"""Records of a run on the host: what is kept of them, and what takes them chunk by chunk."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from probinf.core.program import Program
from probinf.errors import MethodError


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
