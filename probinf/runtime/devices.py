"""Several CPU devices: chains and islands then run side by side."""

from __future__ import annotations

import os

import jax

from probinf.errors import DeviceError


def _available_cores() -> int:
    """Number of cores that this process may use; macOS and Windows know only how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = getattr(os, "process_cpu_count", os.cpu_count)()  # the first since Python 3.13
    return count or 1  # None where not even that is known


def use_cpu_devices(count: int | None = None) -> None:
    """Split the CPU into JAX devices, so that chains, islands and data sets run in parallel.

    To be called before anything is computed with JAX; importing probinf never does it. The draws
    of a key do not depend on the number of devices.

    Args:
        count: number of devices; all available cores by default.

    Raises:
        DeviceError: JAX has already started with another number of devices.
    """
    count = _available_cores() if count is None else count
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.local_devices(backend="cpu")) != count:
            raise DeviceError(
                f"use_cpu_devices({count}): JAX has already started; call it first in the program."
            ) from error
