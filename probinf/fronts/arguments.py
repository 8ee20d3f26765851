"""The arguments of a NumPyro model: arrays are dynamic, everything else is static."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.core.inputs.given import as_given, number_as_given
from probinf.errors import ModelError


@dataclasses.dataclass(frozen=True)
class ArraySlot:
    """Marks where an array belongs among the static leaves, and by which name it is known."""

    name: str


def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple, dict[str, Any]]:
    """Arrays are dynamic, by name; everything else (sizes, flags) is static, by value.

    Names do not hang on the order of leaves, which for NumPyro's distributions is another one
    in every process.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path((args, kwargs))
    names = _names(treedef)
    arrays: dict[str, Any] = {}
    static: list[Any] = []
    for (path, leaf), name in zip(leaves, names, strict=True):
        if isinstance(leaf, np.integer | np.bool_):
            leaf = leaf.item()
        if isinstance(leaf, np.ndarray | jax.Array | np.floating):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufc":
                raise ModelError(
                    f"{_argument(path)} is an array of dtype {leaf.dtype}; pass numbers "
                    "(category codes instead of strings, for instance)."
                )
            arrays[name] = as_given(_argument(path), leaf)
            static.append(ArraySlot(name))
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
    return treedef, tuple(static), arrays


def _names(treedef: Any) -> list[str]:
    """A name for every leaf, ``2``, ``y`` or ``1['rate'].low``, by what the leaf is part of."""
    marks = [ArraySlot(str(k)) for k in range(treedef.num_leaves)]
    args, kwargs = jax.tree.unflatten(treedef, marks)
    found: dict[int, str] = {}
    seen: set[int] = set()

    def walk(value: Any, name: str) -> None:
        if isinstance(value, ArraySlot):
            found.setdefault(int(value.name), name)
        elif isinstance(value, dict):
            for key in value:
                walk(value[key], f"{name}[{key!r}]")
        elif isinstance(value, list | tuple):
            for k, inner in enumerate(value):
                walk(inner, f"{name}[{k}]")
        elif hasattr(value, "__dict__") and id(value) not in seen:
            seen.add(id(value))
            for attribute in sorted(vars(value)):
                walk(vars(value)[attribute], f"{name}.{attribute}")

    for k, value in enumerate(args):
        walk(value, str(k + 1))
    for key, value in kwargs.items():
        walk(value, key)
    return [found.get(k, f"leaf {k}") for k in range(len(marks))]


def _argument(path: tuple[Any, ...]) -> str:
    """How a user counts: ``argument 1`` of the model, or ``argument 'y'``."""
    first, inner = path[1], jax.tree_util.keystr(path[2:])
    named = isinstance(first, jax.tree_util.DictKey)
    return f"the model's argument {repr(first.key) if named else first.idx + 1}{inner}"
