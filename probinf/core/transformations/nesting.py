"""nest: how every transformation wraps a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.program import Data, Discrete, Observations, Program


@dataclasses.dataclass(frozen=True)
class OnInner:
    """Call ``fn`` with the inner program's data, the first entry of ``(data, parameter)``."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args[:-1], args[-1][0])


def discrete_of(program: Program) -> Discrete | None:
    """How ``program`` finds its discrete sites, for ``nest`` where their law stays the same."""
    return None if program.discrete is None else program.discrete.lifted(OnInner)


@dataclasses.dataclass(frozen=True)
class _SetInner:
    fn: Callable[..., Any]

    def __call__(self, data: Data, values: dict[str, Any]) -> Data:
        return (self.fn(data[0], values), *data[1:])


def nest(program: Program, parameter: Any, **changes: Any) -> Program:
    """``program`` with ``data = (data, parameter)``, every unnamed callable lifted to match."""
    lifted: dict[str, Any] = {}
    names = ("draw", "start", "score", "constrain", "simulate", "predict", "pointwise", "sites")
    for name in names:
        fn = getattr(program, name)
        lifted[name] = None if fn is None else OnInner(fn)
    if program.observations is not None:
        lifted["observations"] = Observations(
            OnInner(program.observations.get), _SetInner(program.observations.set)
        )
    lifted |= {name: getattr(program, name) for name in ("levels", "axes", "layered")}
    return Program(data=(program.data, parameter), **{**lifted, **changes})


def somewhere(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    """A value of that shape and type, to look at a program at one point."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.full(leaf.shape, 0.3, leaf.dtype)
