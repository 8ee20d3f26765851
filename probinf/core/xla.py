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
_ALIKE = {"xla_disable_hlo_passes": "cse"}
"""For several devices: there XLA merges equal expressions before it simplifies them, and for one
device after, so that ``x / s`` was made ``x * (1 / s)`` for one and not for two."""


@functools.cache
def options(once: bool = False, long: bool = False) -> dict[str, Any] | None:
    """For ``jax.jit(compiler_options=)``, without those that this XLA does not know; None for none.

    What the user has set for all of the process stays.

    Args:
        once: what is compiled runs once, so that compiling dominates.
        long: it runs so long that its code shall be the fastest.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = {} if long else _ONCE if once else _CPU
    if jax.device_count() > 1:
        wanted = {**wanted, **_ALIKE}
    found = {name: value for name, value in wanted.items() if f"--{name}=" not in flags}
    if jax.default_backend() != "cpu":
        return None
    if not _known(found):  # an option can be gone in a later release; the others still count
        found = {name: value for name, value in found.items() if _known({name: value})}
    return found or None


def _known(wanted: dict[str, Any]) -> bool:
    """Whether XLA takes these options."""
    try:
        jax.jit(lambda x: x, compiler_options=wanted)(np.zeros(()))
    except jax.errors.JaxRuntimeError:
        return False
    return True
