"""Language models: a small protocol, and models that follow it."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.lm.protocol import LanguageModel as LanguageModel
    from probinf.lm.table import TableLM as TableLM

_WHERE = {
    "LanguageModel": "probinf.lm.protocol",
    "TableLM": "probinf.lm.table",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
