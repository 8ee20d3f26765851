"""XLA options that compile faster and run as fast on a CPU."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import numpy as np

_CPU: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 4,  # of 32; each part costs, few cores share them
}
_ONCE: dict[str, Any] = {**_CPU, "xla_backend_optimization_level": 1}


@functools.cache
def options(once: bool = False) -> dict[str, Any] | None:
    """For ``jax.jit(compiler_options=)``; None where this backend does not know them.

    What the user has set for all of the process stays.

    Args:
        once: what is compiled runs once, so that compiling dominates.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = _ONCE if once else _CPU
    found = {name: value for name, value in wanted.items() if f"--{name}=" not in flags}
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=found)(np.zeros(()))
    except jax.errors.JaxRuntimeError:
        return None
    return found
