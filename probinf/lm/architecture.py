"""The shape of a decoder-only transformer: everything about it that is not a weight."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from probinf.errors import ModelError

Rope = Literal["halves", "interleaved"]


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Slower rotations for contexts longer than those that the model was first trained on.

    Attributes:
        factor: by which long wavelengths are stretched.
        low, high: wavelengths above ``original / low`` are stretched in full, below
            ``original / high`` not at all, between them smoothly. ``None``: all are stretched.
        original: length of the contexts of the first training.

    Source: the published configuration of Llama 3.1 (``rope_type: llama3``); ``linear`` scaling
    has neither ``low`` nor ``high``.
    """

    factor: float
    low: float | None = None
    high: float | None = None
    original: int | None = None

    def __call__(self, frequencies: np.ndarray) -> np.ndarray:
        """The frequencies, slowed down."""
        if self.low is None or self.high is None or self.original is None:
            return frequencies / self.factor
        turns = self.original * frequencies / (2 * math.pi)
        kept = np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
        return frequencies * (kept + (1 - kept) / self.factor)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A decoder of the Llama and Qwen2 families.

    Attributes:
        vocab_size: tokens.
        eos: the token that ends a text.
        width: of the residual stream.
        layers: blocks of attention and feed-forward.
        heads: of queries.
        kv_heads: of keys and values; each serves ``heads / kv_heads`` heads of queries.
        head_size: of one head; even.
        hidden: width of the feed-forward.
        context: tokens that the model was trained to see at once.
        rope: which coordinates of a head turn together: ``halves``, i with i + head_size / 2
            (safetensors of Hugging Face); ``interleaved``, 2i with 2i + 1 (GGUF of Llama).
        rope_base: of the wavelengths.
        rope_scaling: slower rotations, if any.
        norm_epsilon: of RMSNorm.
        other_ends: tokens that end a text as well; their probability is added to that of ``eos``,
            and they are never written.

    Raises:
        ModelError: sizes that do not fit together.
    """

    vocab_size: int
    eos: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    context: int
    rope: Rope = "halves"
    rope_base: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_epsilon: float = 1e-5
    other_ends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_size", "hidden")
        for name in (*sizes, "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ModelError(f"Architecture: {name} must be a positive integer, got {value!r}.")
        if self.heads % self.kv_heads:
            raise ModelError(
                f"Architecture: {self.heads} heads of queries cannot share {self.kv_heads} heads "
                "of keys evenly; heads must be a multiple of kv_heads."
            )
        if self.head_size % 2:
            raise ModelError(
                f"Architecture: head_size must be even, since rotations take coordinates in pairs, "
                f"got {self.head_size}."
            )
        if self.rope not in ("halves", "interleaved"):
            raise ModelError(
                f"Architecture: rope must be 'halves' or 'interleaved', got {self.rope!r}."
            )
        ends = (self.eos, *self.other_ends)
        if not all(0 <= token < self.vocab_size for token in ends) or len(set(ends)) < len(ends):
            raise ModelError(
                "Architecture: eos and other_ends must be different tokens, "
                f"0 to {self.vocab_size - 1}, got {self.eos} and {self.other_ends}."
            )

    def frequencies(self) -> np.ndarray:
        """(head_size / 2,) angle per position of each pair of coordinates."""
        exponents = np.arange(0, self.head_size, 2) / self.head_size
        frequencies = self.rope_base**-exponents
        return frequencies if self.rope_scaling is None else self.rope_scaling(frequencies)
