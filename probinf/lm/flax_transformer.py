"""Transformer: the decoder as a Flax NNX module, to be trained, taken apart and put together.

The mathematics are those of ``probinf.lm.decoder``, which need no Flax.
"""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Int

from probinf.errors import MissingPackageError
from probinf.lm.architecture import Architecture
from probinf.lm.caching import Base, stream
from probinf.lm.decoder import Weights, initial_weights, logits
from probinf.lm.transformer import Decoding, TransformerLM

try:
    from flax import nnx
except ImportError:
    raise MissingPackageError(
        "Transformer is a Flax module: pip install 'probinf[flax]'. TransformerLM is the same "
        "model without Flax."
    ) from None


class Block(nnx.Module):
    """Attention and feed-forward of one layer: a parameter for each of its weights."""

    def __init__(self, weights: Weights) -> None:
        self.names = tuple(sorted(weights))
        for name, value in weights.items():
            setattr(self, name, nnx.Param(value))

    @property
    def weights(self) -> Weights:
        """The arrays by name."""
        return {name: getattr(self, name)[...] for name in self.names}


class Transformer(Decoding, nnx.Module):
    """A decoder-only transformer of the Llama or Qwen2 family, as a Flax module.

    It is a language model as it is, and ``TransformerLM`` has the same arrays without Flax.

    Args:
        architecture: sizes.
        rngs: streams of random numbers, for random weights.
        biases: of queries, keys and values, as Qwen2 has them.
        tied: whether the embedding also is the head.
        weights: in place of random ones.

    Raises:
        MissingPackageError: the extra ``flax`` is not installed.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        rngs: Any = None,
        biases: bool = False,
        tied: bool = True,
        weights: Weights | None = None,
    ) -> None:
        if weights is None:
            key = jax.random.key(0) if rngs is None else rngs.params()
            weights = initial_weights(key, architecture, biases=biases, tied=tied)
        self.architecture = architecture
        self.base: Base | None = None
        self.embedding = nnx.Param(weights["embedding"])
        self.norm = nnx.Param(weights["norm"])
        self.head = nnx.Param(weights["head"]) if "head" in weights else None
        self.blocks = nnx.List([Block(block) for block in weights["blocks"]])

    @property
    def weights(self) -> Weights:  # type: ignore[override]
        """The arrays, as ``probinf.lm.decoder`` describes them."""
        found = {
            "embedding": self.embedding[...],
            "norm": self.norm[...],
            "blocks": [block.weights for block in self.blocks],
        }
        return found if self.head is None else found | {"head": self.head[...]}

    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n t V"]:
        """Logits of the token after each one, every row by itself; what training needs."""
        return logits(
            self.weights, self.architecture, stream(self.weights, self.architecture, tokens)
        )

    @classmethod
    def of(cls, model: TransformerLM) -> Transformer:
        """The Flax module with the weights of a language model."""
        return cls(model.architecture, weights=model.weights)

    def language_model(self) -> TransformerLM:
        """The same model as a plain pytree."""
        return TransformerLM(self.weights, self.architecture)
