"""Texts at the door: tokens that exist, and room for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.core.inputs.arrays import plain
from probinf.errors import ArrayError, ModelError


def bucket(length: int) -> int:
    """The padded length of a text: a power of two, at least 16, so that few programs compile."""
    return max(16, 1 << max(length - 1, 0).bit_length())


def checked_tokens(name: str, tokens: Any, vocab_size: int, *, ndim: int = 1) -> np.ndarray:
    """Tokens as 32-bit integers.

    Raises:
        ArrayError: they are no whole numbers, have another number of axes, or one of them is
            not in the vocabulary.
    """
    array = np.asarray(plain(name, tokens))
    if array.size == 0:
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise ArrayError(
            f"{name}: tokens are whole numbers, got {array.dtype}; turn text into tokens with the "
            "model's tokenizer first."
        )
    if array.ndim != ndim:
        raise ArrayError(f"{name}: tokens need {ndim} axes, got shape {array.shape}.")
    bad = np.argwhere((array < 0) | (array >= vocab_size))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        shown = at[0] if ndim == 1 else at
        raise ArrayError(
            f"{name}: token {int(array[at])} at place {shown} is not in the vocabulary, whose "
            f"tokens are 0 to {vocab_size - 1} ({len(bad)} such tokens). Is the tokenizer that of "
            "another model?"
        )
    return array.astype(np.int32)


def padded(name: str, tokens: Any, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """One text, padded with zeros to its bucket, and how many of its tokens count."""
    array = checked_tokens(name, tokens, vocab_size)
    out = np.zeros(bucket(len(array)), np.int32)
    out[: len(array)] = array
    return out, np.asarray(len(array), np.int32)


def check_room(name: str, prompt: int, length: int, context: int | None) -> None:
    """Raise unless prompt and continuation fit.

    Raises:
        ArrayError: they do not.
    """
    if context is not None and prompt + length > context:
        raise ArrayError(
            f"{name}: a prompt of {prompt} tokens and {length} more do not fit into the model's "
            f"context of {context}. Shorten the prompt, or let at most "
            f"{max(context - prompt, 0)} tokens follow."
        )


def check_begun(name: str, used: int, model: Any) -> None:
    """Raise where a prompt is empty and the model has to read something first.

    Raises:
        ModelError: it is.
    """
    if used == 0 and not getattr(model, "starts_empty", False):
        raise ModelError(
            f"{name}: the prompt is empty, and {type(model).__name__} has to read at least one "
            "token before it says anything; begin with its token for the beginning of a text."
        )


def check_eos(name: str, eos: int, vocab_size: int) -> None:
    """Raise unless the token that ends texts is one.

    Raises:
        ModelError: it is not in the vocabulary.
    """
    if not 0 <= eos < vocab_size:
        raise ModelError(f"{name}: eos must be a token, 0 to {vocab_size - 1}, got {eos}.")
