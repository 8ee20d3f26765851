"""with_dims: names of dimensions and labels along them, for whoever reads the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from probinf.core.axes import Axes, Names
from probinf.core.inputs.arrays import is_traced
from probinf.core.program import Program
from probinf.errors import StructureError

Dims = Mapping[str, str | Sequence[str | None]]
"""By site, the names of its dimensions."""

Coords = Mapping[str, Any]
"""By dimension, the labels of its entries."""

RESERVED = ("chain", "draw", "sample", "stage", "scalar", "log_weight")
"""Names that no dimension of a site can have."""

P = TypeVar("P", bound=Program)


def with_dims(program: P, dims: Dims | None = None, coords: Coords | None = None) -> P:
    """The same program with names for the dimensions of its sites, and labels along them.

    Summaries, tables, ArviZ and saved files tell them: ``theta[Choate]`` in place of
    ``theta[0]``. Plates of a NumPyro model name their dimensions themselves, so that
    ``coords={"schools": names}`` is enough for these. Nothing is compiled anew for them.

    Args:
        program: of any front.
        dims: by site, a name for each dimension (None for one without), or for those only that
            no plate names: ``{"beta": ["feature"]}``.
        coords: by dimension, as many different labels as it has entries: strings, numbers or
            dates, in a list, an array or a pandas Index.

    Raises:
        StructureError: there is no such site or dimension, or the lengths do not fit; the message
            says which.
    """
    return dataclasses.replace(
        program, axes=renamed(program.axes, site_shapes(program), dims, coords)
    )


def renamed(
    axes: Axes,
    shapes: Mapping[str, tuple[int, ...]],
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Axes:
    """Names and labels with others added, for sites of these shapes; see :func:`with_dims`."""
    known = {site: axes.names(site, len(shape)) for site, shape in shapes.items()}
    for site, names in (dims or {}).items():
        if site not in shapes:
            raise StructureError(f"dims: no site named {site!r}; there are {sorted(shapes)}.")
        known[site] = _named(site, shapes[site], known[site], names, set(shapes))
    sizes = _sizes(known, shapes)
    labels = {d: v for d, v in axes.coords.items() if len(v) == sizes.get(d)}
    for dim, given in (coords or {}).items():
        if dim not in sizes:
            raise StructureError(
                f"coords: no dimension named {dim!r}; there are {sorted(sizes)}. Name those of a "
                f"site with dims={{'site': [{dim!r}]}}."
            )
        labels[dim] = _labels(dim, given, sizes[dim])
    named = {site: names for site, names in known.items() if any(names)}
    return Axes(named, labels)


def labelled(program: P, dims: Dims | None, coords: Coords | None) -> P:
    """The same where something is named, else the program as it is."""
    return program if not dims and not coords else with_dims(program, dims, coords)


def site_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """Of every site that a result can hold."""
    x, data = program.template(), program.data
    found = dict(jax.eval_shape(program.constrain, x, data))
    if program.observations is not None:
        found |= jax.eval_shape(program.observations.get, data)
    shapes = {site: tuple(value.shape) for site, value in found.items()}
    if program.discrete is not None:
        summed = jax.eval_shape(program.discrete.probabilities, x, data)
        shapes |= {site: tuple(value.shape[:-1]) for site, value in summed.items()}
    return shapes


def _named(
    site: str, shape: tuple[int, ...], before: Names, names: Any, sites: set[str]
) -> tuple[str | None, ...]:
    given = (names,) if isinstance(names, str) else tuple(names)
    if wrong := [n for n in given if n is not None and not (isinstance(n, str) and n)]:
        raise StructureError(f"dims: the dimensions of '{site}' need strings, got {wrong[0]!r}.")
    free = before.count(None)
    if len(given) == free < len(shape):
        rest = iter(given)
        given = tuple(name if name is not None else next(rest) for name in before)
    if len(given) != len(shape):
        plates = [name for name in before if name is not None]
        rest_said = f", or {free} beside those of its plates {plates}" if plates and free else ""
        raise StructureError(
            f"dims: site '{site}' has shape {shape}, so that it takes {len(shape)} names"
            f"{rest_said}, got {list(given)}."
        )
    for name in given:
        if name is None:
            continue
        if name in RESERVED or name in sites or "/" in name:
            why = "the name of a site" if name in sites else "taken"
            why = "not a name in a file, with its slash" if "/" in name else why
            raise StructureError(
                f"dims: '{name}', for a dimension of '{site}', is {why}; call it '{_free(name)}'."
            )
        if given.count(name) > 1:
            raise StructureError(
                f"dims: site '{site}' has the dimension '{name}' twice, which tables cannot tell "
                f"apart; call the second one '{name}_2'."
            )
    return given


def _free(name: str) -> str:
    return f"{name.replace('/', '_')}_dim"


def _sizes(known: Mapping[str, Names], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    of: dict[str, str] = {}
    for site, names in known.items():
        for name, n in zip(names, shapes[site], strict=True):
            if name is None:
                continue
            if sizes.setdefault(name, n) != n:
                raise StructureError(
                    f"dims: dimension '{name}' has {sizes[name]} entries on site '{of[name]}' and "
                    f"{n} on '{site}'. Give them different names."
                )
            of.setdefault(name, site)
    return sizes


def _labels(dim: str, given: Any, size: int) -> np.ndarray:
    if isinstance(given, str) or is_traced(given):
        raise StructureError(f"coords: '{dim}' needs {size} labels in a list, got {given!r}.")
    values = np.asarray(list(given) if isinstance(given, range | tuple) else given)
    if values.ndim != 1 or len(values) != size:
        raise StructureError(
            f"coords: dimension '{dim}' has {size} entries, got labels of shape {values.shape}."
        )
    if values.dtype.kind in "OT":  # of pandas, or of lists with several kinds of things
        kinds = sorted({type(v).__name__ for v in values.tolist()})
        if kinds != ["str"]:
            raise StructureError(
                f"coords: the labels of '{dim}' must be all strings, all numbers or all dates, "
                f"got {', '.join(kinds)}. Write them as strings: [str(v) for v in labels]."
            )
        values = values.astype(str)
    if values.dtype.kind not in "UiufbM" or (
        values.dtype.kind in "fM" and (values != values).any()
    ):
        raise StructureError(
            f"coords: the labels of '{dim}' must be strings, numbers or dates, none of them "
            f"missing, got {values.dtype}."
        )
    different, counts = np.unique(values.astype(str), return_counts=True)
    if len(different) < size:
        twice = different[counts > 1][0]
        raise StructureError(
            f"coords: '{twice}' is a label of '{dim}' {counts.max()} times, so that rows could not "
            "be told apart. Make labels different."
        )
    return values
