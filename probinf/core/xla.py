"""XLA options that compile faster and run as fast on a CPU."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import numpy as np

_LEVEL = "xla_backend_optimization_level"
_CPU: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
_ONCE: dict[str, Any] = {**_CPU, _LEVEL: 1}


@functools.cache
def options(once: bool = False) -> dict[str, Any] | None:
    """For ``jax.jit(compiler_options=)``; None where this backend does not know them.

    An optimization level that the user has chosen for all of the process stays.

    Args:
        once: what is compiled runs once, so that compiling dominates.
    """
    found = dict(_ONCE if once else _CPU)
    if f"--{_LEVEL}=" in os.environ.get("XLA_FLAGS", ""):
        found.pop(_LEVEL, None)
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=found)(np.zeros(()))
    except jax.errors.JaxRuntimeError:
        return None
    return found
