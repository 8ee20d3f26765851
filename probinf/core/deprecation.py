"""Names that moved: found where they were, with a warning that says where they are."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved_names(package: str, rooms: Mapping[str, str], *, until: str) -> Callable[[str], Any]:
    """The package's ``__getattr__`` for names that are in one of its rooms now.

    Args:
        package: its ``__name__``.
        rooms: the names that moved to each room, separated by blanks.
        until: the version in which the old names go.
    """
    room_of = {name: room for room, names in rooms.items() for name in names.split()}
    short = package.partition(".")[2]

    def get(name: str) -> Any:
        if name not in room_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = f"{room_of[name]}.{name}"
        warnings.warn(
            f"{short}.{name} is now {short}.{place}; the old name goes with {until}.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(f"{package}.{room_of[name]}"), name)

    return get
