"""Tiny decoders as files of Hugging Face hold them, and what they compute, written out slowly."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100.0,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
    "hidden_act": "silu",
}
QWEN2 = LLAMA | {"model_type": "qwen2", "head_dim": 4, "tie_word_embeddings": False}
LLAMA3 = LLAMA | {
    "eos_token_id": [0, 5],
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


def tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under their names; norms and biases too, so that leaving one out shows."""
    rng = np.random.default_rng(seed)
    d, m, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    inner, outer = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], d),
        "model.norm.weight": (d,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], d)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        shapes |= {
            at + "input_layernorm.weight": (d,),
            at + "self_attn.q_proj.weight": (inner, d),
            at + "self_attn.k_proj.weight": (outer, d),
            at + "self_attn.v_proj.weight": (outer, d),
            at + "self_attn.o_proj.weight": (d, inner),
            at + "post_attention_layernorm.weight": (d,),
            at + "mlp.gate_proj.weight": (m, d),
            at + "mlp.up_proj.weight": (m, d),
            at + "mlp.down_proj.weight": (d, m),
        }
        if config["model_type"] == "qwen2":
            shapes |= {
                at + "self_attn.q_proj.bias": (inner,),
                at + "self_attn.k_proj.bias": (outer,),
                at + "self_attn.v_proj.bias": (outer,),
            }
    out = {}
    for name, shape in shapes.items():
        scale = 0.7 if len(shape) == 2 else 1.0
        value = rng.normal(size=shape) * scale * (shape[-1] ** -0.5 if len(shape) == 2 else 0.3)
        out[name] = (value + ("norm" in name)).astype(np.float32)
    out["model.embed_tokens.weight"] *= 4
    return out


def write(folder: pathlib.Path, config: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """The folder as ``save_pretrained`` would write it."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")


def logits(config: dict[str, Any], weights: dict[str, np.ndarray], tokens: Any) -> np.ndarray:
    """(T, V) logits of the token after each one, by loops over positions and heads.

    Positions are turned as complex numbers, whose real parts are the first half of a head.
    """
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    size, heads = config["head_dim"], config["num_attention_heads"]
    shared = heads // config["num_key_value_heads"]
    frequencies = _frequencies(config)
    x = w["model.embed_tokens.weight"][np.asarray(tokens)]

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        root = np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"])
        return x / root * w[f"{name}.weight"]

    def turned(v: np.ndarray, place: int) -> np.ndarray:
        pairs = (v[: size // 2] + 1j * v[size // 2 :]) * np.exp(1j * place * frequencies)
        return np.concatenate([pairs.real, pairs.imag])

    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = normed(x, at + "input_layernorm")
        q, k, v = (
            h @ w[f"{at}self_attn.{n}_proj.weight"].T + w.get(f"{at}self_attn.{n}_proj.bias", 0.0)
            for n in "qkv"
        )
        out = np.zeros_like(q)
        for place in range(len(x)):
            for head in range(heads):
                mine = slice(head * size, (head + 1) * size)
                its = slice(head // shared * size, (head // shared + 1) * size)
                query = turned(q[place, mine], place)
                keys = [turned(k[j, its], j) for j in range(place + 1)]
                scores = np.array([query @ key for key in keys]) / np.sqrt(size)
                share = np.exp(scores - scores.max())
                out[place, mine] = share / share.sum() @ v[: place + 1, its]
        x = x + out @ w[at + "self_attn.o_proj.weight"].T
        h = normed(x, at + "post_attention_layernorm")
        gate = h @ w[at + "mlp.gate_proj.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (h @ w[at + "mlp.up_proj.weight"].T))
            @ w[at + "mlp.down_proj.weight"].T
        )
    return normed(x, "model.norm") @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def _frequencies(config: dict[str, Any]) -> np.ndarray:
    size = config["head_dim"]
    plain = np.array([config["rope_theta"] ** (-2 * i / size) for i in range(size // 2)])
    scaling = config.get("rope_scaling")
    if scaling is None:
        return plain
    out = []
    for frequency in plain:  # as the published code of Llama 3.1 decides, one by one
        wavelength = 2 * np.pi / frequency
        original = scaling["original_max_position_embeddings"]
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = (original / wavelength - low) / (high - low)
        if wavelength > original / low:
            out.append(frequency / scaling["factor"])
        elif wavelength < original / high:
            out.append(frequency)
        else:
            out.append((1 - smooth) * frequency / scaling["factor"] + smooth * frequency)
    return np.array(out)
