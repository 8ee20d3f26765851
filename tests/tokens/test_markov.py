"""The chain of a model on windows: its stationary law, its gap, and what it draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import ModelError
from probinf.lm import TableLM

LM = TableLM.random(3, vocab_size=3, depth=3, eos_bias=0.0)


def test_the_stationary_law_is_that_of_a_long_text() -> None:
    """Drawn token by token through the model's own steps."""
    chain = pi.tokens.markov_chain(LM, 2)
    assert np.allclose(chain.matrix.sum(1), 1)
    assert np.abs(chain.stationary @ chain.matrix - chain.stationary).sum() < 1e-12

    def step(window, key):
        logits = LM.init(window, jnp.int32(2), 1, 1)[1][0]
        window = jnp.array([window[1], jax.random.categorical(key, logits)])
        return window, window[0] * 3 + window[1]

    keys = jax.random.split(jax.random.key(0), (8, 5000))
    run = jax.jit(jax.vmap(lambda keys: jax.lax.scan(step, jnp.zeros(2, int), keys)[1]))
    shares = np.bincount(np.asarray(run(keys))[:, 50:].ravel(), minlength=9)
    assert 0.5 * np.abs(shares / shares.sum() - chain.stationary).sum() < 0.02


def test_the_gap_is_how_fast_the_start_is_forgotten_and_cold_is_slow() -> None:
    chain = pi.tokens.markov_chain(LM, 2)
    far = [
        np.abs(np.linalg.matrix_power(chain.matrix, n)[0] - chain.stationary).sum()
        for n in (10, 20)
    ]
    assert far[1] < 30 * (1 - chain.gap) ** 20
    assert pi.tokens.markov_chain(LM, 2, temperature=0.3).gap < chain.gap


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(ModelError, match="19683 states"):
        pi.tokens.markov_chain(LM, 9)
    with pytest.raises(ModelError, match="no room"):
        pi.tokens.markov_chain(LM, 3)
