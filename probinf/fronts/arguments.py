"""The arguments of a NumPyro model: arrays are dynamic, everything else is static."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.core.inputs.given import as_given, number_as_given
from probinf.errors import ModelError


class ArraySlot:
    """Marks where an array belongs among the static leaves."""

    def __repr__(self) -> str:
        return "<array>"


ARRAY = ArraySlot()


def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple, tuple]:
    """Arrays are dynamic; everything else (sizes, flags, names) is static, by value."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path((args, kwargs))
    arrays, static = [], []
    for path, leaf in leaves:
        if isinstance(leaf, np.integer | np.bool_):
            leaf = leaf.item()
        if isinstance(leaf, np.ndarray | jax.Array | np.floating):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufc":
                raise ModelError(
                    f"{_argument(path)} is an array of dtype {leaf.dtype}; pass numbers "
                    "(category codes instead of strings, for instance)."
                )
            arrays.append(as_given(_argument(path), leaf))
            static.append(ARRAY)
        else:
            try:
                hash(leaf)
            except TypeError:
                raise ModelError(
                    f"{_argument(path)} is a {type(leaf).__name__}, neither an array nor "
                    "hashable; pass its numbers as NumPy arrays (for a data frame: "
                    "frame['column'].to_numpy())."
                ) from None
            static.append(number_as_given(_argument(path), leaf))
    return treedef, tuple(static), tuple(arrays)


def _argument(path: tuple[Any, ...]) -> str:
    """How a user counts: ``argument 1`` of the model, or ``argument 'y'``."""
    first, inner = path[1], jax.tree_util.keystr(path[2:])
    named = isinstance(first, jax.tree_util.DictKey)
    return f"the model's argument {repr(first.key) if named else first.idx + 1}{inner}"
