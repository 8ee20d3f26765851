"""tail_metropolis: chains of texts whose ends are written anew, for any token program."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import jitted
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import StructureError, ZeroLikelihoodError
from probinf.fronts.tokens.data import Rows, Sizes, TokenData
from probinf.fronts.tokens.program import shown, sizes_of
from probinf.fronts.tokens.reward import Reward
from probinf.fronts.tokens.sequence import replayed, run_through
from probinf.fronts.tokens.stepping import Moved, at_random
from probinf.lm.prompts import checked_tokens

_REDRAWS = 16


class Text(NamedTuple):
    """What a move has to know of texts.

    Attributes:
        tokens: (N, T).
        length: (N,) tokens before the fill.
        log_ratio: (N,) log of the target by the proposal, of the whole text.
        log_prob: (N,) under the model.
        log_potential: (N,).
        fault: (N,) step of the first weight that was no number, in any text so far; -1 if none.
        seen: (N,) what it was.
    """

    tokens: Int[Array, "n t"]
    length: Int[Array, " n"]
    log_ratio: Float[Array, " n"]
    log_prob: Float[Array, " n"]
    log_potential: Float[Array, " n"]
    fault: Int[Array, " n"]
    seen: Float[Array, " n"]


class TextChains(NamedTuple):
    """Markov chains of texts.

    Attributes:
        tokens: (chains, draws, T).
        length: (chains, draws).
        log_prob: (chains, draws) under the model.
        log_potential: (chains, draws).
        accepted: (chains, draws), share of the moves that were accepted since the draw before.
    """

    tokens: np.ndarray
    length: np.ndarray
    log_prob: np.ndarray
    log_potential: np.ndarray
    accepted: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Rewrite:
    """Tokens of the old texts up to a place of each row, new ones from there."""

    tokens: Int[Array, "n t"]
    place: Int[Array, " n"]

    def __call__(self, key: Key, log_q: Float[Array, "n vocab"], rows: Rows) -> Int[Array, " n"]:
        where = jnp.minimum(rows.length, self.tokens.shape[1] - 1)
        old = jnp.take_along_axis(self.tokens, where[:, None], 1)[:, 0]
        return jnp.where(rows.length < self.place, old, at_random(key, log_q, rows))


def log_acceptance(current: Text, proposed: Text) -> Float[Array, " n"]:
    """Log of the Metropolis-Hastings ratio of a rewritten tail.

    The part before the tail has the same density in both, so that ratios of whole texts serve;
    the place is one of as many as the text has tokens, and that number changes.
    """
    before, after = (text.length.astype(text.log_ratio.dtype) for text in (current, proposed))
    return proposed.log_ratio - current.log_ratio + jnp.log(before) - jnp.log(after)


def rewritten(key: Key, current: Text, sizes: Sizes, data: TokenData) -> Text:
    """Texts with new tails from uniformly chosen places on, as long as they turn out."""
    place_key, own = jax.random.split(key)
    u = jax.random.uniform(place_key, current.length.shape)
    place = jnp.minimum((u * current.length).astype(int), current.length - 1)
    choose = _Rewrite(current.tokens, place)
    return text_of(run_through(own, current.length.shape[0], sizes, data, choose))


def moved(key: Key, current: Text, sizes: Sizes, data: TokenData) -> tuple[Text, Bool[Array, " n"]]:
    """Texts after one move, and which were accepted."""
    first, second = jax.random.split(key)
    proposed = rewritten(first, current, sizes, data)
    u = jax.random.uniform(second, current.length.shape)
    accept = jnp.log(u) < log_acceptance(current, proposed)  # false for NaN

    def kept(new: Array, old: Array) -> Array:
        return jnp.where(accept.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return with_fault(jax.tree.map(kept, proposed, current), current, proposed), accept


def with_fault(text: Text, *others: Any) -> Text:
    """The text, with the first fault among others: a rejected one has to be reported as well."""
    for other in others:
        new = (text.fault < 0) & (other.fault >= 0)
        text = text._replace(
            fault=jnp.where(new, other.fault, text.fault),
            seen=jnp.where(new, other.seen, text.seen),
        )
    return text


def tail_metropolis(
    program: Program,
    *,
    key: int | Key,
    chains: int = 4,
    draws: int = 1000,
    moves: int = 10,
    start: Any = None,
) -> TextChains:
    """Chains that rewrite the ends of texts, and leave the program's law invariant.

    A move takes a place uniformly, writes the text anew from there by the program's proposal (to
    its end, which may come sooner or later than before), and accepts by the ratio of target and
    proposal, with the lengths in it. All chains move as one batch.

    Args:
        program: of ``from_language_model``; its ramp and twist do not matter here.
        key: random key or seed.
        chains: rows of the batch.
        draws: texts kept of each chain.
        moves: between two of them.
        start: (chains, T) texts, such as draws of a filter; by default those of the proposal,
            drawn again a few times where they have mass zero.

    Raises:
        StructureError: this is no token program, or ``start`` has another shape.
        ArrayError: ``start`` has tokens outside the vocabulary.
        ZeroLikelihoodError: a starting text has mass zero.
        RewardError: a potential was no number, at whichever text was tried.

    Source: Karan & Du (2025), arXiv 2510.14901; their kernel caps new tails at the current length
    and leaves the lengths out of the ratio, by which the law of short texts drifts.
    """
    sizes = sizes_of(program)
    at_least(1, chains=chains, draws=draws, moves=moves)
    key = as_key(key)
    begin, rest = jax.random.split(key)
    data = without_ramp(program.data)
    current = starting("tail_metropolis", begin, program, start, chains)
    found, accepted = _chains(rest, current, data, sizes=sizes, draws=draws, moves=moves)
    refuse(program, found)
    return TextChains(
        *(
            np.moveaxis(np.asarray(v), 0, 1)
            for v in (found.tokens, found.length, found.log_prob, found.log_potential, accepted)
        )
    )


def without_ramp(data: TokenData) -> TokenData:
    """The same target, at its exponent from the first step on, and without a twist."""
    full = jnp.full_like(data.steps.exponent, data.steps.exponent[-1])
    return data._replace(steps=data.steps._replace(exponent=full, before=full), twist=None)


def text_of(found: Moved) -> Text:
    """What a move has to know of texts that were run through."""
    seen = shown(found.rows)
    log_ratio = jnp.where(jnp.isnan(found.gained), -jnp.inf, found.gained)
    return Text(
        seen["tokens"],
        seen["length"],
        log_ratio,
        seen["log_prob"],
        seen["log_potential"],
        found.rows.fault,
        found.rows.seen,
    )


def refuse(program: Program, text: Text) -> None:
    """Raise where a weight was no number.

    Raises:
        RewardError: it was.
    """
    rewarded = isinstance(program.data.potential, Reward)
    space: Any = program.state_space
    space.refuse_fault(text.fault, text.seen, rewarded)


def starting(who: str, key: Key, program: Program, start: Any, chains: int) -> Text:
    """The first text of each chain: given, or of the proposal, drawn again where it is impossible.

    Raises:
        StructureError: ``start`` has another shape.
        ArrayError: it has tokens outside the vocabulary.
        ZeroLikelihoodError: a text has mass zero.
        RewardError: a weight is no number.
    """
    sizes, data = sizes_of(program), without_ramp(program.data)
    if start is None:
        current = proposed(key, data, sizes=sizes, chains=chains)
    else:
        given = np.asarray(start)
        if given.shape != (chains, sizes.max_tokens):
            raise StructureError(
                f"{who}: start must have shape (chains, max_tokens) = "
                f"({chains}, {sizes.max_tokens}), got {given.shape}."
            )
        tokens = checked_tokens(f"{who}: start", given, data.lm.vocab_size, ndim=2)
        current = read(jnp.asarray(tokens), data, sizes=sizes)
    for again in range(_REDRAWS if start is None else 0):
        alive = np.isfinite(np.asarray(current.log_ratio))
        if alive.all():
            break
        other = proposed(jax.random.fold_in(key, again), data, sizes=sizes, chains=chains)
        kept = [
            jnp.where(alive.reshape(-1, *[1] * (v.ndim - 1)), v, w)
            for v, w in zip(current, other, strict=True)
        ]
        current = with_fault(Text(*kept), current, other)
    refuse(program, current)
    dead = ~np.isfinite(np.asarray(current.log_ratio))
    if dead.any():
        raise ZeroLikelihoodError(
            f"{who}: the starting text of chain {int(np.flatnonzero(dead)[0])} has mass zero; "
            "pass start=, draws of a filter on the same program."
        )
    return current


@partial(jitted, static=("sizes", "chains"))
def proposed(key: Key, data: TokenData, *, sizes: Sizes, chains: int) -> Text:
    """Texts of the proposal."""
    return text_of(run_through(key, chains, sizes, data))


@partial(jitted, static=("sizes",))
def read(tokens: Int[Array, "n t"], data: TokenData, *, sizes: Sizes) -> Text:
    """Texts that are given."""
    return text_of(replayed(tokens, sizes, data))


@partial(jitted, static=("sizes", "draws", "moves"))
def _chains(
    key: Key, current: Text, data: TokenData, *, sizes: Sizes, draws: int, moves: int
) -> tuple[Text, Float[Array, "draws n"]]:
    def move(current: Text, key: Key) -> tuple[Text, Array]:
        return moved(key, current, sizes, data)

    def draw(current: Text, key: Key) -> tuple[Text, tuple[Text, Array]]:
        current, accepted = jax.lax.scan(move, current, jax.random.split(key, moves))
        return current, (current, accepted.mean(0))

    return jax.lax.scan(draw, current, jax.random.split(key, draws))[1]
