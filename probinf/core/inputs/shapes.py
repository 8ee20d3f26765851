"""Shape: parameters by name become the tree that a user's function takes.

Workers of an executor import this module, which therefore imports nothing but Python.
"""

from __future__ import annotations

import dataclasses
from typing import Any

SINGLE = "x"
"""The name of a parameter that is alone."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How parameters by name make the tree that the user's function takes; equal by value.

    Attributes:
        spec: the name of a leaf, or what holds others, and the shapes of these.
    """

    spec: Any

    @classmethod
    def of(cls, tree: Any) -> Shape:
        """The shape of a tree of distributions, or of numbers."""
        return cls(_spec(tree, ""))

    def __call__(self, values: dict[str, Any]) -> Any:
        """The tree."""
        return _built(self.spec, values)


def _spec(tree: Any, path: str) -> Any:
    def inner(key: Any, value: Any) -> Any:
        return _spec(value, f"{path}.{key}" if path else str(key))

    if isinstance(tree, dict) and tree:
        return dict, tuple((key, inner(key, value)) for key, value in tree.items())
    if isinstance(tree, list | tuple) and tree:
        keys = getattr(tree, "_fields", range(len(tree)))
        return type(tree), tuple(inner(k, v) for k, v in zip(keys, tree, strict=True))
    return path or SINGLE


def _built(spec: Any, values: dict[str, Any]) -> Any:
    if isinstance(spec, str):
        return values[spec]
    kind, parts = spec
    if kind is dict:
        return {key: _built(part, values) for key, part in parts}
    found = [_built(part, values) for part in parts]
    return kind(*found) if hasattr(kind, "_fields") else kind(found)
