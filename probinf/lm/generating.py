"""Plain decoding: every row draws its tokens from the model, and nothing else happens."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.compiling import compiled
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.errors import LevelError, ModelError
from probinf.lm.drawing import draw
from probinf.lm.prompts import check_begun, check_room, padded


class Generated(NamedTuple):
    """Texts as a model has written them.

    Attributes:
        tokens: (N, T); after its end a row repeats the token that ends texts.
        lengths: (N,) tokens of each text, the one that ends it included.
        log_prob: (N,) of each text under the model itself, whatever the temperature.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    log_prob: np.ndarray

    def texts(self) -> list[list[int]]:
        """Each text without what follows its end."""
        return [row[:n].tolist() for row, n in zip(self.tokens, self.lengths, strict=True)]


def generate(
    model: Any,
    prompt: Any,
    *,
    key: Any = 0,
    rows: int = 1,
    length: int = 64,
    temperature: float = 1.0,
) -> Generated:
    """Texts after a prompt, all rows at once, until each has ended or is full.

    Args:
        model: a language model.
        prompt: tokens.
        key: random key or seed.
        rows: N.
        length: T, tokens that a text may have.
        temperature: by which logits are divided; 0 takes the likeliest token (greedy).

    Raises:
        ArrayError: tokens outside the vocabulary, or too many of them.
        LevelError: a temperature below 0.
        ModelError: an empty prompt that says nothing to this model, or logits that are NaN.
    """
    at_least(1, rows=rows, length=length)
    if not 0 <= temperature < np.inf:
        raise LevelError(f"generate: temperature must be 0 or more and finite, got {temperature}.")
    text, used = padded("prompt", prompt, model.vocab_size)
    check_begun("generate", int(used), model)
    check_room("generate", int(used), length, model.context)
    cold = temperature == 0
    warm = np.float32(1.0 if cold else temperature)
    out = _decoded(model, as_key(key), text, used, warm, rows=rows, length=length, greedy=cold)
    found = Generated(*(np.asarray(value) for value in out))
    bad = np.flatnonzero(np.isnan(found.log_prob))
    if len(bad):
        raise ModelError(
            f"generate: {type(model).__name__} gave logits that are NaN to {len(bad)} of {rows} "
            f"rows, the first row {bad[0]}; look at its weights."
        )
    return found


def _decode(
    model: Any,
    key: Array,
    prompt: Array,
    used: Array,
    temperature: Array,
    *,
    rows: int,
    length: int,
    greedy: bool,
) -> tuple[Array, Array, Array]:
    cache, logits = model.init(prompt, used, rows, length)
    end = jnp.int32(model.eos)

    def going(carry: Any) -> Array:
        place, alive = carry[0], carry[3]
        return (place < length) & alive.any()

    def chosen(place: Array, logits: Array, alive: Array, total: Array) -> tuple[Array, Array]:
        logs = jax.nn.log_softmax(logits.astype(jnp.float32))
        drawn = draw(jax.random.fold_in(key, place), logs / temperature)
        token = jnp.argmax(logs, -1) if greedy else drawn
        token = jnp.where(alive, token.astype(jnp.int32), end)
        gained = jnp.take_along_axis(logs, token[:, None], 1)[:, 0]
        return token, total + jnp.where(alive, gained, 0.0)

    def turn(carry: Any) -> Any:
        place, cache, logits, alive, tokens, total, lengths = carry
        token, total = chosen(place, logits, alive, total)
        tokens = tokens.at[:, place].set(token)
        lengths = lengths + alive
        alive = alive & (token != end)
        cache, logits = model.step(cache, token, alive)
        return place + 1, cache, logits, alive, tokens, total, lengths

    tokens = jnp.full((rows, length), end)
    alive, zeros = jnp.ones(rows, bool), jnp.zeros(rows)
    begin = (jnp.int32(0), cache, logits, alive, tokens, zeros, jnp.zeros(rows, jnp.int32))
    out = jax.lax.while_loop(going, turn, begin)
    return out[4], out[6], out[5]


_decoded = compiled(_decode, static=("rows", "length", "greedy"), long=True)
