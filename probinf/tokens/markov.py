"""markov_chain: a language model that sees a window of tokens, as the Markov chain that it is."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.inputs.limits import at_least
from probinf.errors import ModelError
from probinf.lm.protocol import LanguageModel

_MOST = 4096


class MarkovChain(NamedTuple):
    """A chain on windows of tokens.

    Attributes:
        windows: (S, K) tokens of each state.
        matrix: (S, S) chances of going from one to another.
        stationary: (S,) the law that a step leaves as it is.
        gap: one less the second largest modulus of the eigenvalues: the distance from the
            stationary law falls as fast as powers of ``1 - gap``.
    """

    windows: np.ndarray
    matrix: np.ndarray
    stationary: np.ndarray
    gap: float


def markov_chain(lm: LanguageModel, window: int, *, temperature: float = 1.0) -> MarkovChain:
    """The chain of a model that only ever sees the last tokens, by enumeration.

    The window slides: after ``u`` comes ``u`` without its first token and with a new one, with the
    model's chance of that token given ``u`` as prompt. Texts do not end; ``eos`` is a token.

    Args:
        lm: of few tokens.
        window: K, tokens that it sees; there are V^K windows, at most 4096.
        temperature: of the tokens.

    Raises:
        ModelError: there are too many windows, or the model does not hold one more token.

    Source: Zekri et al. (2024), arXiv 2410.02724.
    """
    at_least(1, window=window)
    v = lm.vocab_size
    states = v**window
    if states > _MOST:
        raise ModelError(
            f"markov_chain: {v} tokens and a window of {window} make {states} states, more than "
            f"{_MOST}; take a smaller window."
        )
    if lm.context is not None and window >= lm.context:
        raise ModelError(
            f"markov_chain: window={window} leaves no room for a next token; the model holds "
            f"{lm.context}."
        )
    if not temperature > 0:
        raise ModelError(f"markov_chain: temperature must be positive, got {temperature}.")
    powers = v ** np.arange(window)[::-1]
    windows = (np.arange(states)[:, None] // powers) % v

    def logits(prompt: jax.Array) -> jax.Array:
        return lm.init(prompt, jnp.int32(window), 1, 1)[1][0]

    found = jax.jit(lambda rows: jax.lax.map(logits, rows))(jnp.asarray(windows, jnp.int32))
    scaled = np.asarray(found, float) / temperature
    chances = np.exp(scaled - scaled.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    matrix = np.zeros((states, states))
    after = (np.arange(states)[:, None] * v) % states + np.arange(v)
    np.put_along_axis(matrix, after, chances, 1)
    stationary = np.linalg.lstsq(
        np.vstack([matrix.T - np.eye(states), np.ones(states)]),
        np.concatenate([np.zeros(states), [1.0]]),
        rcond=None,
    )[0]
    moduli = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
    gap = 1 - float(moduli[1]) if states > 1 else 1.0
    return MarkovChain(windows, matrix, stationary, gap)
