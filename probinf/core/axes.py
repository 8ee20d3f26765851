"""Axes: names of the dimensions of sites, and labels along them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

Names = tuple[str | None, ...]
"""Names of the dimensions of one site; None for one without."""


class Axes:
    """Names of dimensions by site, and coordinates (labels) by dimension.

    They are for people only: all are equal, so that other labels compile nothing anew.

    Attributes:
        dims: by site, a name or None for each of its axes.
        coords: by dimension, (entries,) labels: strings, numbers or dates.
    """

    __slots__ = ("coords", "dims")

    def __init__(
        self,
        dims: Mapping[str, Names] | None = None,
        coords: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.dims = dict(dims or {})
        self.coords = dict(coords or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axes)

    def __hash__(self) -> int:
        return hash(Axes)

    def __bool__(self) -> bool:
        return bool(self.dims)

    def names(self, site: str, ndim: int) -> Names:
        """A name or None for each axis of a site with so many."""
        known = self.dims.get(site, ())
        return known if len(known) == ndim else (None,) * ndim

    def labels(self, site: str, shape: tuple[int, ...]) -> list[list[str]]:
        """For each axis of a site the labels of its entries; their numbers where there are none."""
        return [
            [str(label) for label in self.coords[name]]
            if name is not None and len(self.coords.get(name, ())) == n
            else [str(k) for k in range(n)]
            for name, n in zip(self.names(site, len(shape)), shape, strict=True)
        ]

    def scalars(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Names of all scalars of sites with these shapes: ``theta[Choate]``, or ``theta[0]``."""
        names = []
        for site, shape in shapes.items():
            if not shape:
                names.append(site)
                continue
            for entry in itertools.product(*self.labels(site, shape)):
                names.append(f"{site}[{','.join(entry)}]")
        return names

    def described(self) -> dict[str, Any]:
        """The same in JSON."""
        return {
            "dims": {site: list(names) for site, names in self.dims.items()},
            "coords": {dim: _written(v) for dim, v in self.coords.items()},
        }

    @classmethod
    def of(cls, described: Mapping[str, Any] | None) -> Axes:
        """What ``described`` wrote."""
        if described is None:
            return cls()
        return cls(
            {site: tuple(names) for site, names in described["dims"].items()},
            {dim: np.array(v, dtype) for dim, (dtype, v) in described["coords"].items()},
        )


def _written(labels: np.ndarray) -> list[Any]:
    values = labels.astype(str) if labels.dtype.kind in "Mm" else labels
    return [labels.dtype.str, values.tolist()]


NOTHING = Axes()
"""No names at all."""
