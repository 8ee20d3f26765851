"""Language models: a small protocol, and models that follow it."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.lm.architecture import Architecture as Architecture
    from probinf.lm.architecture import RopeScaling as RopeScaling
    from probinf.lm.drawing import draw as draw
    from probinf.lm.flax_transformer import Transformer as Transformer
    from probinf.lm.functions import FnLM as FnLM
    from probinf.lm.generating import Generated as Generated
    from probinf.lm.generating import generate as generate
    from probinf.lm.gguf_models import load_gguf as load_gguf
    from probinf.lm.gguf_models import load_smollm2 as load_smollm2
    from probinf.lm.hosted import HostLM as HostLM
    from probinf.lm.hosted import Stepped as Stepped
    from probinf.lm.protocol import LanguageModel as LanguageModel
    from probinf.lm.safetensors_models import Loaded as Loaded
    from probinf.lm.safetensors_models import load_safetensors as load_safetensors
    from probinf.lm.table import TableLM as TableLM
    from probinf.lm.tiny import TinyLM as TinyLM
    from probinf.lm.tokenizing import Tokenizer as Tokenizer
    from probinf.lm.transformer import TransformerLM as TransformerLM
    from probinf.lm.transformers_models import from_transformers as from_transformers

_WHERE = {
    "Architecture": "probinf.lm.architecture",
    "FnLM": "probinf.lm.functions",
    "HostLM": "probinf.lm.hosted",
    "Stepped": "probinf.lm.hosted",
    "draw": "probinf.lm.drawing",
    "Generated": "probinf.lm.generating",
    "LanguageModel": "probinf.lm.protocol",
    "Loaded": "probinf.lm.safetensors_models",
    "RopeScaling": "probinf.lm.architecture",
    "TableLM": "probinf.lm.table",
    "TinyLM": "probinf.lm.tiny",
    "Tokenizer": "probinf.lm.tokenizing",
    "Transformer": "probinf.lm.flax_transformer",
    "TransformerLM": "probinf.lm.transformer",
    "from_transformers": "probinf.lm.transformers_models",
    "generate": "probinf.lm.generating",
    "load_gguf": "probinf.lm.gguf_models",
    "load_safetensors": "probinf.lm.safetensors_models",
    "load_smollm2": "probinf.lm.gguf_models",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
