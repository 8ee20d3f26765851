"""HostLM: a language model in ordinary Python (PyTorch, a server, anything)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.host.asking import Asks, ask
from probinf.core.host.calls import Call
from probinf.core.inputs.limits import at_least
from probinf.errors import CallbackError, ModelError
from probinf.lm.functions import stepwise_log_prob
from probinf.lm.prompts import check_eos

NextLogits = Callable[[list[np.ndarray]], Any]
"""Texts (tokens of each, prompts included) to (n, V) logits of the next tokens."""


class Written(NamedTuple):
    """What rows have read and written; rows lie on axis 0 of every leaf.

    Attributes:
        tokens: (N, S), padded with zeros.
        length: (N,) tokens of each row, the prompt included.
    """

    tokens: Int[Array, "N S"]
    length: Int[Array, " N"]


@dataclasses.dataclass(frozen=True)
class _Texts:
    """Padded tokens as a list of texts, and the answer checked."""

    fn: NextLogits
    vocab_size: int

    def __repr__(self) -> str:
        return str(getattr(self.fn, "__qualname__", type(self.fn).__qualname__))

    def __call__(self, values: dict[str, np.ndarray]) -> np.ndarray:
        texts = [row[:n] for row, n in zip(values["tokens"], values["length"], strict=True)]
        found = np.asarray(self.fn(texts), np.float64)
        if found.shape != (len(texts), self.vocab_size):
            raise CallbackError(
                f"HostLM: logits must have shape ({len(texts)}, {self.vocab_size}), one row a "
                f"text, got {found.shape}."
            )
        return found


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HostLM:
    """A language model that is ordinary Python.

    Engines run compiled up to the point where logits are wanted, ask for those of all rows at
    once (equal texts once), and go on; the mathematics are those of every other model.

    Attributes:
        asked: the function, marked as one that cannot be compiled.
        vocab_size: V.
        eos: the token that ends a text.
        context: tokens of prompt and continuation together; None for any number.
    """

    asked: Asks
    vocab_size: int = dataclasses.field(metadata={"static": True})
    eos: int = dataclasses.field(metadata={"static": True})
    context: int | None = dataclasses.field(default=None, metadata={"static": True})

    starts_empty: ClassVar[bool] = False

    @classmethod
    def of(cls, fn: NextLogits, *, vocab_size: int, eos: int, context: int | None = None) -> HostLM:
        """A model out of a function.

        Args:
            fn: takes a list of texts, each an array of token numbers with its prompt, and returns
                (n, V) logits of the tokens after them. A :class:`Stepped` keeps keys and values.
            vocab_size: V.
            eos: the token that ends a text.
            context: tokens of prompt and continuation together; None for any number.

        Raises:
            ModelError: ``fn`` is no function, or ``eos`` is not in the vocabulary.
        """
        at_least(2, vocab_size=vocab_size)
        check_eos("HostLM", eos, vocab_size)
        if not callable(fn):
            raise ModelError(f"HostLM: fn must be a function of texts, got {type(fn).__name__}.")
        call = Call(
            _Texts(fn, vocab_size),
            shape=(vocab_size,),
            vectorized=True,
            rows=1_000_000,
            max_failures=0.0,
        )
        return cls(Asks(call), vocab_size, eos, context)

    def init(
        self, prompt: Int[Array, " p"], used: Int[Array, ""], rows: int, length: int
    ) -> tuple[Written, Float[Array, "rows vocab"]]:
        """Logits after the prompt, asked once for all rows."""
        clean = jnp.where(jnp.arange(prompt.shape[0]) < used, prompt, 0)
        tokens = jnp.pad(clean, (0, length)).astype(jnp.int32)
        logits = self._asked(tokens, used.astype(jnp.int32), used >= 0)
        many = Written(jnp.tile(tokens, (rows, 1)), jnp.full(rows, used, jnp.int32))
        return many, jnp.broadcast_to(logits, (rows, self.vocab_size))

    def step(
        self, cache: Written, token: Int[Array, " rows"], active: Bool[Array, " rows"]
    ) -> tuple[Written, Float[Array, "rows vocab"]]:
        """One more token for every active row; the others are not asked about."""
        here = (jnp.arange(cache.tokens.shape[1]) == cache.length[:, None]) & active[:, None]
        tokens = jnp.where(here, token[:, None], cache.tokens)
        after = Written(tokens, cache.length + active)
        logits = jax.vmap(self._asked)(after.tokens, after.length, active)
        return after, jnp.where(active[:, None], logits, 0.0)

    def log_prob(
        self,
        prompt: Int[Array, " p"],
        used: Int[Array, ""],
        tokens: Int[Array, "rows t"],
        mask: Bool[Array, "rows t"],
    ) -> Float[Array, "rows t"]:
        """Log probabilities along each row, a question for each token; 0 off the mask."""
        return stepwise_log_prob(self, prompt, used, tokens, mask)

    def _asked(self, tokens: Array, length: Array, wanted: Array) -> Array:
        values = {"tokens": tokens, "length": length}
        return ask(self.asked.call, values, values, wanted).astype(jnp.float32)


class Stepped:
    """Logits by steps with a memory of one's own, such as the keys and values of PyTorch.

    Rows are told where they come from: row ``i`` goes on from row ``parents[i]`` of the last
    step, whatever resampling has done in between, so that a cache is reordered and nothing is
    computed twice. Texts that do not go on from the last step are begun anew. With transformers::

        def start(texts):
            out = model(torch.tensor(texts), use_cache=True)
            return out.past_key_values, out.logits[:, -1]

        def step(cache, parents, tokens):
            cache.reorder_cache(torch.tensor(parents))
            out = model(torch.tensor(tokens)[:, None], past_key_values=cache, use_cache=True)
            return cache, out.logits[:, -1]

        lm = HostLM.of(Stepped(start, step), vocab_size=..., eos=...)

    Args:
        start: ``(n, T) tokens -> (state, (n, V) logits)`` of texts of one length.
        step: ``(state, parents (n,), tokens (n,)) -> (state, (n, V) logits)``, where all rows of
            the state have the same length.
    """

    def __init__(
        self,
        start: Callable[[np.ndarray], tuple[Any, Any]],
        step: Callable[[Any, np.ndarray, np.ndarray], tuple[Any, Any]],
    ) -> None:
        self._start, self._step = start, step
        self._rows: dict[bytes, int] = {}
        self._state: Any = None

    def __call__(self, texts: list[np.ndarray]) -> np.ndarray:
        """(n, V) logits, each text going on from the last step where it can."""
        out: list[Any] = [None] * len(texts)
        parents = [self._rows.get(text[:-1].tobytes()) for text in texts]
        if all(parent is not None for parent in parents):
            last = np.array([text[-1] for text in texts])
            self._state, found = self._step(self._state, np.array(parents), last)
            self._rows = {text.tobytes(): i for i, text in enumerate(texts)}
            return np.asarray(found)
        for length in sorted({len(text) for text in texts}):  # the longest stay in memory
            mine = [i for i, text in enumerate(texts) if len(text) == length]
            group = np.stack([texts[i] for i in mine])
            self._state, found = self._start(group)
            self._rows = {texts[i].tobytes(): place for place, i in enumerate(mine)}
            for place, i in enumerate(mine):
                out[i] = np.asarray(found[place])
        return np.stack(out)
