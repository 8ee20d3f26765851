"""Compiled loops: the same numbers as plain jit, and plain jit where XLA does not know options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core import compiling, xla


def scaled(x, *, power):
    """Something with a static argument."""
    return jnp.sum(x**power)


@pytest.mark.parametrize("once", [False, True])
def test_the_same_numbers_and_one_compilation(once):
    calls = []

    def traced(x, *, power):
        calls.append(power)
        return scaled(x, power=power)

    found = compiling.compiled(traced, static=("power",), once=once)
    x = jnp.arange(5.0)
    assert found(x, power=2) == found(x + 0, power=2) == 30.0
    assert calls == [2]
    assert jax.eval_shape(lambda v: found(v, power=3), x).shape == ()


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setattr(xla, "_CPU", {"xla_no_such_option": True})
    xla.options.cache_clear()
    try:
        found = compiling.compiled(scaled, static=("power",))
        assert xla.options(False) is None
        assert np.isclose(found(jnp.arange(3.0), power=2), 5.0)
    finally:
        xla.options.cache_clear()


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    xla.options.cache_clear()
    try:
        assert "xla_backend_optimization_level" not in (xla.options(True) or {})
    finally:
        xla.options.cache_clear()
