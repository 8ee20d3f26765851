"""Compiling the loops of engines: XLA options that compile faster and run as fast on a CPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

_CPU: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 4,  # of 32; each part costs, few cores share them
}
_ONCE: dict[str, Any] = {**_CPU, "xla_backend_optimization_level": 1}


def compiled(
    fn: Callable[..., Any], *, static: Sequence[str] = (), once: bool = False
) -> Callable[..., Any]:
    """``jax.jit`` for functions called from the host, with what XLA's CPU backend does best.

    An engine's loop is hundreds of small kernels, and XLA's older kernel emitter compiles them
    in half the time of the newer one, to code as fast (measured in docs/design.md). On other
    devices, and where this XLA does not know the options, it is plain ``jax.jit``; so it is under
    another transformation, since XLA takes options for a whole program only.

    Args:
        fn: pure.
        static: names of static arguments.
        once: it runs once for each time it is compiled, so that compiling dominates.
    """
    plain = jax.jit(fn, static_argnames=tuple(static))

    @functools.cache
    def chosen() -> Callable[..., Any]:
        if not _known(once):
            return plain
        options = _options(once)
        return jax.jit(fn, static_argnames=tuple(static), compiler_options=options)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        inside = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        return (plain if inside else chosen())(*args, **kwargs)

    return call


def _options(once: bool) -> dict[str, Any]:
    """The options, less those that the user has set for all of the process."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = _ONCE if once else _CPU
    return {name: value for name, value in options.items() if f"--{name}=" not in flags}


@functools.cache
def _known(once: bool) -> bool:
    """Whether the default backend is a CPU whose XLA takes the options."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda x: x, compiler_options=_options(once))(np.zeros(()))
    except jax.errors.JaxRuntimeError:
        return False
    return True
