"""Laws of the cached decoder: it computes what the plain one does, whoever its ancestors were."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.errors import ArrayError, ModelError
from probinf.lm import Architecture, LanguageModel, TransformerLM, generate, generating
from probinf.lm.protocol import gather
from tests.cases import decoders as cases


def lm_of(tmp_path_factory, config):
    from probinf.lm import load_safetensors

    weights = cases.tensors(config)
    folder = tmp_path_factory.mktemp("model")
    cases.write(folder, config, weights)
    return load_safetensors(folder).model, weights


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return lm_of(tmp_path_factory, cases.LLAMA)


def law_of_the_cache(model, config, weights, seed=0, steps=9, before=()):
    """Largest difference of cached logits from those of the whole text, over random ancestries.

    Rows are resampled at random and pause at random, so that they come to differ in length.
    """
    rng = np.random.default_rng(seed)
    rows, prompt = 4, rng.integers(1, 23, 5)
    padded = np.zeros(8, np.int32)
    padded[:5] = prompt
    cache, found = jax.jit(lambda m, p: m.init(p, jnp.int32(5), rows, steps))(model, padded)
    step = jax.jit(lambda m, *args: m.step(*args))
    texts = [[*before, *prompt] for _ in range(rows)]
    expected = np.array([cases.logits(config, weights, text)[-1] for text in texts])
    worst = np.abs(found - expected).max()
    for _ in range(steps):
        ancestors = rng.integers(0, rows, rows)
        cache = gather(cache, jnp.asarray(ancestors))
        texts = [list(texts[a]) for a in ancestors]
        tokens = rng.integers(0, 23, rows)
        active = rng.random(rows) < 0.7
        cache, found = step(model, cache, jnp.asarray(tokens), jnp.asarray(active))
        assert np.isfinite(found).all()
        for row in np.flatnonzero(active):
            texts[row].append(tokens[row])
            there = cases.logits(config, weights, texts[row])[-1]
            worst = max(worst, np.abs(found[row] - there).max())
    return float(worst)


def test_cached_and_uncached_logits_agree(llama):
    model, weights = llama
    assert isinstance(model, LanguageModel)
    assert law_of_the_cache(model, cases.LLAMA, weights) < 1e-4


def test_a_text_read_before_is_as_good_as_one_in_the_prompt(llama):
    model, weights = llama
    before = (3, 7, 7, 1)
    later = model.after(before[:1]).after(before[1:])
    assert law_of_the_cache(later, cases.LLAMA, weights, before=before) < 1e-4
    empty = jax.jit(lambda m: m.init(jnp.zeros(4, int), jnp.int32(0), 2, 3)[1])(later)
    whole = cases.logits(cases.LLAMA, weights, before)[-1]
    np.testing.assert_allclose(empty, np.stack([whole, whole]), atol=1e-4)
    assert later.context == model.context - len(before)  # what fills a bucket up takes no room


def test_biases_and_an_own_head_as_in_qwen2(tmp_path_factory):
    model, weights = lm_of(tmp_path_factory, cases.QWEN2)
    assert law_of_the_cache(model, cases.QWEN2, weights) < 1e-4


def test_scaled_rotations_and_several_ends_as_in_llama_3(tmp_path_factory):
    model, weights = lm_of(tmp_path_factory, cases.LLAMA3)
    text = np.arange(1, 16)
    read = jax.jit(lambda m: m.init(jnp.asarray(text), jnp.int32(len(text)), 1, 1)[1])
    found = read(model)
    logs = cases.logits(cases.LLAMA3, weights, text)[-1]
    expected = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    expected[0], expected[5] = expected[0] + expected[5], 0.0
    np.testing.assert_allclose(jax.nn.softmax(found[0]), expected, atol=1e-5)


def interleaved(model):
    """The same model for rotations of neighbours: coordinates of queries and keys in that order."""
    shape = model.architecture
    order = np.arange(shape.head_size).reshape(2, -1).T.ravel()
    blocks = []
    for block in model.weights["blocks"]:
        changed = dict(block)
        for name, heads in (("query", shape.heads), ("key", shape.kv_heads)):
            apart = block[name].reshape(shape.width, heads, shape.head_size)
            changed[name] = apart[:, :, order].reshape(shape.width, -1)
        blocks.append(changed)
    weights = model.weights | {"blocks": blocks}
    return TransformerLM(weights, dataclasses.replace(shape, rope="interleaved"))


def test_rotations_of_halves_and_of_neighbours_are_one_up_to_their_order(llama):
    model, weights = llama
    assert law_of_the_cache(interleaved(model), cases.LLAMA, weights) < 1e-4
    wrong = TransformerLM(
        model.weights, dataclasses.replace(model.architecture, rope="interleaved")
    )
    assert law_of_the_cache(wrong, cases.LLAMA, weights, steps=3) > 1e-2


def test_log_prob_is_the_sum_over_steps(llama):
    model, _ = llama
    out = generate(model, [4, 2, 9], rows=16, length=8, key=3, temperature=8.0)
    assert (out.lengths < 8).any() and (out.lengths == 8).any()
    mask = np.arange(8) < out.lengths[:, None]
    prompt = jnp.array([4, 2, 9, 0, 0])
    log_prob = jax.jit(lambda m, *args: m.log_prob(prompt, jnp.int32(3), *args))
    each = log_prob(model, jnp.asarray(out.tokens), jnp.asarray(mask))
    assert (np.asarray(each)[~mask] == 0).all()
    np.testing.assert_allclose(each.sum(-1), out.log_prob, atol=1e-4)


def test_greedy_takes_the_likeliest_token(llama):
    model, weights = llama
    (text,) = generate(model, [4, 2, 9], length=5, temperature=0.0).texts()
    so_far = [4, 2, 9]
    for token in text:
        assert token == np.argmax(cases.logits(cases.LLAMA, weights, so_far)[-1])
        so_far.append(token)


def test_a_second_prompt_and_other_weights_compile_nothing(llama, monkeypatch):
    model, _ = llama
    static = ("rows", "length", "greedy")
    once = jax.jit(lambda *args, **kw: generating._decode(*args, **kw), static_argnames=static)
    monkeypatch.setattr(generating, "_decoded", once)
    generate(model, [1, 2, 3], rows=2, length=4)
    generate(model, np.arange(1, 15), rows=2, length=4, key=1, temperature=0.5)
    generate(jax.tree.map(lambda w: 2 * w, model), [5], rows=2, length=4)
    assert once._cache_size() == 1
    generate(model, np.arange(1, 20), rows=2, length=4)  # another bucket
    assert once._cache_size() == 2


def test_an_active_row_without_room_is_nan_and_not_overwritten(llama):
    model, _ = llama
    cache, _ = jax.jit(lambda m: m.init(jnp.array([1, 2]), jnp.int32(2), 2, 1))(model)
    step = jax.jit(lambda m, *args: m.step(*args))
    token, both = jnp.array([3, 4]), jnp.array([True, True])
    cache, first = step(model, cache, token, both)
    kept, second = step(model, cache, token, jnp.array([True, False]))
    assert np.isfinite(first).all() and np.isnan(second[0]).all() and np.isfinite(second[1]).all()
    for old, new in zip(cache.keys, kept.keys, strict=True):
        np.testing.assert_array_equal(old, new)


def test_bad_tokens_and_too_many_of_them_are_refused(llama):
    model, _ = llama
    with pytest.raises(ArrayError, match=r"token 23 at place 1 is not in the vocabulary"):
        generate(model, [1, 23])
    with pytest.raises(ArrayError, match="turn text into tokens"):
        generate(model, [1.5])
    with pytest.raises(ArrayError, match=r"60 tokens and 5 more do not fit .* context of 64"):
        generate(model, np.ones(60, int), length=5)
    with pytest.raises(ArrayError, match="do not fit"):
        model.after(np.ones(64, int))
    unseen = jax.jit(lambda m: m.init(jnp.array([99]), jnp.int32(1), 1, 1)[1])
    logits = unseen(model)  # compiled code cannot refuse it
    assert np.isnan(logits).all()
    with pytest.raises(ModelError, match="multiple of kv_heads"):
        Architecture(10, 0, 8, 1, 3, 2, 4, 8, 16)
