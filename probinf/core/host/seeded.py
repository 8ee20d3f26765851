"""Seeded: a simulator in ordinary Python as a function of one job, for whoever evaluates it.

Workers import this module, which therefore imports no JAX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from probinf.core.inputs.shapes import Shape

SEED = "seed"
"""What a job calls its random numbers, beside the parameters."""


@dataclasses.dataclass(frozen=True)
class Seeded:
    """From a job, parameters by name and the words of a seed, to the data as one vector.

    Attributes:
        simulate: ``(generator, parameters) -> observables``.
        shape: of the parameters that it takes.
        names: of the observables.
        shapes: of each.
    """

    simulate: Callable[[np.random.Generator, Any], Any]
    shape: Shape
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        _named_as(self, self.simulate)

    def __call__(self, job: dict[str, Any]) -> np.ndarray:
        parameters = {name: value for name, value in job.items() if name != SEED}
        generator = np.random.default_rng([int(word) for word in np.ravel(job[SEED])])
        found = self.simulate(generator, self.shape(parameters))
        values = found if isinstance(found, dict) else {"y": found}
        arrays = {name: np.asarray(value, float) for name, value in values.items()}
        shapes = {name: value.shape for name, value in arrays.items()}
        wanted = dict(zip(self.names, self.shapes, strict=True))
        if shapes != wanted:
            raise TypeError(f"the simulator returned shapes {shapes}, observed has {wanted}")
        return np.concatenate([np.ravel(arrays[name]) for name in self.names])


@dataclasses.dataclass(frozen=True)
class Apart:
    """The distance of two data sets given as vectors.

    Attributes:
        distance: of the user's.
        plain: whether it takes arrays in the place of dicts.
        names: of the observables.
        shapes: of each.
    """

    distance: Callable[[Any, Any], Any]
    plain: bool
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        _named_as(self, self.distance)

    def __call__(self, job: dict[str, Any]) -> Any:
        return self.distance(self._split(job["simulated"]), self._split(job["observed"]))

    def _split(self, vector: np.ndarray) -> Any:
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(np.asarray(vector), np.cumsum(sizes)[:-1])
        named = {n: p.reshape(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}
        return named[self.names[0]] if self.plain else named


def _named_as(wrapper: Any, function: Any) -> None:
    """For messages, which speak of the user's function."""
    name = getattr(function, "__qualname__", None) or repr(function)
    object.__setattr__(wrapper, "__qualname__", str(name))
