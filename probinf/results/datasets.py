"""Arrays by site as xarray Datasets, with names of dimensions and labels, that files can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from probinf.core.axes import NOTHING, Axes
from probinf.core.transformations.labelling import RESERVED

if TYPE_CHECKING:
    import xarray


def safe_names(values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Names for a file by site: all different, and none of them a dimension's.

    A slash (NumPyro's scope) becomes a dot, and a name that is taken gets underscores.
    """
    dimensions = {f"{name}_dim_{k}" for name, v in values.items() for k in range(np.ndim(v))}
    taken = {*RESERVED, *dimensions, *(name for name in values if "/" not in name)}
    safe: dict[str, str] = {}
    for name in values:
        new = name.replace("/", ".")
        if not new.strip("."):  # no name in HDF5
            new = f"{new}_"
        while (new != name and new in taken) or new in (*RESERVED, *dimensions, *safe.values()):
            new = f"{new}_"
        safe[name] = new
    return safe


def as_dataset(
    values: Mapping[str, np.ndarray],
    lead: tuple[str, ...],
    attrs: Any = None,
    own: dict[str, np.ndarray] | None = None,
    axes: Axes = NOTHING,
) -> xarray.Dataset:
    """Arrays as a Dataset: leading dimensions named, the others by ``axes`` or ``site_dim_0``, ...

    A site whose name cannot stand in a file has it in the attribute ``site``; ``own`` are
    variables that keep their names.
    """
    import xarray

    variables: dict[str, Any] = {name: (lead, value, {}) for name, value in (own or {}).items()}
    sizes: dict[str, int] = {}
    for value in (own or {}).values():
        sizes |= dict(zip(lead, value.shape, strict=True))
    for name, safe in safe_names(values).items():
        value = np.asarray(values[name])
        named = axes.names(name, value.ndim - len(lead))
        dims = [*lead, *(d or f"{safe}_dim_{k}" for k, d in enumerate(named))]
        for k, n in enumerate(value.shape):
            if k >= len(lead) and sizes.get(dims[k], n) != n:  # another program's plate
                dims[k] = f"{safe}_dim_{k - len(lead)}"
            sizes[dims[k]] = n
        variables[safe] = (dims, value, {} if safe == name else {"site": name})
    coords = {d: axes.coords.get(d, np.arange(n)) for d, n in sizes.items()}
    coords |= {d: np.arange(n) for d, n in sizes.items() if len(coords[d]) != n}
    return xarray.Dataset(variables, coords=coords, attrs=attrs or {})


class Predictions(dict[str, np.ndarray]):
    """Draws by site, (chain, draw, ...), with the names and labels of their dimensions.

    Attributes:
        axes: of the sites.
    """

    def __init__(self, values: Mapping[str, np.ndarray], axes: Axes = NOTHING) -> None:
        super().__init__(values)
        self.axes = axes

    def to_dataset(self) -> xarray.Dataset:
        """All sites as an xarray Dataset, dimensions named and labelled."""
        return as_dataset(self, ("chain", "draw"), axes=self.axes)
