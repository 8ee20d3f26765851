"""Work over several devices: the same answer as on one, to the last bit."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core import spreading
from probinf.runtime.lanes import over_lanes
from tests.cases.device_hashes import ENGINES

_DEVICES = "--xla_force_host_platform_device_count"


_LOCKSTEP = """
from probinf.core import spreading
spreading.in_lockstep = lambda: True
from tests.cases.device_hashes import main
main([])
"""


def hashes(devices, *names, lockstep=False):
    """The hashes of a process with so many devices, and means of the first site."""
    run = ["-c", _LOCKSTEP] if lockstep else ["-m", "tests.cases.device_hashes", *names]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}={devices}"
    done = subprocess.run(
        [sys.executable, *run],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_particles_of_one_island_on_one_device_and_on_several():
    assert hashes(1, "random walk") == hashes(2, "random walk")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ENGINES)
def test_one_two_three_and_four_devices(name):
    found = [hashes(count, name) for count in (1, 2, 3, 4)]
    assert len(found[0]) == 1
    assert all(other == found[0] for other in found[1:])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_engine_as_on_two_accelerators():
    """Lanes in lockstep: other roundings, the same law."""
    turn, step = ([float(line.split()[-1]) for line in hashes(2, lockstep=v)] for v in (0, 1))
    assert len(turn) == len(ENGINES)
    np.testing.assert_allclose(step, turn, atol=2.0)


def lane(part):
    key, x = part
    total = jnp.sum(x / 3 + jax.random.normal(key, x.shape))
    return key, total, x.astype(bool), x[:0]  # a key, flags, and nothing at all


@pytest.mark.parametrize("lockstep", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_lanes_are_independent_whatever_their_number(monkeypatch, count, lockstep):
    monkeypatch.setattr(spreading, "_at_once", lambda fn, count, parts: 2)
    monkeypatch.setattr(spreading, "in_lockstep", lambda: lockstep)
    keys = jax.random.split(jax.random.key(0), 5)[:count]
    parts = keys, jnp.arange(15.0).reshape(5, 3)[:count]
    key, total, flags, nothing = jax.jit(lambda parts: over_lanes(lane, parts, count))(parts)
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(keys))
    assert nothing.shape == (count, 0)
    np.testing.assert_array_equal(flags, parts[1].astype(bool))
    np.testing.assert_allclose(total, [lane((k, x))[1] for k, x in zip(*parts, strict=True)], 1e-5)


def test_an_accelerator_takes_as_many_lanes_at_once_as_it_has_room_for(monkeypatch):
    class Small:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 16 * 8 * 2 * 3}  # room for 3 lanes of 16 bytes in and out

    monkeypatch.setattr(spreading, "devices", lambda: [Small()])
    parts = jnp.zeros((100, 2))
    assert spreading._at_once(jnp.sin, 100, parts) == 3
    assert spreading._at_once(jnp.sin, 2, parts) == 2


def test_parts_of_a_lane_that_is_alone_do_not_mix_groups():
    particles = jnp.arange(24.0).reshape(2, 12, 1)
    with spreading.alone(True):
        found = jax.jit(lambda p: spreading.in_parts(jnp.multiply, p, jnp.array([1.0, 10.0])))(
            particles
        )
    np.testing.assert_array_equal(found, particles * jnp.array([1.0, 10.0])[:, None, None])
