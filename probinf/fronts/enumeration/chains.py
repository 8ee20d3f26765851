"""Sums over the discrete variables of a scan: a backward recursion, and draws forwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from math import prod

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.fronts.enumeration.tables import Over, Table, chosen, product, reduced, refuse_large

PREVIOUS = "_PREV_"
"""What NumPyro puts before the name of a site for each step back in a scan."""


def lag_of(name: str) -> tuple[int, str]:
    """How many steps back a variable is, and its name."""
    lag = 0
    while name.startswith(PREVIOUS):
        lag, name = lag + 1, name.removeprefix(PREVIOUS)
    return lag, name


@dataclasses.dataclass(frozen=True)
class ChainStep:
    """A chain that was summed out.

    Attributes:
        variables: of one step, which make up one joint variable.
        sizes: of the variables.
        plates: of the chain, without its steps.
        time: name of the plate of steps.
        tables: (steps, *plates, *lags, value), log factors of every step, longest lag first.
        after: (steps, *plates, *lags but the longest, value), log sums of all later steps.
    """

    variables: tuple[str, ...]
    sizes: tuple[int, ...]
    plates: tuple[str, ...]
    time: str
    tables: Array
    after: Array

    def back(self, key: Array | None, known: dict[str, Table]) -> None:
        """Choose the values of all steps in turn, given those before the first."""
        lags = self.tables.ndim - 2 - len(self.plates)
        before = [self._joint(known, lag) for lag in range(lags, 0, -1)]
        keys = None if key is None else jax.random.split(key, self.tables.shape[0])

        def step(past: list[Array], inputs: tuple[Array, Array, Array | None]) -> tuple:
            table, later, own = inputs
            here = table + jnp.expand_dims(later, len(self.plates))
            for index in past:
                where = index.reshape(*index.shape, *(1,) * (here.ndim - index.ndim))
                here = jnp.take_along_axis(here, where, axis=len(self.plates))
                here = here.squeeze(len(self.plates))
            value = chosen(own, here)
            return [*past[1:], value], value

        path: Array
        _, path = jax.lax.scan(step, before, (self.tables, self.after, keys))
        parts = jnp.unravel_index(path, self.sizes)
        for variable, value in zip(self.variables, parts, strict=True):
            known[variable] = Table((self.time, *self.plates), value)

    def _joint(self, known: dict[str, Table], lag: int) -> Array:
        total: Array = jnp.zeros((), int)
        for variable, size in zip(self.variables, self.sizes, strict=True):
            name = PREVIOUS * lag + variable
            part = known[name].placed(self.plates) if name in known else jnp.zeros((), int)
            total = total * size + part
        shape = self.tables.shape[1 : 1 + len(self.plates)]
        return jnp.broadcast_to(total, shape)


def chain(
    tables: Sequence[Table],
    variables: Sequence[str],
    time: str,
    leaf: Sequence[str],
    sizes: Mapping[str, int],
    over: Over,
) -> tuple[Table, ChainStep]:
    """Sum a chain out: a table of what comes before it, and the way back.

    Args:
        tables: factors of one step, over its variables and those of earlier steps.
        variables: of one step.
        time: the plate of steps.
        leaf: all plates of the chain, ``time`` among them.
        sizes: of variables and plates.
        over: the values of variables.
    """
    plates = tuple(n for n in leaf if n != time)
    lags = max(lag_of(n)[0] for t in tables for n in t.names)
    own = tuple(sizes[v] for v in variables)
    names = [PREVIOUS * lag + v for lag in range(lags, -1, -1) for v in variables]
    known = {**sizes, **{n: sizes[lag_of(n)[1]] for n in names}}
    refuse_large((*leaf, *names), [known[n] for n in (*leaf, *names)])
    joint = product(tables, (time, *plates, *names), known).values
    joint = joint.reshape(*joint.shape[: 1 + len(plates)], *(prod(own),) * (lags + 1))

    def step(later: Array, table: Array) -> tuple[Array, Array]:
        return reduced(table + jnp.expand_dims(later, len(plates)), over), later

    last = jnp.zeros(joint.shape[1 : 1 + len(plates)] + (prod(own),) * lags, joint.dtype)
    first, after = jax.lax.scan(step, last, joint, reverse=True)
    before = Table(
        (*plates, *names[: -len(variables)]),
        first.reshape(*first.shape[: len(plates)], *own * lags),
    )
    return before, ChainStep(tuple(variables), own, plates, time, joint, after)
