"""Codec: methods as JSON and back, by the names of probinf's own classes and functions only."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

from probinf.errors import SavedFileError


def encoded(value: Any) -> Any:
    """A method and its options as JSON; what is not probinf's own is only named."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        options = {f.name: encoded(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": f"{type(value).__module__}:{type(value).__qualname__}", "options": options}
    if isinstance(value, tuple):
        return {"tuple": [encoded(v) for v in value]}
    if callable(value):
        return {"function": f"{value.__module__}:{value.__qualname__}"}
    return value


def decoded(text: Any) -> Any:
    """The inverse of ``encoded``, for names inside probinf only.

    Raises:
        SavedFileError: a name lies outside probinf.
    """
    if not isinstance(text, dict):
        return text
    if "tuple" in text:
        return tuple(decoded(v) for v in text["tuple"])
    name = text.get("type") or text.get("function") or ""
    module, _, attribute = name.partition(":")
    if module.split(".")[0] != "probinf" or not attribute.isidentifier():
        raise SavedFileError(
            f"the run used {name or text!r}, which is not part of probinf. Pass the same method: "
            "pi.resume(path, program, method=...)."
        )
    found = getattr(importlib.import_module(module), attribute)
    if "function" in text:
        return found
    if not (inspect.isclass(found) and dataclasses.is_dataclass(found)):
        raise SavedFileError(f"{name} is not a method or kernel.")
    return found(**{k: decoded(v) for k, v in text["options"].items()})


def described(value: Any) -> str:
    """A method and its options as one line of text, the same in every process."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        options = [f"{f.name}={described(getattr(value, f.name))}" for f in _shown(value)]
        return f"{type(value).__qualname__}({', '.join(options)})"
    if isinstance(value, tuple):
        inner = ", ".join(described(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return value.__qualname__ if inspect.isroutine(value) else repr(value)


def _shown(value: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(value) if field.repr]
