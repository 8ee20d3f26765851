"""Which outputs of a function depend on which of its named inputs, looking inside loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from probinf.core.scans import scan_inputs

Names = frozenset[str]


def dependence(fn: Callable[[dict[str, Any]], dict[str, Any]], values: dict[str, Any]) -> Any:
    """The names of the inputs that each leaf of ``fn(values)`` depends on, as a tree of sets.

    NumPyro's ``eval_provenance`` takes every output of a scan for one of every input.
    """
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(values)
    names = [frozenset({name}) for name in sorted(values) for _ in jax.tree.leaves(values[name])]
    return jax.tree.unflatten(jax.tree.structure(shape), _through(closed.jaxpr, names))


def _through(jaxpr: Any, inputs: list[Names]) -> list[Names]:
    known: dict[Any, Names] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(variable: Any) -> Names:
        literal = isinstance(variable, Literal)
        return frozenset() if literal else known.get(variable, frozenset())

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _of(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _of(eqn: Any, inputs: list[Names]) -> list[Names]:
    kind, params = eqn.primitive.name, eqn.params
    every = frozenset[str]().union(*inputs)
    if kind == "scan":
        a, carried = scan_inputs(params)
        consts, carry, xs = inputs[:a], inputs[a : a + carried], inputs[a + carried :]
        while True:
            out = _through(params["jaxpr"].jaxpr, [*consts, *carry, *xs])
            joined = [a | b for a, b in zip(carry, out[: len(carry)], strict=True)]
            if joined == carry:
                return out
            carry = joined
    if kind == "cond":
        branches = [_through(b.jaxpr, inputs[1:]) for b in params["branches"]]
        return [inputs[0].union(*outs) for outs in zip(*branches, strict=True)]
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    inner = getattr(inner, "jaxpr", inner)
    if inner is not None and hasattr(inner, "invars") and len(inner.invars) == len(inputs):
        return _through(inner, inputs)
    return [every] * len(eqn.outvars)
