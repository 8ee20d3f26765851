"""Compiled loops: the same numbers as plain jit, and plain jit where XLA does not know options."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf
from probinf.core import compiling, rows, xla


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
    known = {"xla_backend_optimization_level": 1}
    monkeypatch.setattr(xla, "_CPU", {"xla_no_such_option": True})
    monkeypatch.setattr(xla, "_ONCE", {"xla_no_such_option": True, **known})
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    xla.options.cache_clear()
    try:
        found = compiling.compiled(scaled, static=("power",))
        assert xla.options() is None
        assert xla.options(once=True) == known
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


def _given(monkeypatch, wrap, argument):
    """What compiled code is given on two devices, in double precision."""
    found, real = [], jax.jit

    def ours(_):
        pass

    def recording(fn, **options):
        if fn is not ours:
            return real(fn, **options)
        return lambda *args: found.extend(jax.tree.leaves(args))

    monkeypatch.setattr(jax, "jit", recording)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    with jax.enable_x64(True):
        wrap(ours)(argument)
    return found


def _cut():
    data = {"y": np.arange(30.0), "shift": np.asarray(0.5), "label": np.arange(3)}
    axes = [None, None, 0]
    return rows.cut_rows(data, axes, 30, 8), data


@pytest.mark.parametrize("wrap", [compiling.compiled, compiling.jitted])
def test_no_thread_of_jax_converts_host_arrays(monkeypatch, wrap):
    cut, data = _cut()
    for argument in (cut, data):
        found = _given(monkeypatch, wrap, argument)
        assert all(isinstance(leaf, jax.Array) for leaf in found)
        assert sum(leaf.dtype == np.float64 for leaf in found) == 2


def test_arrays_left_on_the_host_are_seen(monkeypatch):
    monkeypatch.setattr(compiling, "converted", lambda arguments: arguments)
    found = _given(monkeypatch, compiling.jitted, _cut()[0])
    assert any(isinstance(leaf, np.ndarray) for leaf in found)


def test_programs_are_compiled_in_one_place():
    """A function of programs under plain ``jax.jit`` is given their host arrays as they are."""
    bare = []
    for file in pathlib.Path(probinf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                decorators = " ".join(map(ast.unparse, node.decorator_list))
                kinds = [ast.unparse(a.annotation) for a in node.args.args if a.annotation]
                if "jax.jit" in decorators and any("Program" in kind for kind in kinds):
                    bare.append(f"{file.name}: {node.name}")
    assert not bare
