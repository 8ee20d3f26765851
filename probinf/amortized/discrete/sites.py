"""Values by site as vectors of whole numbers from zero on, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.amortized.discrete.network import UNKNOWN
from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.errors import ArrayError, MethodError

_SINGLE = "x"
Values = Any
"""Arrays by site, or one array where there is one site."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A site of whole numbers.

    Attributes:
        name: of the site.
        shape: of one value.
        low: smallest value.
        levels: number of values.
    """

    name: str
    shape: tuple[int, ...]
    low: int
    levels: int

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True)
class DiscreteSites:
    """The sites of a model, in the order of their names."""

    each: tuple[Site, ...]

    @classmethod
    def of(cls, program: Program) -> DiscreteSites:
        """Of a program with discrete coordinates only.

        Raises:
            MethodError: a coordinate is not discrete, or has infinitely many values.
        """
        layout = Layout.of(program, integers=True)
        levels = {name: (low, high) for name, low, high in program.levels}
        places = layout.places()
        if other := sorted(set(places) - set(levels)):
            raise MethodError(
                f"AnyMarginal: {', '.join(other)} not discrete with finitely many values. Sum or "
                "integrate it out, or draw from the program and fit the draws of its discrete "
                "sites."
            )
        if not places or layout.has_keys:
            raise MethodError(
                "AnyMarginal: the program has no discrete coordinates, or random keys."
            )
        return cls(
            tuple(
                Site(name, shape, levels[name][0], levels[name][1] - levels[name][0] + 1)
                for name, (_, shape) in places.items()
            )
        )

    @classmethod
    def seen(cls, draws: Values) -> DiscreteSites:
        """Of draws, with the values between the smallest and the largest that occur.

        Raises:
            ArrayError: an entry is no whole number, or the sites have different lengths.
        """
        named = draws if isinstance(draws, dict) else {_SINGLE: draws}
        arrays = {name: np.asarray(v, float) for name, v in named.items()}
        for name, v in arrays.items():
            if v.ndim < 1 or not np.isfinite(v).all() or (v != np.round(v)).any():
                raise ArrayError(
                    f"AnyMarginal: draws of '{name}' must be whole numbers, one row per draw; drop "
                    "rows with missing entries, or give missing a value of its own."
                )
        if len({len(v) for v in arrays.values()}) != 1:
            raise ArrayError(
                "AnyMarginal: sites have different numbers of draws: "
                f"{ {name: len(v) for name, v in arrays.items()} }."
            )
        found = []
        for name in sorted(arrays):
            low, high = int(arrays[name].min()), int(arrays[name].max())
            found.append(Site(name, arrays[name].shape[1:], low, high - low + 1))
        return cls(tuple(found))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return sum(site.size for site in self.each)

    @property
    def low(self) -> np.ndarray:
        """(size,) smallest values."""
        return np.concatenate([np.full(s.size, s.low) for s in self.each]).astype(np.int32)

    def vectors(self, values: Values) -> np.ndarray:
        """(n, size) from arrays by site, of one point or of n; NaN and left-out sites unknown.

        Raises:
            ArrayError: a site is unknown to the model, a shape does not fit, or a value is no
                level.
        """
        named = {} if values is None else values
        if not isinstance(named, dict):
            if len(self.each) != 1:
                raise ArrayError(
                    "give values as a dict by site; there are "
                    f"{', '.join(s.name for s in self.each)}."
                )
            named = {self.each[0].name: values}
        if odd := sorted(set(named) - {s.name for s in self.each}):
            raise ArrayError(
                f"no site named {', '.join(odd)}; there are {', '.join(s.name for s in self.each)}."
            )
        arrays = {name: np.asarray(v, float) for name, v in named.items()}
        rows = 1
        for site in self.each:
            v = arrays.get(site.name)
            if v is None or v.shape == site.shape:
                continue
            if (
                v.shape[1:] != site.shape
                or v.ndim != len(site.shape) + 1
                or rows not in (1, len(v))
            ):
                raise ArrayError(
                    f"values of '{site.name}' must have shape {site.shape}, or one row more for "
                    f"each point, got {v.shape}."
                )
            rows = len(v)
        parts = []
        for site in self.each:
            v = arrays.get(site.name, np.full(site.shape, np.nan))
            flat = np.broadcast_to(v, (rows, *site.shape)).reshape(rows, site.size) - site.low
            known = ~np.isnan(flat)
            if ((flat[known] != np.round(flat[known])) | (flat[known] < 0)).any() or (
                flat[known] >= site.levels
            ).any():
                raise ArrayError(
                    f"values of '{site.name}' must be whole numbers from {site.low} to "
                    f"{site.low + site.levels - 1}, or NaN where unknown."
                )
            parts.append(np.where(known, flat, UNKNOWN).astype(np.int32))
        return np.concatenate(parts, axis=1)

    def single(self, values: Values) -> bool:
        """Whether these are values of one point."""
        named = values if isinstance(values, dict) else {self.each[0].name: values}
        shapes = {s.name: s.shape for s in self.each}
        return values is None or all(np.shape(v) == shapes[name] for name, v in named.items())

    def split(self, rows: Any) -> dict[str, Any]:
        """Arrays by site from vectors along the last axis."""
        found, first = {}, 0
        for site in self.each:
            part = rows[..., first : first + site.size]
            found[site.name] = part.reshape(*rows.shape[:-1], *site.shape)
            first += site.size
        return found
