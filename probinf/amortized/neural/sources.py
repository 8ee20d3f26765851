"""Sources: where a training finds its pairs of parameters and data."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.amortized.neural.parameters import Parameters
from probinf.amortized.neural.simulations import Simulated, Sites, simulate, warn_failed
from probinf.core.coordinates import flatten
from probinf.core.host.asking import asks
from probinf.core.program import Key, Program
from probinf.errors import TrainingError

_HELD = 0.1
_PILOT = 5000
_SUMMARIES = 2000


class Split(NamedTuple):
    """Simulations to train on (or the program that makes fresh ones), others to validate with.

    Attributes:
        train: to train on.
        held: to validate with.
        count: how many rows of ``train`` there are, before some that only fill it up.
    """

    train: Any
    held: Simulated
    count: Any


class Source(abc.ABC):
    """Pairs of parameters and data, and what they belong to.

    Attributes:
        program: whose prior the parameters come from.
        sites: the observed sites.
        masked: whether entries of the data may be missing, which are NaN then.
        proposed: whether the parameters may come from another law than the program's prior.
    """

    program: Program
    sites: Sites
    masked: bool = False
    proposed: bool = False

    @abc.abstractmethod
    def gather(
        self, key: Key, count: int, fresh: bool, parameters: Parameters | None
    ) -> tuple[Split, Simulated]:
        """The split, and all stored simulations on the host."""

    @abc.abstractmethod
    def familiar(self) -> tuple[np.ndarray, np.ndarray]:
        """Data that worked in two parts: to describe them, and to calibrate what is unusual."""

    @abc.abstractmethod
    def count(self, asked: int) -> int:
        """How many pairs there are where so many were asked for."""

    @abc.abstractmethod
    def warn(self, found: Simulated, remedy: str) -> None:
        """Say what failed simulations mean for the answer, unless that was said already."""

    def record(self) -> dict[str, Any]:
        """What else to remember of the training."""
        return {}


@dataclasses.dataclass(frozen=True)
class Drawn(Source):
    """Pairs simulated from a program."""

    program: Program
    sites: Sites

    def gather(
        self, key: Key, count: int, fresh: bool, parameters: Parameters | None
    ) -> tuple[Split, Simulated]:
        """All at once before training, or a pilot."""
        if fresh and asks(self.program.data):
            raise TrainingError(
                "fresh=True simulates inside the compiled training, which a simulator in ordinary "
                "Python cannot join. Leave it out: simulations= are made before training."
            )
        count = min(count, _PILOT) if fresh else count
        found = simulate(self.program, key, count, self.sites, parameters)
        split = split_of(found)
        if fresh:
            split = split._replace(train=flatten(self.program)[0])
        return split, found

    def familiar(self) -> tuple[np.ndarray, np.ndarray]:
        """Simulated once more."""
        found = simulate(self.program, jax.random.key(0), _SUMMARIES, self.sites)
        data = found.data[found.worked]
        return data[: len(data) // 2], data[len(data) // 2 :]

    def count(self, asked: int) -> int:
        """As asked."""
        return asked

    def warn(self, found: Simulated, remedy: str) -> None:
        """Say what failed simulations mean for the answer."""
        warn_failed(found, remedy)


class Pairs(Source):
    """Pairs that exist already, in an order without meaning.

    Args:
        program: whose prior, and coordinates, the parameters have.
        sites: the observed sites.
        found: the pairs on the host.
        masked: whether entries of the data may be missing.
        proposed: whether the parameters may come from another law than the prior.
        told: what else to remember of the training.
        room: number of rows for which the training is compiled; by default as many as there are.
    """

    def __init__(
        self,
        program: Program,
        sites: Sites,
        found: Simulated,
        *,
        masked: bool = False,
        proposed: bool = False,
        told: dict[str, Any] | None = None,
        room: int | None = None,
    ) -> None:
        self.program, self.sites, self.found = program, sites, found
        self.masked, self.proposed, self.told = masked, proposed, told or {}
        self.room = len(found.worked) if room is None else room

    def gather(
        self, key: Key, count: int, fresh: bool, parameters: Parameters | None
    ) -> tuple[Split, Simulated]:
        """The pairs; a tenth of them is held out."""
        if fresh:
            raise TrainingError("fresh=True needs a program that simulates, not finished pairs.")
        return split_of(self.found, self.room), self.found

    def familiar(self) -> tuple[np.ndarray, np.ndarray]:
        """What was trained on, and what was held out."""
        held = held_of(len(self.found.worked))
        parts = slice(held, held + _SUMMARIES), slice(0, held)
        first, second = (self.found.data[p][self.found.worked[p]] for p in parts)
        return first, second

    def count(self, asked: int) -> int:
        """As many as there are."""
        return len(self.found.worked)

    def warn(self, found: Simulated, remedy: str) -> None:
        """Whoever made the pairs has decided about the incomplete ones."""

    def record(self) -> dict[str, Any]:
        """What else to remember of the training."""
        return dict(self.told)


def as_source(source: Any) -> Source:
    """A program as a source of simulations; a source as it is."""
    if isinstance(source, Source):
        return source
    return Drawn(source, Sites.of(source))


def held_of(count: int) -> int:
    """How many of so many pairs are held out."""
    return max(1, int(_HELD * count))


def split_of(found: Simulated, room: int | None = None) -> Split:
    """The first tenth is held out; rows that did not work fill both parts up to ``room`` rows."""
    count = len(found.worked)
    room = count if room is None else room
    held = held_of(count)
    first = _filled(Simulated(*(v[:held] for v in found)), held_of(room))
    rest = _filled(Simulated(*(v[held:] for v in found)), room - held_of(room))
    return Split(rest, first, jnp.asarray(count - held))


def _filled(part: Simulated, size: int) -> Simulated:
    more = size - len(part.worked)
    padded = (np.concatenate([v, np.zeros((more, *v.shape[1:]), v.dtype)]) for v in part)
    return Simulated(*(jnp.asarray(v, v.dtype if v.dtype == bool else float) for v in padded))
