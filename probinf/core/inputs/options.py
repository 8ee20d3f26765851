"""Options at the door: one of several words, and counts that are large enough."""

from __future__ import annotations

from typing import Any

from probinf.errors import MethodError


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise MethodError(
            f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}."
        )


def at_least(name: str, value: int, least: int, purpose: str) -> None:
    """Raise unless the count ``value`` is enough for its purpose."""
    if value < least:
        raise MethodError(f"{name}={value}; at least {least} are needed for {purpose}.")
