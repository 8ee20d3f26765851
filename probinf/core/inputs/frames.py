"""Rows at the door: names of columns, and whether the rows of several arguments belong together."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.errors import ArrayError


def is_pandas(a: Any) -> bool:
    """Whether ``a`` is a Series or a DataFrame, without importing pandas."""
    return type(a).__module__.split(".")[0] == "pandas"


def column_names(a: Any, axes: int) -> tuple[str, ...]:
    """Names that the columns of ``a``, an array of ``axes`` axes, have or are given."""
    if axes == 2:
        columns = a.columns if is_pandas(a) else [f"x{j}" for j in range(np.shape(a)[1])]
        return tuple(map(str, columns))
    if is_pandas(a) and getattr(a, "name", None) is not None:
        return (str(a.name),)
    return ("mean",)


def same_index(**arrays: Any) -> None:
    """Raise unless all pandas arguments carry the same index in the same order."""
    frames = {k: a for k, a in arrays.items() if is_pandas(a)}
    first = None
    for name, frame in frames.items():
        if first is None:
            first = name
        elif len(frame) == len(frames[first]) and not frame.index.equals(frames[first].index):
            raise ArrayError(
                f"{first} and {name} have different indexes, so their rows may not belong "
                "together; align them (for example with .reindex) or pass .to_numpy()."
            )


def same_rows(**arrays: np.ndarray | range | None) -> int:
    """The common number of rows."""
    sizes = {name: len(a) for name, a in arrays.items() if a is not None}
    if len(set(sizes.values())) != 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ArrayError(f"arguments differ in their number of rows: {listed}.")
    return next(iter(sizes.values()))
