"""Tables at the door: arrays, dicts and data frames as one array of rows for each site."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import plain
from probinf.core.inputs.frames import is_pandas
from probinf.errors import ArrayError

Shape = tuple[int, ...]

_ENTRY = re.compile(r"^(.+)\[(\d+(?:\s*,\s*\d+)*)\]$")


def by_site(
    name: str, table: Any, shapes: Mapping[str, Shape] | None, *, in_order: bool = False
) -> dict[str, np.ndarray]:
    """The rows of every site, (n, *shape), as they were given.

    Args:
        name: of the argument, for messages.
        table: a dict of arrays (n, *shape) by site; a data frame with columns ``tau``,
            ``beta[0]``, ``A[0, 1]``; or, of a single site, an array (n, *shape) or (n, entries).
        shapes: of the sites; None where the table says what there is. A single array is then the
            site ``"x"``.
        in_order: columns with other names than a single site's are its entries in their order.

    Raises:
        ArrayError: columns or sites are missing, unknown, of another shape or hold no numbers, or
            the numbers of rows differ.
    """
    if is_pandas(table) and hasattr(table, "columns"):
        found: dict[str, Any] = _of_frame(name, table, shapes, in_order)
    elif isinstance(table, Mapping):
        found = {site: plain(f"{name}['{site}']", v) for site, v in table.items()}
    elif shapes is None:
        found = {"x": plain(name, table)}
    else:
        found = _of_array(name, plain(name, table), shapes)
    arrays = {site: np.asarray(value) for site, value in found.items()}
    if shapes is not None:
        _check(name, arrays, shapes)
    rows = {site: len(v) if v.ndim else 0 for site, v in arrays.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise ArrayError(f"{name}: every site needs as many rows as the others, got {rows}.")
    return arrays


def labels(names: tuple[str, ...], shapes: tuple[Shape, ...]) -> list[str]:
    """``tau``, ``beta[0]``, ``A[0, 1]``: every entry of the sites, in their order."""
    found = []
    for name, shape in zip(names, shapes, strict=True):
        entries = [f"{name}[{', '.join(map(str, k))}]" for k in np.ndindex(*shape)]
        found += entries if shape else [name]
    return found


def _check(name: str, arrays: dict[str, np.ndarray], shapes: Mapping[str, Shape]) -> None:
    if set(arrays) != set(shapes):
        raise ArrayError(
            f"{name} holds the sites {sorted(arrays)}, the program has {sorted(shapes)}. A site "
            "that the model observes must be given to it (obs=), or it counts as a parameter."
        )
    for site, shape in shapes.items():
        if arrays[site].shape[1:] != tuple(shape):
            raise ArrayError(
                f"{name}: site '{site}' has rows of shape {arrays[site].shape[1:]}, in the program "
                f"it has {tuple(shape)}."
            )


def _of_array(name: str, array: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    if len(shapes) == 1:
        ((site, shape),) = shapes.items()
        if array.ndim == 1 + len(shape):
            return {site: array}
        if array.ndim == 2 and array.shape[1] == math.prod(shape):
            return {site: array.reshape(len(array), *shape)}
    entries = labels(tuple(shapes), tuple(shapes.values()))
    told = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
    if len(shapes) > 1:
        raise ArrayError(
            f"{name} is one array of shape {array.shape}, which does not say what its columns are. "
            f"Pass a dict by site, or a data frame with the columns {told}."
        )
    raise ArrayError(
        f"{name} has shape {array.shape}; its columns must be the {len(entries)} entries {told}."
    )


def _of_frame(
    name: str, frame: Any, shapes: Mapping[str, Shape] | None, in_order: bool
) -> dict[str, np.ndarray]:
    columns = [str(c) for c in frame.columns]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise ArrayError(f"{name} has several columns named {twice[:3]}.")
    values = [plain(f"{name}, column '{c}'", frame.iloc[:, k]) for k, c in enumerate(columns)]
    parts: dict[str, dict[Shape, np.ndarray]] = {}
    for column, value in zip(columns, values, strict=True):
        entry = _ENTRY.match(column)
        site = entry.group(1) if entry else column
        index = tuple(int(k) for k in entry.group(2).split(",")) if entry else ()
        parts.setdefault(site, {})[index] = np.asarray(value)
    if in_order and shapes is not None and len(shapes) == 1 and not set(parts) & set(shapes):
        return _of_array(name, np.column_stack(values), shapes)
    if shapes is not None and set(parts) != set(shapes):
        wanted = labels(tuple(shapes), tuple(shapes.values()))
        missing = [c for c in wanted if c not in columns]
        unknown = [c for c in columns if c not in wanted]
        raise ArrayError(
            f"{name}: columns {missing[:6]} are missing, and {unknown[:6]} belong to no site of "
            f"the program, whose entries are {', '.join(wanted[:8])}"
            f"{', ...' if len(wanted) > 8 else ''}."
        )
    return {site: _filled(name, site, entries) for site, entries in parts.items()}


def _filled(name: str, site: str, entries: dict[Shape, np.ndarray]) -> np.ndarray:
    """The entries of one site as one array, none of them missing."""
    ranks = {len(index) for index in entries}
    rank = ranks.pop()
    shape = tuple(1 + max(index[k] for index in entries) for k in range(rank))
    if ranks or len(entries) != math.prod(shape):
        absent = [] if ranks else [k for k in np.ndindex(*shape) if k not in entries]
        told = f"; {site}[{', '.join(map(str, absent[0]))}] is missing" if absent else ""
        raise ArrayError(f"{name}: the columns of '{site}' do not fill an array{told}.")
    columns = [entries[index] for index in np.ndindex(*shape)]
    return np.stack(columns, axis=1).reshape(-1, *shape)
