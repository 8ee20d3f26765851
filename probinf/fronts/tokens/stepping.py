"""One step of many texts: tokens are chosen up to the step's end, then it is weighed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.program import Key
from probinf.fronts.tokens.context import ROWS, Context
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData, blank
from probinf.lm.drawing import draw

Choose = Callable[[Key, Float[Array, "n vocab"], Rows], Int[Array, " n"]]
"""``(key, log q, rows) -> tokens``."""


class Moved(NamedTuple):
    """Texts after a step.

    Attributes:
        rows: the texts.
        gained: (N,) log of target by proposal; the log weight of the step.
        log_q: (N,) log probability with which the step was proposed.
    """

    rows: Rows
    gained: Float[Array, " n"]
    log_q: Float[Array, " n"]


class _Choosing(NamedTuple):
    key: Key
    rows: Rows
    waits: Bool[Array, " n"]
    gained: Float[Array, " n"]
    log_q: Float[Array, " n"]
    chosen: Int[Array, ""]


def at_random(key: Key, log_q: Float[Array, "n vocab"], rows: Rows) -> Int[Array, " n"]:
    """Tokens drawn by their probabilities."""
    return draw(key, log_q)


def first_step(
    key: Key, n: int, sizes: Sizes, data: TokenData, step: Step, choose: Choose = at_random
) -> Moved:
    """``n`` texts after the first step."""
    cache, logits = data.lm.init(data.prompt, data.used, n, sizes.max_tokens)
    return _step(key, blank(sizes, data, n, cache), logits, sizes, data, step, choose)


def next_step(
    key: Key, rows: Rows, sizes: Sizes, data: TokenData, step: Step, choose: Choose = at_random
) -> Moved:
    """Texts a step further."""
    rows, logits = read(rows, ~rows.done, data)
    return _step(key, rows, logits, sizes, data, step, choose)


def context_of(rows: Rows, data: TokenData, step: Step) -> Context:
    """What callables see, rows first."""
    last = jnp.maximum(rows.length - 1, 0)
    return Context(
        rows.tokens,
        rows.length,
        jnp.take_along_axis(rows.tokens, last[:, None], 1)[:, 0],
        rows.begin,
        rows.log_prob,
        rows.done,
        step.number,
        data.prompt,
        data.used,
    )


def read(rows: Rows, active: Bool[Array, " n"], data: TokenData) -> tuple[Rows, Array]:
    """The model reads the last token of the active rows."""
    last = jnp.maximum(rows.length - 1, 0)
    token = jnp.take_along_axis(rows.tokens, last[:, None], 1)[:, 0]
    token = jnp.where(active, token, data.lm.eos)
    cache, logits = data.lm.step(rows.cache, token, active)
    return rows._replace(cache=cache), logits


def _step(
    key: Key,
    rows: Rows,
    logits: Float[Array, "n vocab"],
    sizes: Sizes,
    data: TokenData,
    step: Step,
    choose: Choose,
) -> Moved:
    began, zero = ~rows.done, jnp.zeros_like(rows.log_prob)
    bridge = (step.exponent - step.before) * rows.log_prob
    rows = rows._replace(begin=jnp.where(began, rows.length, rows.begin))
    state = _Choosing(key, rows, rows.done, zero, zero, jnp.zeros((), int))
    state = _chosen(state, logits, sizes, data, step, choose)
    if sizes.block > 1:

        def going(state: _Choosing) -> Bool[Array, ""]:
            return (state.chosen < sizes.block) & ~state.waits.all()

        def further(state: _Choosing) -> _Choosing:
            rows, logits = read(state.rows, ~state.waits, data)
            return _chosen(state._replace(rows=rows), logits, sizes, data, step, choose)

        state = jax.lax.while_loop(going, further, state)
    rows = state.rows._replace(done=state.rows.done | step.last)
    rows, log_g = judged(rows, began, data, step)
    twist = zero
    if data.twist is not None:
        found = jax.vmap(data.twist, (ROWS,))(context_of(rows, data, step))
        twist = jnp.where(rows.done, 0.0, found)
    gained = bridge + state.gained + log_g + (twist - rows.log_twist)
    impossible = rows.log_prob + rows.log_potential + rows.log_twist  # they stay so
    gained = jnp.where(jnp.isneginf(impossible), -jnp.inf, gained)
    rows = rows._replace(log_twist=twist, log_potential=rows.log_potential + log_g)
    if data.constraint is not None:
        fine = data.constraint.accepts(rows.place)
        gained = jnp.where(rows.done & ~fine, -jnp.inf, gained)
    return Moved(noted(rows, gained, step), gained, state.log_q)


def _chosen(
    state: _Choosing,
    logits: Float[Array, "n vocab"],
    sizes: Sizes,
    data: TokenData,
    step: Step,
    choose: Choose,
) -> _Choosing:
    """One more token for the rows that do not wait."""
    key, own = jax.random.split(state.key)
    rows, active = state.rows, ~state.waits
    log_p = jax.nn.log_softmax(logits)
    raw = step.exponent * log_p
    if data.proposal is not None:
        raw = jax.vmap(data.proposal, (0, ROWS))(log_p, context_of(rows, data, step))
    allowed = jnp.ones(raw.shape, bool)
    if data.constraint is not None:
        left = sizes.max_tokens - rows.length - 1
        allowed = data.constraint.allowed(rows.place, left)
        raw = jnp.where(allowed, raw, -jnp.inf)
    possible = ~jnp.isneginf(raw).all(1)  # NaN is no dead end, and stays to be reported
    log_q = jax.nn.log_softmax(jnp.where(possible[:, None], raw, 0.0))
    token = choose(own, log_q, rows).astype(jnp.int32)
    token = jnp.where(active, token, data.lm.eos)

    def of(table: Array) -> Array:
        return jnp.where(active, jnp.take_along_axis(table, token[:, None], 1)[:, 0], 0.0)

    here, proposed = of(log_p), of(log_q)
    gain = step.exponent * here - proposed
    fine = possible & jnp.take_along_axis(allowed, token[:, None], 1)[:, 0]
    gain = jnp.where(active & ~fine, -jnp.inf, gain)
    rows, ends = written(rows, token, here, active, sizes, data, step)
    return _Choosing(
        key,
        rows,
        state.waits | ends,
        state.gained + gain,
        state.log_q + proposed,
        state.chosen + 1,
    )


def written(
    rows: Rows,
    token: Int[Array, " n"],
    here: Float[Array, " n"],
    active: Bool[Array, " n"],
    sizes: Sizes,
    data: TokenData,
    step: Step,
) -> tuple[Rows, Bool[Array, " n"]]:
    """One more token, of log probability ``here``, for active rows; and whose step ends."""
    place = jnp.arange(sizes.max_tokens) == rows.length[:, None]
    rows = rows._replace(
        tokens=jnp.where(active[:, None] & place, token[:, None], rows.tokens),
        length=rows.length + active,
        log_prob=rows.log_prob + here,
    )
    if data.constraint is not None:
        moved = data.constraint.next(rows.place, token)
        rows = rows._replace(place=jnp.where(active, moved, rows.place))
    seen = context_of(rows, data, step)
    ended = (token == data.lm.eos) | (rows.length >= sizes.max_tokens)
    if data.stop is not None:
        ended |= jax.vmap(data.stop, (ROWS,))(seen)
    rows = rows._replace(done=rows.done | (active & ended))
    ends = rows.done
    if data.boundary is not None:
        ends |= jax.vmap(data.boundary, (ROWS,))(seen._replace(done=rows.done))
    return rows, ends


def longer(
    rows: Rows,
    token: Int[Array, " n"],
    here: Float[Array, " n"],
    sizes: Sizes,
    data: TokenData,
    step: Step,
) -> Rows:
    """Rows a whole step further, where a step is one token: ``token``, unless they have ended."""
    active = ~rows.done
    rows = rows._replace(begin=jnp.where(active, rows.length, rows.begin))
    here = jnp.where(active, here, 0.0)
    return written(rows, token.astype(jnp.int32), here, active, sizes, data, step)[0]


def judged(
    rows: Rows, began: Bool[Array, " n"], data: TokenData, step: Step
) -> tuple[Rows, Float[Array, " n"]]:
    """Log potentials of the rows that have gone on in this step."""
    potential = data.potential
    if potential is None:
        return rows, jnp.zeros_like(rows.log_prob)
    seen = context_of(rows, data, step)
    if not hasattr(potential, "begin"):
        log_g = jax.vmap(potential, (ROWS,))(seen).astype(rows.log_prob.dtype)
        return rows, jnp.where(began, log_g, 0.0)
    log_g, memory = jax.vmap(potential, (ROWS, 0))(seen, rows.memory)

    def kept(new: Array, old: Array) -> Array:
        return jnp.where(began.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    rows = rows._replace(memory=jax.tree.map(kept, memory, rows.memory))
    return rows, jnp.where(began, log_g.astype(rows.log_prob.dtype), 0.0)


def noted(rows: Rows, gained: Float[Array, " n"], step: Step) -> Rows:
    """The first weight that was no number is noted in all rows, to survive resampling."""
    bad = jnp.isnan(gained) | jnp.isposinf(gained)
    seen: Any = getattr(rows.memory, "raw", gained)
    new = bad.any() & (rows.fault[0] < 0)
    return rows._replace(
        fault=jnp.where(new, step.number.astype(rows.fault.dtype), rows.fault),
        seen=jnp.where(new, seen[jnp.argmax(bad)], rows.seen),
    )
