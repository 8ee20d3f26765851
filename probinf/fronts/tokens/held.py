"""A text that is held in a filter, and other beginnings for what it still has ahead."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key
from probinf.core.state_space import Sequence
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData
from probinf.fronts.tokens.sequence import Given, sequence_of
from probinf.fronts.tokens.stepping import Moved, first_step, next_step, noted


class Held(NamedTuple):
    """A text and how it went on.

    Attributes:
        tokens: (T,).
        lengths: (steps,) tokens after each step.
        done: (steps,) whether it had ended by then.
    """

    tokens: Int[Array, " t"]
    lengths: Int[Array, " steps"]
    done: Bool[Array, " steps"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Onward:
    """What a text has ahead, after beginnings of other lengths."""

    tokens: Int[Array, " t"]
    shift: Int[Array, " n"]

    def __call__(self, key: Key, log_q: Float[Array, "n vocab"], rows: Rows) -> Int[Array, " n"]:
        return self.tokens[jnp.clip(rows.length - self.shift, 0, self.tokens.shape[0] - 1)]


@dataclasses.dataclass(frozen=True)
class _StartHeld:
    sizes: Sizes

    def __call__(self, key: Key, n: int, data: Any) -> tuple[Rows, Array]:
        own, held = data
        found = first_tokens(key, n, self.sizes, own, Given(held[None]))
        return found.rows, found.gained


@dataclasses.dataclass(frozen=True)
class _ExtendHeld:
    sizes: Sizes

    def __call__(self, key: Key, states: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        own, held = data
        found = next_step(key, states, self.sizes, own, value, Given(held[None]))
        return found.rows, found.gained


def first_tokens(key: Key, n: int, sizes: Sizes, data: TokenData, choose: Any) -> Moved:
    """Texts after the first step."""
    return first_step(key, n, sizes, data, jax.tree.map(lambda leaf: leaf[0], data.steps), choose)


def holding(tokens: Int[Array, " t"], sizes: Sizes, data: TokenData) -> Sequence:
    """The sequence whose first particle is a given text from beginning to end."""
    return dataclasses.replace(
        sequence_of(sizes, data),
        data=(data, tokens),
        start_all=_StartHeld(sizes),
        extend_all=_ExtendHeld(sizes),
    )


def held_of(tokens: Int[Array, " t"], sizes: Sizes, data: TokenData) -> Held:
    """A text, read step by step."""
    choose, key = Given(tokens[None]), jax.random.key(0)
    first = first_tokens(key, 1, sizes, data, choose).rows

    def further(rows: Rows, step: Step) -> tuple[Rows, Any]:
        after = next_step(key, rows, sizes, data, step, choose).rows
        return after, (after.length[0], after.done[0])

    later = jax.tree.map(lambda leaf: leaf[1:], data.steps)
    lengths, done = jax.lax.scan(further, first, later)[1]
    return Held(
        tokens,
        jnp.concatenate([first.length, lengths]),
        jnp.concatenate([first.done, done]),
    )


def log_ahead(
    rows: Rows, t: Int[Array, ""], held: Held, sizes: Sizes, data: TokenData
) -> tuple[Float[Array, " n"], Rows]:
    """How much of the target the held text adds after step ``t``, from each of N beginnings.

    The model reads its rest after every beginning, which takes as many steps as are left. A rest
    that would be cut into other steps there, or would end elsewhere, adds nothing.

    Args:
        rows: the beginnings, after step ``t``.
        t: number of the step.
        held: the text.
        sizes: of the program.
        data: of the program.

    Returns:
        Logs of the target's ratios, and the rows, which note where a potential was no number.

    Source: Lindsten, Jordan & Schon (2014), section 4.1, for models that look far back.
    """
    shift = rows.length - held.lengths[t]
    choose, key = _Onward(held.tokens, shift), jax.random.key(0)
    total = jnp.where(rows.done == held.done[t], 0.0, -jnp.inf)

    def further(carry: tuple[Rows, Array], item: Any) -> tuple[Rows, Array]:
        before, total = carry
        step, length, done = item
        after, gained, log_q = next_step(key, before, sizes, data, step, choose)
        same = (after.length - shift == length) & (after.done == done) & ~jnp.isneginf(total)
        gain = jnp.where(jnp.isneginf(log_q), -jnp.inf, gained + log_q)
        broken = jnp.where(same & jnp.isnan(gain), jnp.nan, 0.0)
        after = noted(after._replace(fault=before.fault, seen=before.seen), broken, step)
        gain = jnp.where(same & ~jnp.isnan(gain), gain, -jnp.inf)
        return after, total + gain

    def step(carry: tuple[Rows, Array], item: Any) -> tuple[tuple[Rows, Array], None]:
        ended = carry[0].done.all() & (item[0].exponent == item[0].before)
        over = (item[0].number <= t) | ended | jnp.isneginf(carry[1]).all()
        return jax.lax.cond(over, lambda c, _: c, further, carry, item), None

    items = (data.steps, held.lengths, held.done)
    (last, total), _ = jax.lax.scan(step, (rows, total), items)
    return total, rows._replace(fault=last.fault, seen=last.seen)


def spliced(
    rows: Rows, chosen: Int[Array, ""], t: Int[Array, ""], held: Held, data: TokenData
) -> Held:
    """The rest of the held text after step ``t``, behind the beginning that was chosen for it."""
    length = rows.length[chosen]
    shift = length - held.lengths[t]
    place = jnp.arange(held.tokens.shape[0])
    old = place - shift
    rest = held.tokens[jnp.clip(old, 0, place.size - 1)]
    rest = jnp.where(old < place.size, rest, data.lm.eos)
    tokens = jnp.where(place < length, rows.tokens[chosen], rest).astype(held.tokens.dtype)
    return Held(tokens, held.lengths + shift, held.done)
