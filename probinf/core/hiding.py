"""Whether a density can hide NaN from its value but not from its gradient, seen from its trace."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.core.program import Program

_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_vjp_call"}
_BENDS = {"max", "min", "clamp"}
_STEEP = {"sqrt", "rsqrt", "cbrt", "pow", "acos", "asin", "acosh", "atanh"}


class _Seen:
    """Which operations on the position were met."""

    chooses = bends = steep = False

    @property
    def hides(self) -> bool:
        return self.chooses or (self.bends and self.steep)


def may_hide(program: Program) -> bool:
    """Whether somewhere a branch is chosen whose other branch could be NaN.

    The derivative of ``where(x > 0, sqrt(x), 0)`` at negative x is zero times NaN, and so is
    that of ``sqrt(maximum(x, 0))``. Choices between a value and -inf do not count: there the
    density is zero. Most densities need no look at gradients after this one at their trace.
    """
    x, seen = program.template(), _Seen()
    traced = jax.make_jaxpr(program.score)(x, program.data)
    count, total = len(jax.tree.leaves(x)), len(traced.jaxpr.invars)
    moves = [k < count for k in range(total)]
    floors = [_is_floor(c) for c in traced.consts]
    _walk(traced.jaxpr, moves, floors, [False] * total, seen)
    return seen.hides


def _is_floor(value: Any) -> bool:
    """Whether all of a constant is -inf (or NaN, which counts as impossible)."""
    if not hasattr(value, "dtype") or not np.issubdtype(value.dtype, np.floating):
        return isinstance(value, float) and not value > -np.inf
    return bool(np.all(~(np.asarray(value) > -np.inf)))


def _walk(
    jaxpr: Any, moves: list[bool], consts: list[bool], floors: list[bool], seen: _Seen
) -> tuple[list[bool], list[bool]]:
    """Which results move with the position, and which are constantly -inf."""
    moving = dict(zip(jaxpr.invars, moves, strict=True))
    floor = dict(zip(jaxpr.constvars, consts, strict=True))
    floor |= dict(zip(jaxpr.invars, floors, strict=True))

    def is_moving(v: Any) -> bool:
        return not hasattr(v, "val") and moving.get(v, False)

    def is_floor(v: Any) -> bool:
        return _is_floor(v.val) if hasattr(v, "val") else floor.get(v, False)

    for eqn in jaxpr.eqns:
        name, inner = eqn.primitive.name, _inner(eqn)
        ins, low = [is_moving(v) for v in eqn.invars], [is_floor(v) for v in eqn.invars]
        outs, lows = [any(ins)] * len(eqn.outvars), [False] * len(eqn.outvars)
        if name in _CALLS and len(inner) == 1 and len(inner[0].jaxpr.invars) == len(ins):
            known = [_is_floor(c) for c in inner[0].consts]
            outs, lows = _walk(inner[0].jaxpr, ins, known, low, seen)
        elif name in ("broadcast_in_dim", "convert_element_type", "reshape", "copy"):
            lows = [low[0]] * len(eqn.outvars)
        elif any(ins) and not name.startswith("custom_jvp"):  # whose derivative someone wrote
            if name == "select_n" and _is_real(eqn.outvars[0]) and not any(low[1:]):
                seen.chooses |= any(ins[1:])
            seen.chooses |= name == "cond"
            seen.bends |= name in _BENDS
            seen.steep |= name in _STEEP
            for part in inner:
                k = len(part.jaxpr.invars)
                _walk(part.jaxpr, [True] * k, [False] * len(part.consts), [False] * k, seen)
        moving |= dict(zip(eqn.outvars, outs, strict=True))
        floor |= dict(zip(eqn.outvars, lows, strict=True))
    return [is_moving(v) for v in jaxpr.outvars], [is_floor(v) for v in jaxpr.outvars]


def _inner(eqn: Any) -> list[Any]:
    """The traces inside an operation, with their constants."""
    found = []
    for value in eqn.params.values():
        for part in value if isinstance(value, list | tuple) else [value]:
            if hasattr(part, "jaxpr") and hasattr(part, "consts"):
                found.append(part)
    return found


def _is_real(v: Any) -> bool:
    return np.issubdtype(v.aval.dtype, np.floating)
