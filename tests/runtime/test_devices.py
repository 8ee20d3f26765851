"""use_cpu_devices: as many devices as cores, also where a process is not told which are its own."""

import os

import jax
import pytest

import probinf as pi
from probinf.errors import DeviceError


@pytest.fixture
def asked(monkeypatch):
    """What JAX's configuration is asked for, instead of changing it."""
    changes = {}
    monkeypatch.setattr(jax.config, "update", changes.__setitem__)
    return changes


def test_all_cores_that_the_process_may_use(asked, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    pi.use_cpu_devices()
    assert asked == {"jax_num_cpu_devices": 3}


@pytest.mark.parametrize(("known", "count"), [(4, 4), (None, 1)])
@pytest.mark.parametrize("newer", [True, False])
def test_without_affinity_as_on_macos_and_windows(asked, monkeypatch, newer, known, count):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64 if newer else known)
    if newer:
        monkeypatch.setattr(os, "process_cpu_count", lambda: known, raising=False)
    else:
        monkeypatch.delattr(os, "process_cpu_count", raising=False)
    pi.use_cpu_devices()
    assert asked == {"jax_num_cpu_devices": count}


def test_a_number_is_taken_as_it_is(asked, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    pi.use_cpu_devices(7)
    assert asked == {"jax_num_cpu_devices": 7}


def test_too_late(monkeypatch):
    def started(name, value):
        raise RuntimeError("already started")

    monkeypatch.setattr(jax.config, "update", started)
    pi.use_cpu_devices(len(jax.local_devices(backend="cpu")))  # nothing to change
    with pytest.raises(DeviceError, match="call it first"):
        pi.use_cpu_devices(1 + len(jax.local_devices(backend="cpu")))
