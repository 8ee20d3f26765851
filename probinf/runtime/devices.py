"""Several CPU devices: chains and islands then run side by side."""

from __future__ import annotations

import os

import jax


def use_cpu_devices(count: int | None = None) -> None:
    """Split the CPU into JAX devices, so that chains, islands and data sets run in parallel.

    To be called before anything is computed with JAX; importing probinf never does it.

    Args:
        count: number of devices; all available cores by default.

    Raises:
        RuntimeError: JAX has already started with another number of devices.
    """
    count = len(os.sched_getaffinity(0)) if count is None else count
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.local_devices(backend="cpu")) != count:
            raise RuntimeError(
                f"use_cpu_devices({count}): JAX has already started; call it first in the program."
            ) from error
