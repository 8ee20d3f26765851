"""TransformerLM: a decoder-only transformer as a language model, a plain pytree."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import compiled
from probinf.core.keys import as_key
from probinf.lm.architecture import Architecture
from probinf.lm.caching import Base, Store, joined, read, score, store, write
from probinf.lm.decoder import Weights, initial_weights
from probinf.lm.prompts import check_room, padded


class Decoding:
    """The protocol of language models, for whatever has weights and an architecture."""

    weights: Weights
    architecture: Architecture
    base: Base | None

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.architecture.vocab_size

    @property
    def eos(self) -> int:
        """The token that ends a text."""
        return self.architecture.eos

    @property
    def context(self) -> int:
        """Tokens that prompt and continuation may have together."""
        read_before = 0 if self.base is None else int(self.base.used)
        return self.architecture.context - read_before

    @property
    def starts_empty(self) -> bool:
        """Whether a prompt may be empty: only after a text that was read before."""
        return self.base is not None

    def init(
        self, prompt: Int[Array, " p"], used: Int[Array, ""], rows: int, length: int
    ) -> tuple[Store, Float[Array, "rows vocab"]]:
        """Read the prompt once, in one pass, and give each row its keys and values.

        A prompt may be empty only after ``after``; otherwise its logits are NaN, since a
        transformer says nothing about the first token of a text.
        """
        text = read(self.weights, self.architecture, self.base, prompt, used)
        after = jnp.broadcast_to(text.logits, (rows, text.logits.shape[0]))
        return store(text, rows, length), after

    def step(
        self, cache: Store, token: Int[Array, " rows"], active: Bool[Array, " rows"]
    ) -> tuple[Store, Float[Array, "rows vocab"]]:
        """One more token for every active row; NaN for a row that has no room left."""
        return write(self.weights, self.architecture, self.base, cache, token, active)

    def log_prob(
        self,
        prompt: Int[Array, " p"],
        used: Int[Array, ""],
        tokens: Int[Array, "rows t"],
        mask: Bool[Array, "rows t"],
    ) -> Float[Array, "rows t"]:
        """Log probability of each token given those before it, in one pass; 0 off the mask."""
        text = read(self.weights, self.architecture, self.base, prompt, used)
        found = score(self.weights, self.architecture, self.base, text, tokens)
        return jnp.where(mask, found, 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransformerLM(Decoding):
    """A decoder-only transformer of the Llama or Qwen2 family.

    Rotary positions, RMSNorm, grouped queries and SwiGLU; keys and values are cached, and every
    row has its own position.

    Attributes:
        weights: a dict, described in ``probinf.lm.decoder``.
        architecture: sizes, and how positions turn.
        base: a text read before every prompt, see ``after``.
    """

    weights: Weights
    architecture: Architecture = dataclasses.field(metadata={"static": True})
    base: Base | None = None

    @classmethod
    def random(
        cls, key: Any, architecture: Architecture, *, biases: bool = False, tied: bool = True
    ) -> TransformerLM:
        """Random weights, from which training begins.

        Args:
            key: random key or seed.
            architecture: sizes.
            biases: of queries, keys and values, as Qwen2 has them.
            tied: whether the embedding also is the head.
        """
        weights = initial_weights(as_key(key), architecture, biases=biases, tied=tied)
        return cls(weights, architecture)

    def after(self, tokens: Any) -> TransformerLM:
        """The same model once it has read a text, which all rows then share.

        Its keys and values are computed once and never copied: neither for the rows, nor when
        they are resampled. So a long common beginning (instructions, examples) belongs here, and
        only what differs into the prompt, which may then be empty.

        Args:
            tokens: one text; it follows the one that was read before, if any.

        Raises:
            ArrayError: tokens that are not in the vocabulary, or more than the context holds.
        """
        text, used = padded("after", tokens, self.vocab_size)
        check_room("after", int(used), 1, self.context)
        found = _read(self.weights, self.architecture, self.base, text, used)
        return dataclasses.replace(self, base=joined(self.base, found))


_read = compiled(read, static=("shape",), long=True)
