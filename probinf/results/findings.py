"""Findings: what is wrong with a posterior, in words."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_WIDTH = 96  # of what is printed, in letters


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: short name, for tests and programs.
        message: what was seen, where, and the remedy.
    """

    code: str
    message: str


@runtime_checkable
class Tells(Protocol):
    """A part of a program's data that knows what may be wrong with its posterior."""

    def findings(self, posterior: Posterior) -> list[Finding]:
        """For ``diagnose``."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings about a posterior; true when there are none.

    Attributes:
        findings: in order of severity.
        notes: what was measured and is fine, such as the Pareto k of an approximation.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.findings

    @property
    def codes(self) -> list[str]:
        """The codes of all findings."""
        return [f.code for f in self.findings]

    def __str__(self) -> str:
        said = [f"- {f.code}: {f.message}" for f in self.findings]
        lines = [*(said or ["Nothing suspicious was found."]), *self.notes]
        fill = textwrap.TextWrapper(
            _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ).fill
        return "\n".join(fill(line) for text in lines for line in text.splitlines())

    __repr__ = __str__


def worst(names: list[str], values: np.ndarray, *, low: bool) -> str:
    """The three names with the lowest values, or the highest, with these."""
    order = np.argsort(values if low else -values)
    return ", ".join(f"{names[i]} ({values[i]:.3g})" for i in order[:3])
