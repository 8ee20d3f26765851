"""Likelihoods in ordinary Python, which other processes can import without JAX."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

import numpy as np

LOG_Z = -2.5 * np.log(2 * np.pi * 1.25) - 0.5 * 5 * 0.25 / 1.25
"""Of ``normal`` under five standard normals with data of .5 (sd 1 and .5): conjugate."""


def normal(x: np.ndarray) -> float:
    """Five measurements with sd .5, one of each parameter."""
    return float(-0.5 * np.sum((x - 0.5) ** 2) / 0.25 - 2.5 * np.log(2 * np.pi * 0.25))


def normals(x: np.ndarray) -> np.ndarray:
    """The same of many rows."""
    return -0.5 * np.sum((x - 0.5) ** 2, axis=1) / 0.25 - 2.5 * np.log(2 * np.pi * 0.25)


def by_name(theta: dict[str, np.ndarray]) -> float:
    """A measurement of each of two sites."""
    assert isinstance(theta["b"], float)
    return float(-0.5 * np.sum((theta["a"] - 1) ** 2) / 0.09 - 2 * (theta["b"] - 2) ** 2)


def wide(u: np.ndarray) -> np.ndarray:
    """The unit cube to a box of sides ten."""
    return 10.0 * u - 5.0


def eggs(x: np.ndarray) -> float:
    """A bump in the box."""
    return float(-0.5 * np.sum(x**2))


def bumps(x: np.ndarray) -> np.ndarray:
    """The same of many rows."""
    return -0.5 * np.sum(x**2, axis=1)


def without_jax(x: np.ndarray) -> float:
    """An impossible value where JAX has been imported."""
    return -1e6 if "jax" in sys.modules or "probinf" in sys.modules else -0.5 * float(x @ x)


def once(marker: str) -> bool:
    """Whether this is the first call of all processes."""
    try:
        pathlib.Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def kills_once(marker: str, x: np.ndarray) -> float:
    """Kill the own process, the first time that the second half of the prior is met."""
    if x[0] > 0.5 and once(marker):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return normal(x)


def kills_always(x: np.ndarray) -> float:
    """Kill the own process far out."""
    if x[0] > 2.2:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return normal(x)


def hangs(x: np.ndarray) -> float:
    """Never end far out."""
    if x[0] > 2.2:
        time.sleep(1000)
    return normal(x)


def fails(share: float, x: np.ndarray) -> float:
    """An exception at a share of the points, which their digits choose."""
    if (abs(x[0]) * 1e6) % 1 < share:
        raise ZeroDivisionError("a step of zero")
    return normal(x)


def not_a_number(x: np.ndarray) -> float:
    """NaN far out."""
    return float("nan") if x[0] > 2.2 else normal(x)


def pair(x: np.ndarray) -> np.ndarray:
    """Two numbers, which is one too many."""
    return x[:2]
