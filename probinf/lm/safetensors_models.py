"""Models of the Llama and Qwen2 families from folders of Hugging Face: config.json, safetensors."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ModelError, SavedFileError
from probinf.lm.architecture import Architecture, RopeScaling
from probinf.lm.naming import HUGGING_FACE, gathered
from probinf.lm.tokenizing import Tokenizer, chat_markup, from_file
from probinf.lm.transformer import TransformerLM

_FAMILIES = ("llama", "qwen2")
_BUFFERS = "rotary_emb.inv_freq"  # old files store what the configuration already says


class Loaded(NamedTuple):
    """A language model, and the tokenizer that belongs to it.

    Attributes:
        model: takes and gives tokens.
        tokenizer: text to tokens and back; None where the folder has none.
    """

    model: TransformerLM
    tokenizer: Tokenizer | None


def load_safetensors(
    folder: str | pathlib.Path, *, eos: int | None = None, dtype: Any = jnp.float32
) -> Loaded:
    """A model of the Llama or Qwen2 family from a folder on this machine.

    Nothing is downloaded. The folder has what ``save_pretrained`` of transformers writes:
    ``config.json``, ``model.safetensors`` (or several files and their index), and
    ``tokenizer.json``, without which only tokens are understood.

    Args:
        folder: where the files lie.
        eos: the token that ends a text; by default what the files say. Where they say several,
            their probabilities are added up.
        dtype: of the weights; bfloat16 halves the memory, and is slower on most CPUs.

    Raises:
        SavedFileError: a file is missing or broken, or its tensors are not what the configuration
            promises.
        ModelError: another family, or an option of it that is not implemented.
    """
    folder = pathlib.Path(folder)
    config = _json(folder / "config.json")
    shape = architecture(config, _ends(folder, config) if eos is None else (eos,))
    where = _tensors(folder)
    names = [name for name in where if not name.endswith(_BUFFERS)]
    weights = gathered(
        str(folder),
        HUGGING_FACE,
        shape,
        names,
        lambda name: _read(where[name], name),
        tied=bool(config.get("tie_word_embeddings", False)),
    )
    weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), weights)
    file = folder / "tokenizer.json"
    words = from_file(file, _chat(folder)) if file.exists() else None
    return Loaded(TransformerLM(weights, shape), words)


def architecture(config: dict[str, Any], ends: tuple[int, ...]) -> Architecture:
    """The architecture that a ``config.json`` describes.

    Raises:
        ModelError: it is of another family, or has an option that is not implemented.
    """
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise ModelError(
            f"load_safetensors: model_type is {family!r}; implemented are {', '.join(_FAMILIES)}."
        )
    for option, expected in (("hidden_act", "silu"), ("mlp_bias", False)):
        if config.get(option, expected) != expected:
            raise ModelError(
                f"load_safetensors: {option} = {config[option]!r} is not implemented, only "
                f"{expected!r}."
            )
    if config.get("use_sliding_window"):
        raise ModelError("load_safetensors: attention in sliding windows is not implemented.")
    try:
        rope = config.get("rope_parameters") or {}
        scaling = config.get("rope_scaling") or rope
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Architecture(
            vocab_size=int(config["vocab_size"]),
            eos=int(ends[0]),
            other_ends=tuple(int(token) for token in ends[1:]),
            width=width,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or width // heads),
            hidden=int(config["intermediate_size"]),
            context=int(config["max_position_embeddings"]),
            rope_base=float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
            rope_scaling=_scaling(scaling),
            norm_epsilon=float(config.get("rms_norm_eps", 1e-6)),
        )
    except KeyError as error:
        raise SavedFileError(f"config.json does not say {error.args[0]!r}.") from None


def _scaling(options: dict[str, Any]) -> RopeScaling | None:
    kind = options.get("rope_type", options.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(float(options["factor"]))
    if kind == "llama3":
        return RopeScaling(
            float(options["factor"]),
            float(options["low_freq_factor"]),
            float(options["high_freq_factor"]),
            int(options["original_max_position_embeddings"]),
        )
    raise ModelError(
        f"load_safetensors: rope_scaling of type {kind!r} is not implemented; 'linear' and "
        "'llama3' are."
    )


def _ends(folder: pathlib.Path, config: dict[str, Any]) -> tuple[int, ...]:
    file = folder / "generation_config.json"
    found = _json(file).get("eos_token_id") if file.exists() else None
    found = config.get("eos_token_id") if found is None else found
    if found is None:
        raise ModelError(
            f"load_safetensors: {folder} does not say which token ends a text; give eos=."
        )
    return tuple(found) if isinstance(found, list) else (int(found),)


def _chat(folder: pathlib.Path) -> str | None:
    separate, file = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if separate.exists():
        return chat_markup(separate.read_text(encoding="utf-8"))
    template = _json(file).get("chat_template") if file.exists() else None
    return chat_markup(template) if isinstance(template, str) else None


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SavedFileError(f"load_safetensors: there is no {path}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SavedFileError(f"{path} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise SavedFileError(f"{path} holds no table of options.")
    return found


def _tensors(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The file of each tensor."""
    index = folder / "model.safetensors.index.json"
    files = ["model.safetensors"]
    if index.exists():
        table = _json(index).get("weight_map")
        if not isinstance(table, dict):
            raise SavedFileError(f"{index} has no weight_map.")
        files = sorted(set(map(str, table.values())))
    found: dict[str, pathlib.Path] = {}
    for name in files:
        if pathlib.PurePath(name).name != name:
            raise SavedFileError(f"{index} names {name!r}, which lies in another folder.")
        with _opened(folder / name) as file:
            found |= dict.fromkeys(file.keys(), folder / name)
    return found


def _read(path: pathlib.Path, name: str) -> np.ndarray:
    """One tensor in single precision, so that no more than one file's copy of it is held."""
    with _opened(path) as file:
        kind = file.get_slice(name).get_dtype()
        if kind not in ("F32", "F16", "BF16"):
            raise SavedFileError(
                f"{path}: {name!r} is stored as {kind}; implemented are F32, F16 and BF16."
            )
        return np.asarray(file.get_tensor(name)).astype(np.float32)


def _opened(path: pathlib.Path) -> Any:
    import safetensors

    if not path.exists():
        raise SavedFileError(
            f"load_safetensors: there is no {path}; weights in other formats (pytorch_model.bin is "
            "a pickle) are not read."
        )
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        raise SavedFileError(f"{path} is no whole file of safetensors: {error}.") from None
