"""A pool of beginnings of texts, with what the model remembers of each: the compiled half."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import jitted
from probinf.fronts.tokens.data import Rows, Sizes, TokenData, blank
from probinf.fronts.tokens.stepping import context_of, judged, noted, written


class Pool(NamedTuple):
    """Beginnings, in slots.

    Attributes:
        rows: their texts; the cache has read all tokens.
        number: (S,) of the step that each is in.
        chosen: (S,) tokens of this step so far.
    """

    rows: Rows
    number: Int[Array, " s"]
    chosen: Int[Array, " s"]


class Opened(NamedTuple):
    """What the search has to know of beginnings that were opened.

    Attributes:
        tokens: (B, T).
        length: (B,).
        log_prob: (B,) under the model.
        log_potential: (B,) of the steps that have ended.
        ahead: (B,) bound of what can follow, as the user has it; 0 where the text has ended.
        gained: (B,) log potential of the step that has just ended; 0 within a step.
        done: (B,).
        number: (B,) of the step that is next, or goes on.
        fault: (B,) step of a weight that was no number; -1 if none.
        seen: (B,) what it was.
        log_next: (B, K) log probabilities of the likeliest tokens that may follow.
        next: (B, K) these tokens.
        log_other: (B,) log probability of the likeliest token after those; -inf if none.
    """

    tokens: Int[Array, "b t"]
    length: Int[Array, " b"]
    log_prob: Float[Array, " b"]
    log_potential: Float[Array, " b"]
    ahead: Float[Array, " b"]
    gained: Float[Array, " b"]
    done: Bool[Array, " b"]
    number: Int[Array, " b"]
    fault: Int[Array, " b"]
    seen: Float[Array, " b"]
    log_next: Float[Array, "b k"]
    next: Int[Array, "b k"]
    log_other: Float[Array, " b"]


@partial(jitted, static=("sizes", "slots", "branches"))
def begun(data: TokenData, ahead: Any, *, sizes: Sizes, slots: int, branches: int) -> Any:
    """A pool that holds nothing but the empty text, in slot 0, and that text opened."""
    cache, logits = data.lm.init(data.prompt, data.used, slots, sizes.max_tokens)
    rows = blank(sizes, data, slots, cache)
    zero = jnp.zeros((slots,), jnp.int32)
    first = jax.tree.map(lambda leaf: leaf[:1], Pool(rows, zero, zero))
    seen = _opened(first, jnp.zeros(1), logits[:1], sizes, data, ahead, branches)
    return Pool(rows, zero, jnp.zeros_like(zero)), seen


@partial(jitted, static=("sizes", "branches"), donate=("pool",))
def opened(
    pool: Pool,
    parent: Int[Array, " b"],
    token: Int[Array, " b"],
    here: Float[Array, " b"],
    slot: Int[Array, " b"],
    data: TokenData,
    ahead: Any,
    *,
    sizes: Sizes,
    branches: int,
) -> tuple[Pool, Opened]:
    """Beginnings with one more token: judged, read by the model, and put into slots.

    Args:
        pool: holds the parents.
        parent: slots of them.
        token: that follows each.
        here: its log probability.
        slot: where the longer text goes; one outside the pool for a text that is not kept.
        data: of the program.
        ahead: bound of what follows, or None.
        sizes: of the program.
        branches: K.
    """
    old = jax.tree.map(lambda leaf: leaf[parent], pool)
    cache, bare = old.rows.cache, old._replace(rows=old.rows._replace(cache=()))
    written = partial(_written, sizes=sizes, data=data)
    bare, gained = jax.vmap(written)(_alone(bare), token, here)
    bare = jax.tree.map(lambda leaf: leaf[:, 0], bare)
    active = ~bare.rows.done
    cache, logits = data.lm.step(cache, jnp.where(active, token, data.lm.eos), active)
    found = bare._replace(rows=bare.rows._replace(cache=cache))

    def put(leaf: Array, new: Array) -> Array:
        return leaf.at[slot].set(new.astype(leaf.dtype), mode="drop")

    seen = _opened(found, gained[:, 0], logits, sizes, data, ahead, branches)
    return jax.tree.map(put, pool, found), seen


def _alone(many: Any) -> Any:
    """Rows as batches of one, for ``vmap``: each is in a step of its own."""
    return jax.tree.map(lambda leaf: leaf[:, None], many)


def _written(
    own: Pool, token: Array, here: Array, *, sizes: Sizes, data: TokenData
) -> tuple[Pool, Float[Array, " 1"]]:
    """One beginning with one more token; the step is judged where it ends."""
    rows, number, chosen = own
    step = jax.tree.map(lambda leaf: jnp.asarray(leaf)[number[0]], data.steps)
    rows = rows._replace(begin=jnp.where(chosen == 0, rows.length, rows.begin))
    one = jnp.ones((1,), bool)
    rows, ends = written(rows, token[None], here[None], one, sizes, data, step)
    waits = ends | (chosen + 1 >= sizes.block)
    rows = rows._replace(done=rows.done | (waits & step.last))
    rows, gained = judged(rows, waits, data, step)
    rows = rows._replace(log_potential=rows.log_potential + gained)
    if data.constraint is not None:
        fine = data.constraint.accepts(rows.place)
        rows = rows._replace(
            log_potential=jnp.where(rows.done & ~fine, -jnp.inf, rows.log_potential)
        )
    rows = noted(rows, gained + rows.log_prob, step)
    return Pool(rows, number + waits, jnp.where(waits, 0, chosen + 1)), gained


def _one(rows: Rows, data: TokenData, step: Any) -> Any:
    """The context of a batch of one, without its axis."""
    found = context_of(rows, data, step)
    return found._replace(**{name: getattr(found, name)[0] for name in found._fields[:6]})


def _opened(
    found: Pool,
    gained: Float[Array, " b"],
    logits: Float[Array, "b vocab"],
    sizes: Sizes,
    data: TokenData,
    ahead: Any,
    branches: int,
) -> Opened:
    rows = found.rows
    log_p = jax.nn.log_softmax(logits)
    if data.constraint is not None:
        left = sizes.max_tokens - rows.length - 1
        log_p = jnp.where(data.constraint.allowed(rows.place, left), log_p, -jnp.inf)
    log_next, following = jax.lax.top_k(log_p, branches)
    bound = jnp.zeros_like(rows.log_prob)
    if ahead is not None:

        def guess(own: Pool) -> Array:
            last = jnp.minimum(own.number[0], data.steps.number.shape[0] - 1)
            step = jax.tree.map(lambda leaf: jnp.asarray(leaf)[last], data.steps)
            return jnp.asarray(ahead(_one(own.rows, data, step)), rows.log_prob.dtype)

        bare = found._replace(rows=rows._replace(cache=()))
        bound = jnp.where(rows.done, 0.0, jax.vmap(guess)(_alone(bare)))
    if branches < log_p.shape[1]:
        kept, other = log_next[:, :-1], log_next[:, -1]
    else:
        kept, other = log_next, jnp.full_like(rows.log_prob, -jnp.inf)
    return Opened(
        rows.tokens,
        rows.length,
        rows.log_prob,
        rows.log_potential,
        bound,
        gained,
        rows.done,
        found.number,
        rows.fault,
        rows.seen,
        kept,
        following[:, : kept.shape[1]],
        other,
    )
