"""Cases of one law in two tiers: a few show it at every run, the others in the slow tier."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def tiers(cases: Iterable[Any], fast: Container[Any]) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize``; those that are not ``fast`` are marked slow."""
    return [case if case in fast else pytest.param(case, marks=pytest.mark.slow) for case in cases]
