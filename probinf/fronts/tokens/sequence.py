"""A token program as a Sequence: what filters, resamplers and conditional SMC run on."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.program import Key
from probinf.core.state_space import Sequence
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData
from probinf.fronts.tokens.stepping import Moved, at_random, first_step, next_step


@dataclasses.dataclass(frozen=True)
class _StartAll:
    sizes: Sizes

    def __call__(self, key: Key, n: int, data: Any) -> tuple[Rows, Array]:
        found = first_step(key, n, self.sizes, data[1], _first(data[1]))
        return found.rows, found.gained


@dataclasses.dataclass(frozen=True)
class _ExtendAll:
    sizes: Sizes

    def __call__(self, key: Key, states: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        found = next_step(key, states, self.sizes, data[1], value)
        return found.rows, found.gained


@dataclasses.dataclass(frozen=True)
class _Start:
    sizes: Sizes

    def __call__(self, key: Key, data: Any) -> tuple[Rows, Array]:
        return _one(_StartAll(self.sizes)(key, 1, data))


@dataclasses.dataclass(frozen=True)
class _Extend:
    sizes: Sizes

    def __call__(self, key: Key, state: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        many = jax.tree.map(lambda leaf: leaf[None], state)
        return _one(_ExtendAll(self.sizes)(key, many, value, data))


@dataclasses.dataclass(frozen=True)
class _WeighStart:
    """The weight of the first step of a text that is given."""

    sizes: Sizes

    def __call__(self, state: Rows, data: Any) -> Array:
        rows = jax.tree.map(lambda leaf: leaf[None], state)
        choose = Given(rows.tokens)
        return first_step(
            jax.random.key(0), 1, self.sizes, data[1], _first(data[1]), choose
        ).gained[0]


@dataclasses.dataclass(frozen=True)
class _Weigh:
    """The weight of a later step of a text that is given."""

    sizes: Sizes

    def __call__(self, state: Rows, after: Rows, value: Step, data: Any) -> Array:
        before, then = (jax.tree.map(lambda leaf: leaf[None], s) for s in (state, after))
        choose = Given(then.tokens)
        return next_step(jax.random.key(0), before, self.sizes, data[1], value, choose).gained[0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """Tokens of texts that are given, for all rows or (where there are fewer) the first ones."""

    tokens: Int[Array, "k t"]

    def __call__(self, key: Key, log_q: Float[Array, "n vocab"], rows: Rows) -> Int[Array, " n"]:
        held = self.tokens.shape[0]
        where = jnp.minimum(rows.length[:held], self.tokens.shape[1] - 1)
        given = jnp.take_along_axis(self.tokens, where[:, None], 1)[:, 0]
        if held == log_q.shape[0]:
            return given
        return at_random(key, log_q, rows).at[:held].set(given)


def sequence_of(sizes: Sizes, data: TokenData) -> Sequence:
    """The sequence; its callables receive ``(parameters, data)``, and there are no parameters."""
    return Sequence(
        _Start(sizes),
        _Extend(sizes),
        inputs=jax.tree.map(lambda leaf: jnp.asarray(leaf)[1:], data.steps),
        data=data,
        weigh_start=_WeighStart(sizes),
        weigh=_Weigh(sizes),
        start_all=_StartAll(sizes),
        extend_all=_ExtendAll(sizes),
    )


def replayed(tokens: Int[Array, "n t"], sizes: Sizes, data: TokenData) -> Moved:
    """Texts that are given, step by step, with the sums of their log weights and proposals."""
    choose, key = Given(tokens), jax.random.key(0)
    return run_through(key, tokens.shape[0], sizes, data, choose)


def run_through(key: Key, n: int, sizes: Sizes, data: TokenData, choose: Any = at_random) -> Moved:
    """``n`` texts from the first step to the last, never resampled."""
    first, rest = jax.random.split(key)
    begun = first_step(first, n, sizes, data, _first(data), choose)
    later = jax.tree.map(lambda leaf: leaf[1:], data.steps)
    keys = jax.random.split(rest, later.number.shape[0])

    def further(before: Moved, own: Key, value: Step) -> Moved:
        found = next_step(own, before.rows, sizes, data, value, choose)
        return Moved(found.rows, before.gained + found.gained, before.log_q + found.log_q)

    def same(before: Moved, own: Key, value: Step) -> Moved:
        return before

    def step(before: Moved, item: tuple[Key, Step]) -> tuple[Moved, None]:
        over = before.rows.done.all() & (item[1].exponent == item[1].before)
        return jax.lax.cond(over, same, further, before, *item), None

    return jax.lax.scan(step, begun, (keys, later))[0]


def _first(data: TokenData) -> Step:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], data.steps)


def _one(found: tuple[Rows, Array]) -> tuple[Rows, Array]:
    return jax.tree.map(lambda leaf: leaf[0], found[0]), found[1][0]
