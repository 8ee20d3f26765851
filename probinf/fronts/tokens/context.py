"""What a potential, a twist, a proposal or a rule sees of one text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.errors import ModelError


class Context(NamedTuple):
    """One text so far.

    Attributes:
        tokens: (T,) those chosen, then the model's ``eos`` up to the longest text.
        length: how many of them are chosen.
        token: the last one chosen.
        begin: where the last step begins: ``tokens[begin:length]`` are those of the last step.
        log_prob: log probability of the text so far under the model.
        done: whether the text has ended.
        step: number of the step, from 0.
        prompt: (P,) padded on its right.
        used: how many tokens of the prompt count.
    """

    tokens: Int[Array, " t"]
    length: Int[Array, ""]
    token: Int[Array, ""]
    begin: Int[Array, ""]
    log_prob: Float[Array, ""]
    done: Bool[Array, ""]
    step: Int[Array, ""]
    prompt: Int[Array, " p"]
    used: Int[Array, ""]


ROWS = Context(0, 0, 0, 0, 0, 0, None, None, None)  # type: ignore[arg-type]
"""Which parts of a context differ from row to row."""


class Among(NamedTuple):
    """Whether the last token is one of some."""

    ids: Int[Array, " k"]

    def __call__(self, context: Context) -> Bool[Array, ""]:
        return (context.token == self.ids).any()


def as_function(fn: Callable[..., Any] | None) -> Any:
    """A callable as a pytree: one with arrays keeps them as data, others are static."""
    if fn is None or not jax.tree_util.all_leaves([fn]):
        return fn
    return jax.tree_util.Partial(fn)


def as_rule(who: str, rule: Any, vocab_size: int) -> Any:
    """Tokens (one, or several), or a callable of the context, as a callable that is a pytree.

    Raises:
        ModelError: it is neither, or a token is none of the vocabulary.
    """
    if rule is None or callable(rule):
        return as_function(rule)
    return Among(as_tokens(who, np.atleast_1d(np.asarray(rule)), vocab_size))


def as_tokens(who: str, tokens: Any, vocab_size: int) -> Int[Array, " k"]:
    """Whole numbers from 0 to V - 1.

    Raises:
        ModelError: they are not; the first that is not is named.
    """
    given = np.asarray(tokens)
    if given.size == 0:
        given = given.astype(np.int32)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ModelError(
            f"{who} must be whole numbers along one axis, got {given.dtype} of shape "
            f"{given.shape}; encode text with the model's tokenizer."
        )
    outside = np.flatnonzero((given < 0) | (given >= vocab_size))
    if outside.size:
        where = int(outside[0])
        raise ModelError(
            f"{who}[{where}] is token {int(given[where])}, and the vocabulary has 0 to "
            f"{vocab_size - 1}; encode text with the tokenizer of this model."
        )
    return jnp.asarray(given, jnp.int32)
