"""Names of weights in files, and how the matrices lie there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from probinf.errors import SavedFileError
from probinf.lm.architecture import Architecture
from probinf.lm.decoder import Weights

Names = dict[str, str]

HUGGING_FACE: Names = {
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
    "attention_norm": "model.layers.{}.input_layernorm.weight",
    "query": "model.layers.{}.self_attn.q_proj.weight",
    "key": "model.layers.{}.self_attn.k_proj.weight",
    "value": "model.layers.{}.self_attn.v_proj.weight",
    "query_bias": "model.layers.{}.self_attn.q_proj.bias",
    "key_bias": "model.layers.{}.self_attn.k_proj.bias",
    "value_bias": "model.layers.{}.self_attn.v_proj.bias",
    "output": "model.layers.{}.self_attn.o_proj.weight",
    "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
}
GGUF: Names = {
    "embedding": "token_embd.weight",
    "norm": "output_norm.weight",
    "head": "output.weight",
    "attention_norm": "blk.{}.attn_norm.weight",
    "query": "blk.{}.attn_q.weight",
    "key": "blk.{}.attn_k.weight",
    "value": "blk.{}.attn_v.weight",
    "query_bias": "blk.{}.attn_q.bias",
    "key_bias": "blk.{}.attn_k.bias",
    "value_bias": "blk.{}.attn_v.bias",
    "output": "blk.{}.attn_output.weight",
    "mlp_norm": "blk.{}.ffn_norm.weight",
    "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight",
    "down": "blk.{}.ffn_down.weight",
}
_OPTIONAL = {"query_bias", "key_bias", "value_bias", "head"}


def sizes(shape: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each weight as ``probinf.lm.decoder`` wants it."""
    d, m, v = shape.width, shape.hidden, shape.vocab_size
    inner, outer = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    return {
        "embedding": (v, d),
        "norm": (d,),
        "head": (v, d),
        "attention_norm": (d,),
        "query": (d, inner),
        "key": (d, outer),
        "value": (d, outer),
        "query_bias": (inner,),
        "key_bias": (outer,),
        "value_bias": (outer,),
        "output": (inner, d),
        "mlp_norm": (d,),
        "gate": (d, m),
        "up": (d, m),
        "down": (m, d),
    }


def gathered(
    file: str,
    names: Names,
    shape: Architecture,
    present: Iterable[str],
    get: Callable[[str], np.ndarray],
    *,
    tied: bool,
) -> Weights:
    """The tree of weights out of named tensors.

    Matrices lie in files as (outputs, inputs), and are turned round.

    Args:
        file: for messages.
        names: of the tensors.
        shape: what they must fit.
        present: names that the file has.
        get: the tensor of a name, in single precision.
        tied: whether the embedding is the head, so that no other is read.

    Raises:
        SavedFileError: a tensor is missing, has another shape, is not finite, or is one that this
            architecture does not have.
    """
    left = set(present)
    wanted = sizes(shape)

    def take(part: str, layer: int | None = None) -> np.ndarray | None:
        name = names[part].format(layer)
        if name not in left:
            if part in _OPTIONAL:
                return None
            raise SavedFileError(
                f"{file} has no tensor {name!r}, which its configuration of {shape.layers} layers "
                "promises."
            )
        left.discard(name)
        found = get(name)
        turned = found.T if found.ndim == 2 and part not in ("embedding", "head") else found
        if turned.shape != wanted[part]:
            raise SavedFileError(
                f"{file}: {name!r} has shape {found.shape}, but the configuration asks for "
                f"{wanted[part][::-1] if turned is not found else wanted[part]}."
            )
        if not np.isfinite(found).all():
            raise SavedFileError(f"{file}: {name!r} has entries that are not finite.")
        return np.ascontiguousarray(turned)

    layered = [part for part in names if "{}" in names[part]]
    blocks = []
    for layer in range(shape.layers):
        block = {part: take(part, layer) for part in layered}
        blocks.append({part: value for part, value in block.items() if value is not None})
    weights: dict[str, Any] = {part: take(part) for part in ("embedding", "norm")}
    head = take("head")
    if head is None and not tied:
        raise SavedFileError(
            f"{file} has no tensor {names['head']!r}, and its configuration says that the "
            "embedding is not the head."
        )
    if left:
        shown = ", ".join(sorted(left)[:4])
        raise SavedFileError(
            f"{file} has {len(left)} tensors that this architecture does not know ({shown}); "
            "leaving them out would be another model."
        )
    return {**weights, "blocks": blocks} | ({} if tied or head is None else {"head": head})
