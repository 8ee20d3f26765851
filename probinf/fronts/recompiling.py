"""Models that are made anew each time, for which everything is compiled anew each time."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

from probinf.core.program import Program

_SEEN: dict[Any, tuple[Any, int]] = {}
_REMEDY = (
    "Define it at module level and pass what it needs as arguments of from_numpyro (arrays among "
    "them may change freely), or make it once and keep it."
)


def note_recompiling(model: Callable[..., Any]) -> None:
    """One warning where a model is like an earlier one and yet another object.

    Functions inside functions, lambdas, methods and handlers are equal to themselves only, so
    that nothing that was compiled for one serves the next. At the third of its kind (the second
    of a function) it is no accident.
    """
    kind, one = _kind(model)
    if kind is None:
        return
    known, count = _SEEN.get(kind, (None, 0))
    if known is None or known() is not one:
        count += 1
        try:
            _SEEN[kind] = (weakref.ref(one), count)
        except TypeError:
            return
        if count == (2 if _is_local(model) else 3):
            warnings.warn(f"{_why(model)} {_REMEDY}", stacklevel=5)


def recompiles(program: Program) -> dict[str, str]:
    """For the provenance: why a program's compiled parts serve it alone; empty where not."""
    model = getattr(getattr(program.score, "model", None), "fn", None)
    if model is None or _kind(model)[0] is None:
        return {}
    return {"recompiles": f"{_why(model)} {_REMEDY}"}


def name_of(model: Callable[..., Any]) -> str:
    """What the user calls a model."""
    inner: Any = model
    while not hasattr(inner, "__name__") and callable(getattr(inner, "fn", None)):
        inner = inner.fn
    return str(getattr(inner, "__name__", type(inner).__name__))


def _is_local(model: Callable[..., Any]) -> bool:
    name = getattr(model, "__qualname__", "")
    return hasattr(model, "__code__") and ("<locals>" in name or "<lambda>" in name)


def _kind(model: Any) -> tuple[Any, Any]:
    """What models of one making have in common, and what tells them apart; None if no trouble."""
    owner = getattr(model, "__self__", None)
    if owner is not None:  # a method: as equal as what it belongs to
        return (None, None) if _by_value(owner) else (model.__func__.__code__, owner)
    if hasattr(model, "__code__"):
        return (model.__code__, model) if _is_local(model) else (None, None)
    if _by_value(model):
        return None, None
    inner = getattr(model, "fn", None)
    return (type(model), getattr(inner, "__code__", None)), model


def _by_value(thing: Any) -> bool:
    own = [vars(t) for t in type(thing).__mro__ if t is not object]
    return isinstance(thing, type) or any("__eq__" in names for names in own)


def _why(model: Callable[..., Any]) -> str:
    return (
        f"the model {name_of(model)} is made anew each time (inside another function, as a "
        "lambda, a method or a handler), and equal to no other, so that nothing that was "
        "compiled for an earlier one is used again."
    )
