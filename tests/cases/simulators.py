"""Simulators in ordinary Python, which other processes can import without JAX."""

from __future__ import annotations

from typing import Any

import numpy as np


def noisy(generator: np.random.Generator, m: float) -> np.ndarray:
    """Three measurements of a number with sd .5."""
    return m + 0.5 * generator.normal(size=3)


def fragile(generator: np.random.Generator, parameters: dict[str, Any]) -> dict[str, Any]:
    """One in about sixteen runs ends in an exception, another one in NaN."""
    luck = generator.uniform()
    if luck < 0.03:
        raise ZeroDivisionError("a step of zero")
    y = parameters["m"] + 0.5 * generator.normal(size=3)
    return {"y": np.where(luck < 0.06, np.nan, y), "n": generator.poisson(4.0)}


def hopeless(generator: np.random.Generator, m: float) -> np.ndarray:
    """Never works."""
    raise ValueError("no such file")


def wrong(generator: np.random.Generator, m: float) -> np.ndarray:
    """One number too many."""
    return np.zeros(4)


def means_apart(a: np.ndarray, b: np.ndarray) -> float:
    """In NumPy, of the sufficient statistic."""
    return float(abs(a.mean() - b.mean()))


def dicts_apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    """The same by name."""
    return means_apart(a["y"], b["y"])
