"""LanguageModel: what a model of tokens has to offer, so that inference can run on it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int

Cache = Any
"""What a model remembers of its rows: a pytree whose every leaf has the rows on its first axis."""


@runtime_checkable
class LanguageModel(Protocol):
    """Probabilities of the next token, for many rows at once.

    A model is a pytree: weights are its leaves, everything else is static and compared by value.
    So weights are data, and a second model of the same shape compiles nothing. It is called
    within compiled code. One that can begin without any prompt has ``starts_empty = True``.

    Attributes:
        vocab_size: V; tokens are 0 to V - 1.
        eos: the token that ends a text.
        context: how many tokens prompt and continuation may have together; None where any.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def eos(self) -> int: ...

    @property
    def context(self) -> int | None: ...

    def init(
        self, prompt: Int[Array, " p"], used: Int[Array, ""], rows: int, length: int
    ) -> tuple[Cache, Float[Array, "rows vocab"]]:
        """A cache that has read the prompt, and logits of the first token after it.

        Args:
            prompt: padded on its right to a length that several prompts share.
            used: how many of its tokens count; at least 1 unless the model needs no prompt.
            rows: N, static; all rows have the same prompt.
            length: how many tokens may follow, static.
        """
        ...

    def step(
        self, cache: Cache, token: Int[Array, " rows"], active: Bool[Array, " rows"]
    ) -> tuple[Cache, Float[Array, "rows vocab"]]:
        """One more token for every active row, and logits of the one after it.

        Rows have positions of their own. Those that are not active keep cache and position;
        their logits are finite, and mean nothing.
        """
        ...

    def log_prob(
        self,
        prompt: Int[Array, " p"],
        used: Int[Array, ""],
        tokens: Int[Array, "rows t"],
        mask: Bool[Array, "rows t"],
    ) -> Float[Array, "rows t"]:
        """Log probability of each token given the prompt and those before it; 0 off the mask.

        The mask is true on the first tokens of each row, as many as it has.
        """
        ...


def gather(cache: Cache, ancestors: Int[Array, " rows"]) -> Cache:
    """The cache whose row ``i`` is row ``ancestors[i]`` of the old one."""
    return jax.tree.map(lambda leaf: leaf[ancestors], cache)
