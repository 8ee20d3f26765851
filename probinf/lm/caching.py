"""Keys and values that are kept, so that a token costs one token."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.lm.architecture import Architecture
from probinf.lm.decoder import Past, Weights, decode, logits
from probinf.lm.prompts import bucket


class Base(NamedTuple):
    """A text that has been read before; all rows share it, and no resampling copies it.

    Attributes:
        keys: of each layer, (B, K, h); entries from ``used`` on are padding.
        values: of each layer, the same shape.
        used: tokens of the text.
        logits: (V,) of the token after it.
    """

    keys: list[Array]
    values: list[Array]
    used: Int[Array, ""]
    logits: Float[Array, " V"]


class Store(NamedTuple):
    """What each row has read and written after the base; rows lie on axis 0 of every leaf.

    Attributes:
        keys: of each layer, (N, S, K, h).
        values: of each layer, the same shape.
        held: (N,) tokens so far, by which rows may differ.
    """

    keys: list[Array]
    values: list[Array]
    held: Int[Array, " N"]


def stream(weights: Weights, shape: Architecture, tokens: Int[Array, "N T"]) -> Array:
    """The residual stream of whole texts, nothing kept; it is what training needs."""
    order = jnp.arange(tokens.shape[1])

    def fresh(_: int, keys: Array, values: Array) -> tuple[list[Past], Any]:
        return [Past(keys, values, order[:, None] >= order)], None

    return decode(weights, shape, tokens, jnp.broadcast_to(order, tokens.shape), fresh)[0]


def read(
    weights: Weights,
    shape: Architecture,
    base: Base | None,
    tokens: Int[Array, " P"],
    used: Int[Array, ""],
) -> Base:
    """Read a padded text after the base, in one pass; keys and values are those of this text."""
    order = jnp.arange(tokens.shape[0])
    begin = 0 if base is None else base.used

    def fresh(layer: int, keys: Array, values: Array) -> tuple[list[Past], Any]:
        own = Past(keys, values, order[:, None] >= order)
        return [*_shared(base, layer), own], (keys[0], values[0])

    x, kept = decode(weights, shape, tokens[None], begin + order[None], fresh)
    last = jax.lax.dynamic_index_in_dim(x[0], jnp.maximum(used - 1, 0), keepdims=False)
    nothing = jnp.full(shape.vocab_size, jnp.nan) if base is None else base.logits
    after = jnp.where(used > 0, logits(weights, shape, last), nothing)
    return Base([k for k, _ in kept], [v for _, v in kept], used, after)


def joined(base: Base | None, text: Base) -> Base:
    """Both texts as one, of as many places as they have tokens."""
    parts = [text] if base is None else [base, text]
    ends = [int(part.used) for part in parts]
    layers = range(len(text.keys))

    def put(name: str, layer: int) -> Array:
        kept = [getattr(part, name)[layer][:end] for part, end in zip(parts, ends, strict=True)]
        whole = jnp.concatenate(kept)
        return jnp.pad(whole, ((0, bucket(len(whole)) - len(whole)), (0, 0), (0, 0)))

    keys, values = ([put(name, layer) for layer in layers] for name in ("keys", "values"))
    return Base(keys, values, jnp.asarray(sum(ends), jnp.int32), text.logits)


def store(text: Base, rows: int, room: int) -> Store:
    """The same text for each of so many rows, with room for tokens after it."""

    def copied(leaf: Array) -> Array:
        padded = jnp.pad(leaf, ((0, room), (0, 0), (0, 0)))
        return jnp.broadcast_to(padded, (rows, *padded.shape))

    held = jnp.broadcast_to(text.used, (rows,)).astype(jnp.int32)
    return Store([copied(k) for k in text.keys], [copied(v) for v in text.values], held)


def write(
    weights: Weights,
    shape: Architecture,
    base: Base | None,
    rows: Store,
    tokens: Int[Array, " N"],
    active: Bool[Array, " N"],
) -> tuple[Store, Float[Array, "N V"]]:
    """One more token of each active row at the row's own position, and logits of the next one.

    An active row without room gets NaN instead of logits.
    """
    room = rows.keys[0].shape[1]
    at = jnp.where(active, rows.held, room)
    seen = jnp.arange(room) <= rows.held[:, None, None]

    def stored(layer: int, keys: Array, values: Array) -> tuple[list[Past], Any]:
        k, v = _put(rows.keys[layer], keys, at), _put(rows.values[layer], values, at)
        return [*_shared(base, layer), Past(k, v, seen)], (k, v)

    begin = 0 if base is None else base.used
    x, kept = decode(weights, shape, tokens[:, None], (begin + rows.held)[:, None], stored)
    full = active & (rows.held >= room)
    out = jnp.where(full[:, None], jnp.nan, logits(weights, shape, x[:, 0]))
    return Store([k for k, _ in kept], [v for _, v in kept], rows.held + active), out


@jax.jit
def _put(held: Array, new: Array, at: Int[Array, " N"]) -> Array:
    """Each row's new entry at its own place; a place beyond the end is dropped."""
    each = jnp.arange(held.shape[0])
    return held.at[each, at].set(new[:, 0], mode="drop", unique_indices=True)


def score(
    weights: Weights,
    shape: Architecture,
    base: Base | None,
    text: Base,
    tokens: Int[Array, "N T"],
) -> Float[Array, "N T"]:
    """Log probability of each token given base, text and the tokens before it, in one pass."""
    count, length = tokens.shape
    order = jnp.arange(length)
    before = jnp.arange(text.keys[0].shape[0]) < text.used

    def fresh(layer: int, keys: Array, values: Array) -> tuple[list[Past], Any]:
        given = Past(text.keys[layer], text.values[layer], before)
        return [*_shared(base, layer), given, Past(keys, values, order[:, None] >= order)], None

    begin = text.used + (0 if base is None else base.used)
    positions = jnp.broadcast_to(begin + order, (count, length))
    x, _ = decode(weights, shape, tokens, positions, fresh)

    def picked(step: tuple[Array, Array]) -> Array:  # one column at a time: V may be large
        stream, token = step
        out = jax.nn.log_softmax(logits(weights, shape, stream), -1)
        return jnp.take_along_axis(out, token[:, None], -1)[:, 0]

    first = jax.nn.log_softmax(text.logits)[tokens[:, :1]]
    rest = jax.lax.map(picked, (jnp.moveaxis(x[:, :-1], 1, 0), tokens[:, 1:].T))
    return jnp.concatenate([first, rest.T], -1)


def _shared(base: Base | None, layer: int) -> list[Past]:
    if base is None:
        return []
    seen = jnp.arange(base.keys[layer].shape[0]) < base.used
    return [Past(base.keys[layer], base.values[layer], seen)]
