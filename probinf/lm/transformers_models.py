"""from_transformers: a causal model of the package transformers (PyTorch) as it is."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np

from probinf.errors import ModelError
from probinf.lm.hosted import HostLM, Stepped

WHO = "from_transformers"


def from_transformers(network: Any, *, eos: int | None = None) -> HostLM:
    """A causal language model of transformers, with its own cache of keys and values.

    PyTorch computes the logits wherever the network lies; all else is as for any other model.
    Rows that go on from the last step are reordered within the cache, others are begun anew
    (texts of different lengths, as ``boundary=`` makes them, always are: the logits are right and
    each costs as much as a whole text).

    Args:
        network: ``AutoModelForCausalLM.from_pretrained(folder).eval()``, or the like.
        eos: the token that ends a text; by default that of the configuration. Where it has
            several, their probability is added to that of the first one.

    Raises:
        ModelError: what is given is no causal language model, is in training mode (dropout would
            make its probabilities random), or does not say which token ends a text.
    """
    config = getattr(network, "config", None)
    vocab_size = getattr(config, "vocab_size", None)
    if not callable(network) or not isinstance(vocab_size, int):
        raise ModelError(
            f"{WHO}: needs a causal language model of transformers, with config.vocab_size, got "
            f"{type(network).__name__}; other networks go through HostLM.of(Stepped(...))."
        )
    if getattr(network, "training", False):
        raise ModelError(
            f"{WHO}: the network is in training mode, in which dropout makes probabilities "
            "random; call network.eval() first."
        )
    given = getattr(config, "eos_token_id", None) if eos is None else eos
    ends = [int(token) for token in np.ravel(given)] if given is not None else []
    if not ends:
        raise ModelError(
            f"{WHO}: the configuration does not say which token ends a text; say eos= "
            "(tokenizer.eos_token_id)."
        )
    reader = _Reader(network, ends)
    return HostLM.of(
        Stepped(reader.start, reader.step),
        vocab_size=vocab_size,
        eos=ends[0],
        context=getattr(config, "max_position_embeddings", None),
    )


class _Reader:
    """A network that reads, whole texts at first, then a token of each."""

    def __init__(self, network: Any, ends: list[int]) -> None:
        self._network, self._ends = network, ends
        named = inspect.signature(getattr(network, "forward", network)).parameters
        # what transformers called past_key_values up to 5.23
        self._past = "cache" if "cache" in named else "past_key_values"

    def start(self, texts: np.ndarray) -> tuple[Any, np.ndarray]:
        """Texts of one length, nothing kept from before; the state is the cache and its rows."""
        return self._read(texts)

    def step(self, state: Any, parents: np.ndarray, tokens: np.ndarray) -> tuple[Any, np.ndarray]:
        """One more token of rows that go on from others."""
        cache, rows = state
        if not np.array_equal(parents, np.arange(rows)):
            cache.reorder_cache(self._tensor(parents))
        return self._read(tokens[:, None], **{self._past: cache})

    def _read(self, tokens: np.ndarray, **past: Any) -> tuple[Any, np.ndarray]:
        with _torch().inference_mode():
            out = self._network(input_ids=self._tensor(tokens), use_cache=True, **past)
        logits = np.array(out.logits[:, -1].float().cpu().numpy(), np.float64)
        if len(self._ends) > 1:
            together = np.logaddexp.reduce(logits[:, self._ends], axis=1)
            logits[:, self._ends] = -np.inf
            logits[:, self._ends[0]] = together
        return (getattr(out, self._past), len(tokens)), logits

    def _tensor(self, values: np.ndarray) -> Any:
        return _torch().as_tensor(np.asarray(values, np.int64), device=self._network.device)


def _torch() -> Any:
    """PyTorch, which is there once a network is."""
    return importlib.import_module("torch")
