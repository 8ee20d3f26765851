"""TableLM: a language model small enough to be enumerated."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.inputs.limits import at_least
from probinf.errors import ModelError
from probinf.lm.protocol import Cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TableLM:
    """A language model whose every prefix has its own row of logits.

    Prefixes are numbered like the nodes of a heap: the empty one is 0, and token ``v`` leads from
    node ``k`` to ``V k + v + 1``. All texts can be enumerated, so that every law has a truth to be
    compared with.

    Attributes:
        logits: (nodes, V), for all prefixes of fewer than ``depth`` tokens.
        eos: the token that ends a text.
    """

    starts_empty: ClassVar[bool] = True

    logits: Float[Array, "nodes vocab"]
    eos: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def random(
        cls, seed: int, *, vocab_size: int = 4, depth: int = 6, eos_bias: float = -2.0
    ) -> TableLM:
        """Standard normal logits; the last token ends a text.

        Args:
            seed: of NumPy's generator.
            vocab_size: V.
            depth: tokens of the longest text, the prompt included.
            eos_bias: added to the logit of the last token.
        """
        at_least(2, vocab_size=vocab_size)
        at_least(1, depth=depth)
        nodes = _nodes(vocab_size, depth)
        logits = np.random.default_rng(seed).normal(size=(nodes, vocab_size))
        logits[:, -1] += eos_bias
        return cls(jnp.asarray(logits, jnp.float32), vocab_size - 1)

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.logits.shape[1]

    @property
    def context(self) -> int:
        """Tokens of the longest text, the prompt included."""
        nodes, depth = self.logits.shape[0], 1
        while _nodes(self.vocab_size, depth) < nodes:
            depth += 1
        if _nodes(self.vocab_size, depth) != nodes:
            raise ModelError(
                f"TableLM: {nodes} rows of logits are not all prefixes of {self.vocab_size} tokens "
                f"up to some length; for length {depth} there are "
                f"{_nodes(self.vocab_size, depth)}."
            )
        return depth

    def init(
        self, prompt: Int[Array, " p"], used: Int[Array, ""], rows: int, length: int
    ) -> tuple[Cache, Float[Array, "rows vocab"]]:
        """The node that the prompt leads to."""

        def walk(node: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
            place, token = item
            return jnp.where(place < used, self._below(node, token), node), None

        places = jnp.arange(prompt.shape[0])
        node, _ = jax.lax.scan(walk, jnp.zeros((), jnp.int32), (places, prompt))
        nodes = jnp.broadcast_to(node, (rows,))
        return nodes, self.logits[nodes]

    def step(
        self, cache: Cache, token: Int[Array, " rows"], active: Bool[Array, " rows"]
    ) -> tuple[Cache, Float[Array, "rows vocab"]]:
        """One node further down."""
        nodes = jnp.where(active, self._below(cache, token), cache)
        return nodes, self.logits[jnp.minimum(nodes, self.logits.shape[0] - 1)]

    def log_prob(
        self,
        prompt: Int[Array, " p"],
        used: Int[Array, ""],
        tokens: Int[Array, "rows t"],
        mask: Bool[Array, "rows t"],
    ) -> Float[Array, "rows t"]:
        """Log probabilities along each row."""
        nodes, logits = self.init(prompt, used, tokens.shape[0], tokens.shape[1])

        def walk(carry: tuple[Array, Array], item: tuple[Array, Array]) -> tuple[tuple, Array]:
            nodes, logits = carry
            token, counts = item
            found = jax.nn.log_softmax(logits)
            here = jnp.take_along_axis(found, token[:, None], 1)[:, 0]
            return self.step(nodes, token, counts), jnp.where(counts, here, 0.0)

        _, out = jax.lax.scan(walk, (nodes, logits), (tokens.T, mask.T))
        return out.T

    def texts(self, max_tokens: int) -> tuple[Int[Array, "m t"], Int[Array, " m"]]:
        """All texts that end with ``eos`` or have ``max_tokens``, and their lengths.

        Tokens after the end are ``eos``.
        """
        found: list[tuple[int, ...]] = []
        open_ones: list[tuple[int, ...]] = [()]
        others = [v for v in range(self.vocab_size) if v != self.eos]
        for _ in range(max_tokens):
            found += [(*text, self.eos) for text in open_ones]
            open_ones = [(*text, v) for text in open_ones for v in others]
        found += open_ones
        lengths = np.array([len(text) for text in found], np.int32)
        tokens = np.full((len(found), max_tokens), self.eos, np.int32)
        for row, text in zip(tokens, found, strict=True):
            row[: len(text)] = text
        return jnp.asarray(tokens), jnp.asarray(lengths)

    def _below(self, node: Array, token: Array) -> Array:
        return (self.vocab_size * node + token + 1).astype(jnp.int32)


def _nodes(vocab_size: int, depth: int) -> int:
    """Prefixes of fewer than ``depth`` tokens."""
    return sum(vocab_size**k for k in range(depth))
