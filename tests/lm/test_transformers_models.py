"""Models of transformers (PyTorch): how they are asked, and what they say where there are any."""

from __future__ import annotations

import contextlib
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

import probinf as pi
from probinf.errors import ModelError
from probinf.lm import from_transformers, load_safetensors

V, ENDS = 6, (0, 3)
TABLE = np.random.default_rng(0).normal(size=(V + 1, V)) * 1.5 - 3.0 * np.isin(range(V), ENDS)


class Tensor(np.ndarray):
    """An array with what is used of a tensor of PyTorch."""

    float = cpu = lambda self: self
    numpy = lambda self: np.asarray(self)  # noqa: E731


class Cache:
    """States of rows, which can be reordered and nothing else."""

    def __init__(self, state):
        self.state = state

    def reorder_cache(self, parents):
        self.state = self.state[parents]


class Network:
    """A recurrent model that is called as those of transformers are."""

    device, training = "cpu", False

    def __init__(self, **config):
        self.config = types.SimpleNamespace(**{"vocab_size": V, "eos_token_id": [*ENDS], **config})
        self.read = 0

    def forward(self, input_ids=None, use_cache=None, cache=None):
        assert use_cache
        self.read += input_ids.size
        rows = len(input_ids)
        cache = cache or Cache(np.full(rows, V))
        for column in input_ids.T:
            cache.state = (2 * cache.state + column) % V
        logits = np.zeros((rows, input_ids.shape[1], V))
        logits[:, -1] = TABLE[cache.state]
        return types.SimpleNamespace(cache=cache, logits=logits.view(Tensor))

    def __call__(self, **given):
        return self.forward(**given)


class Older(Network):
    """As transformers was before version 5.24."""

    def forward(self, input_ids=None, use_cache=None, past_key_values=None):
        out = super().forward(input_ids, use_cache, past_key_values)
        return types.SimpleNamespace(past_key_values=out.cache, logits=out.logits)


def expected(text):
    state = V
    for token in text:
        state = (2 * state + token) % V
    p = np.exp(TABLE[state]) / np.exp(TABLE[state]).sum()
    p[ENDS[0]], p[ENDS[1]] = p[[*ENDS]].sum(), 0.0
    return p


@pytest.fixture
def torch(monkeypatch):
    """The two functions of PyTorch that are called, by NumPy."""
    fake = types.SimpleNamespace(
        inference_mode=contextlib.nullcontext, as_tensor=lambda values, device: values
    )
    monkeypatch.setitem(sys.modules, "torch", fake)


def test_rows_go_on_from_their_ancestors_and_several_ends_are_one(torch) -> None:
    network = Network()
    lm = from_transformers(network)
    assert (lm.vocab_size, lm.eos, lm.context) == (V, 0, None)
    program = pi.from_language_model(lm, [1, 2, 4, 5], max_tokens=5, exponent=3.0, ramp=2)
    method = pi.ParticleFilter(12, resample_below=1.0)
    fit = pi.sample(program, method, key=0, progress=False)
    read, whole = network.read, 4 + 12 * 5
    assert fit.history["resampled"].any() and read < 2 * whole  # nothing is read twice
    tokens, ends = (fit.draws[name].reshape(12, -1) for name in ("tokens", "length"))
    for row, n, found in zip(tokens, ends.ravel(), fit.draws["log_prob"].ravel(), strict=True):
        text = [1, 2, 4, 5, *row[:n]]
        right = sum(np.log(expected(text[:k])[text[k]]) for k in range(4, len(text)))
        np.testing.assert_allclose(found, right, atol=1e-4)


@pytest.mark.parametrize("kind", [Network, Older])
def test_caches_are_reordered_by_either_name(kind, torch) -> None:
    asked, texts = from_transformers(kind()).asked.call.function.fn, np.array([[1, 2], [1, 4]])
    for given in (texts, texts[[1, 0]], np.array([[1, 4, 5], [1, 4, 2], [1, 2, 2]])):
        found = np.exp(asked(list(given)))
        right = np.stack([expected(text) for text in given])
        np.testing.assert_allclose(found / found.sum(1, keepdims=True), right, rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (TABLE, "needs a causal language model of transformers.*got ndarray"),
        (Network(eos_token_id=None), "say eos="),
        (type("Training", (Network,), {"training": True})(), r"call network\.eval\(\)"),
        (Network(eos_token_id=9), "eos must be a token, 0 to 5, got 9"),
    ],
)
def test_what_is_no_model_is_refused(network, said) -> None:
    with pytest.raises(ModelError, match=said):
        from_transformers(network)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
def test_it_is_the_model_that_load_safetensors_reads(family, tmp_path) -> None:
    """Weights written by transformers, read by us, and asked through its own network."""
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    them = pytest.importorskip("transformers", reason="needs transformers")
    torch.manual_seed(0)
    config = getattr(them, f"{family}Config")(
        vocab_size=29,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        eos_token_id=2,
        bos_token_id=1,
    )
    network = getattr(them, f"{family}ForCausalLM")(config).eval()
    network.save_pretrained(tmp_path)
    lm, ours = from_transformers(network), load_safetensors(tmp_path).model
    assert lm.context == ours.context == 64
    options = {"max_tokens": 6, "exponent": 2.0, "ramp": 3}
    program = pi.from_language_model(lm, [1, 7, 9], **options)
    method = pi.ParticleFilter(8, resample_below=1.0)
    fit = pi.sample(program, method, key=0, progress=False)
    tokens = fit.draws["tokens"].reshape(8, -1)
    mask = np.arange(6) < fit.draws["length"].reshape(8, 1)
    prompt = jnp.zeros(16, jnp.int32).at[:3].set(jnp.array([1, 7, 9]))
    found = ours.log_prob(prompt, jnp.int32(3), jnp.asarray(tokens), jnp.asarray(mask)).sum(1)
    assert fit.history["resampled"].any()
    np.testing.assert_allclose(fit.draws["log_prob"].ravel(), found, atol=1e-3)
