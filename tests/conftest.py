"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Iterator

import jax
import jaxlib.version
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """One thread of linear algebra per worker, and less time of XLA's on code that runs once.

    Workers, which start after this, share the cores: two with two threads each wait for one
    another, a hundred times as long as the work takes. The fast tier compiles much and computes
    little; its flag is read when the first computation starts.
    """
    gc.set_threshold(200_000, 50, 100)  # tracing makes much that lives; it was looked through often
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    if config.getoption("-m") == "not slow":
        flags = os.environ.get("XLA_FLAGS", "")
        quick = "--xla_backend_optimization_level=0"
        quick += " --xla_cpu_parallel_codegen_split_count=1"  # every core has a worker already
        if jaxlib.version.__version_info__ < (0, 11):  # later ones end the process at this flag
            quick += " --xla_cpu_use_fusion_emitters=false"
        os.environ["XLA_FLAGS"] = f"{flags} {quick}".strip()


_MAPS = pathlib.Path("/proc/self/maps")
_MANY = 10_000  # memory maps; Linux allows a process 65,530, and XLA crashes beyond them


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_are_let_go() -> Iterator[None]:
    """Every compiled program holds memory maps; a worker that keeps thousands runs out of them."""
    yield
    if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MANY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def fresh_traces() -> Iterator[None]:
    """For mutants, which are equal to what they break: what is traced here serves no other test."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 inside one test."""
    with jax.enable_x64(True):
        yield
