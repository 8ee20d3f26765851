"""Embeddings: networks that turn a data set into the context of a flow."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from probinf.core.program import Key
from probinf.errors import SavedFileError


class Embedding(abc.ABC):
    """Options of an embedding; a frozen record, from which a file rebuilds its network.

    Attributes:
        kind: its name in files.
        sets: whether it takes exchangeable data of any number, with a mask.
    """

    kind: ClassVar[str]
    sets: ClassVar[bool] = False
    size: int

    @abc.abstractmethod
    def build(self, key: Key, shape: tuple[int, ...]) -> Any:
        """The untrained network for one data set (or one datum, for sets) of this shape."""

    def stored(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @staticmethod
    def restored(stored: dict[str, Any]) -> Embedding:
        """From JSON values.

        Raises:
            SavedFileError: no class of its kind has been imported.
        """
        options: dict[str, Any] = dict(stored)
        kind = options.pop("kind")
        known: dict[str, Any] = {c.kind: c for c in Embedding.__subclasses__()}
        if kind not in known:
            raise SavedFileError(
                f"the file's embedding is of kind {kind!r}, and there are {sorted(known)}. Import "
                "the module that defines it first."
            )
        cls = known[kind]
        found: Embedding = cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        )
        return found


def are_widths(values: object) -> bool:
    """Whether these are a sequence of positive whole numbers, at least one."""
    return (
        isinstance(values, Sequence)
        and len(values) > 0
        and all(isinstance(v, int | np.integer) and v >= 1 for v in values)
    )


def takes_sets(embedding: Any) -> bool:
    """Whether an embedding takes exchangeable data of any number."""
    return isinstance(embedding, Embedding) and embedding.sets
