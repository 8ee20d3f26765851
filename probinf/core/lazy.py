"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


def on_first_use(
    package: str, where: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: its ``__name__``.
        where: the module of each name; a submodule of the package is its own.
    """

    def get(name: str) -> Any:
        if name not in where:
            inner = f"{package}.{name}"
            if name.startswith("_") or importlib.util.find_spec(inner) is None:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            return importlib.import_module(inner)  # as if it had been imported all along
        module = importlib.import_module(where[name])
        value = module if where[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)  # so that this is not asked again
        return value

    return get, lambda: sorted(where)


def public_names(package: str, *rooms: str) -> Callable[[], list[str]]:
    """The package's ``__dir__``: what it exports, without the files behind it.

    Args:
        package: its ``__name__``.
        rooms: the modules of it that are public.
    """

    def names() -> list[str]:
        held = vars(sys.modules[package])
        own = {n for n, v in held.items() if n[0] != "_" and not isinstance(v, types.ModuleType)}
        return sorted({*own, *rooms})

    return names
