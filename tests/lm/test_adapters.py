"""Models out of functions, compiled or not: one law whoever computes the logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import probinf as pi
from probinf.core.compiling import jitted
from probinf.errors import CallbackError, ModelError
from probinf.fronts.tokens.front import from_language_model
from probinf.lm import FnLM, HostLM, LanguageModel, Stepped, draw, generate

V, EOS = 5, 0
TABLE = np.random.default_rng(0).normal(size=(V + 1, V)).astype(np.float32) * 1.5


def begin(table, room):
    return jnp.int32(V), table[V]


def further(table, cache, token):
    state = (2 * cache + token) % V  # so that more than the last token counts
    return state.astype(jnp.int32), table[state]


def logits_of(texts):
    """The same in NumPy, from whole texts."""
    out = []
    for text in texts:
        state = V
        for token in text:
            state = (2 * state + token) % V
        out.append(TABLE[state])
    return np.stack(out)


compiled = FnLM.of(begin, further, TABLE, vocab_size=V, eos=EOS)


class Network:
    """A model with a state of its own, as PyTorch would have it, that counts its work."""

    def __init__(self):
        self.starts = self.steps = 0

    def start(self, texts):
        self.starts += 1
        state = np.full(len(texts), V)
        for token in texts.T:
            state = (2 * state + token) % V
        return state, TABLE[state]

    def step(self, state, parents, tokens):
        self.steps += 1
        state = (2 * state[parents] + tokens) % V
        return state, TABLE[state]


def test_a_network_with_a_memory_of_its_own_follows_its_rows_through_a_filter():
    network = Network()
    stepped, asked = Stepped(network.start, network.step), 0

    def checked(texts):
        nonlocal asked
        asked += 1
        found = stepped(texts)
        np.testing.assert_array_equal(found, logits_of(texts))
        return found

    model = HostLM.of(checked, vocab_size=V, eos=EOS)
    assert isinstance(compiled, LanguageModel) and isinstance(model, LanguageModel)
    program = from_language_model(model, [3, 1], max_tokens=6, exponent=3.0, ramp=3)
    fit = pi.sample(program, pi.ParticleFilter(16), key=0, progress=False)
    assert fit.history["resampled"].any()
    assert np.isfinite(fit.log_evidence.value)
    assert network.steps >= 5 and network.starts + network.steps == asked
    assert network.starts <= 2  # the prompt, and once more where a text is tried before


def scored(model, prompt, used, tokens, mask):
    return model.log_prob(prompt, used, tokens, mask)


def test_probabilities_of_given_texts():
    out = generate(compiled, [3, 1], rows=8, length=5, key=1)
    mask = np.arange(5) < out.lengths[:, None]
    args = jnp.array([3, 1, 0, 0]), jnp.int32(2), jnp.asarray(out.tokens), jnp.asarray(mask)
    np.testing.assert_allclose(compiled.log_prob(*args).sum(1), out.log_prob, atol=1e-5)
    hosted = HostLM.of(logits_of, vocab_size=V, eos=EOS)
    np.testing.assert_allclose(jitted(scored)(hosted, *args).sum(1), out.log_prob, atol=1e-5)
    again = generate(hosted, [3, 1], rows=8, length=5, key=1)
    np.testing.assert_array_equal(again.tokens, out.tokens)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="eos must be a token, 0 to 4, got 5"):
        FnLM.of(begin, further, TABLE, vocab_size=V, eos=5)
    with pytest.raises(ModelError, match=r"logits must have shape \(4,\), got \(5,\)"):
        FnLM.of(begin, further, TABLE, vocab_size=4, eos=0)
    with pytest.raises(ModelError, match="same shapes and types"):
        FnLM.of(begin, lambda w, c, t: (c[None], w[0]), TABLE, vocab_size=V, eos=0)
    wrong = HostLM.of(lambda texts: np.zeros((len(texts), 4)), vocab_size=V, eos=EOS)
    with pytest.raises(CallbackError, match=r"\(1, 5\), one row a text, got \(1, 4\)"):
        generate(wrong, [1], length=2)


@pytest.mark.parametrize("vocab_size", [2, 7, 300])
def test_tokens_are_drawn_by_their_probabilities(vocab_size):
    rng = np.random.default_rng(vocab_size)
    logits = jnp.asarray(rng.normal(size=vocab_size) * 2, jnp.float32)
    logits = logits.at[-1].set(-jnp.inf).at[0].add(1.0)
    n = 200_000
    drawn = jax.jit(draw)(jax.random.key(vocab_size), jnp.broadcast_to(logits, (n, vocab_size)))
    counts = np.bincount(drawn, minlength=vocab_size)
    expected = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)), float) * n
    assert counts[-1] == 0
    rare = expected < 5
    pooled = [*counts[~rare], counts[rare].sum()], [*expected[~rare], expected[rare].sum()]
    if pooled[1][-1] < 1:
        pooled = pooled[0][:-1], pooled[1][:-1]
    if len(pooled[0]) > 1:
        total = sum(pooled[0])
        scaled = np.array(pooled[1]) / sum(pooled[1]) * total
        assert stats.chisquare(pooled[0], scaled).pvalue > 1e-4
