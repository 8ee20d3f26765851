"""Flat coordinates: every engine's vector stands for the program's own position, exactly."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core.coordinates import Layout, Mixed, flatten, restored, storable, vector_of
from probinf.core.program import Observations, Program, Score
from probinf.errors import StructureError

WEIGHTS = {"a": jnp.array([1.0, 2.0, 3.0]), "b": jnp.arange(4.0).reshape(2, 2), "c": jnp.array(5.0)}


def draw(key, data):
    return {name: jax.random.normal(key, value.shape) for name, value in WEIGHTS.items()}


def score(x, data):
    base = -0.5 * sum(jnp.sum(x[name] ** 2) for name in WEIGHTS)
    return Score(base, sum(jnp.sum(x[name] * WEIGHTS[name]) for name in WEIGHTS) * data)


def constrain(x, data):
    return {"total": x["a"].sum() + x["c"], "b": x["b"] * data}


def simulate(key, x, data):
    return {"y": x["a"] + jax.random.normal(key)}


def pointwise(x, data):
    return {"y": x["a"] * data}


def sites(x, data):
    return {"b": x["b"]}


PROGRAM = Program(
    draw=draw,
    start=draw,
    score=score,
    constrain=constrain,
    simulate=simulate,
    pointwise=pointwise,
    sites=sites,
    observations=Observations(lambda data: {"y": data}, lambda data, values: values["y"]),
    data=jnp.array(2.0),
)


def with_keys(key, data):
    first, second = jax.random.split(key)
    return {
        "theta": jax.random.normal(first, (2,)),
        "inner": (second, jax.random.split(second, 3), jnp.ones(())),
    }


KEYED = dataclasses.replace(PROGRAM, draw=with_keys, start=with_keys)


def test_leaves_lie_in_the_order_of_the_tree() -> None:
    layout = Layout.of(PROGRAM)
    x = PROGRAM.draw(jax.random.key(0), PROGRAM.data)
    flat = layout.ravel(x)
    assert layout.size == flat.size == 8 and not layout.has_keys
    np.testing.assert_array_equal(flat, np.concatenate([np.ravel(x[n]) for n in ("a", "b", "c")]))
    back = layout.unravel(flat)
    assert jax.tree.structure(back) == jax.tree.structure(x)
    for name in x:
        np.testing.assert_array_equal(back[name], x[name])
    assert vector_of(flat) is flat


def test_random_keys_are_kept_beside_the_vector() -> None:
    layout = Layout.of(KEYED)
    x = with_keys(jax.random.key(1), None)
    mixed = layout.ravel(x)
    assert isinstance(mixed, Mixed)
    assert layout.has_keys and layout.size == 3 and len(mixed.keys) == 2
    np.testing.assert_array_equal(mixed.vector, [1.0, *x["theta"]])  # "inner" sorts first
    back = layout.unravel(mixed)
    assert jax.tree.structure(back) == jax.tree.structure(x)
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(x), strict=True):
        assert one.dtype == two.dtype and bool(jnp.all(one == two))
    np.testing.assert_array_equal(vector_of(mixed), mixed.vector)


def test_storable_positions_are_plain_arrays_and_come_back() -> None:
    mixed = Layout.of(KEYED).ravel(with_keys(jax.random.key(1), None))
    stored = storable(mixed)
    assert all(leaf.dtype in (jnp.uint32, jnp.float32) for leaf in jax.tree.leaves(stored))
    again = restored(jax.tree.map(np.asarray, stored))
    for one, two in zip(jax.tree.leaves(again), jax.tree.leaves(mixed), strict=True):
        assert one.dtype == two.dtype and bool(jnp.all(one == two))
    plain = jnp.arange(3.0)
    assert storable(plain) is plain
    np.testing.assert_array_equal(restored(np.arange(3.0)), plain)


def test_layouts_are_compared_by_value() -> None:
    assert Layout.of(PROGRAM) == Layout.of(dataclasses.replace(PROGRAM, data=jnp.array(9.0)))
    assert hash(Layout.of(PROGRAM)) == hash(Layout.of(PROGRAM))
    assert Layout.of(PROGRAM) != Layout.of(KEYED)


def test_the_flat_program_is_the_same_measure() -> None:
    flat, layout = flatten(PROGRAM)
    key, data = jax.random.key(3), PROGRAM.data
    x = PROGRAM.draw(key, data)
    vector = flat.draw(key, data)
    np.testing.assert_array_equal(vector, layout.ravel(x))
    np.testing.assert_array_equal(flat.start(key, data), vector)
    np.testing.assert_array_equal(flat.score(vector, data), PROGRAM.score(x, data))
    for ours, theirs in (
        (flat.constrain(vector, data), PROGRAM.constrain(x, data)),
        (flat.simulate(key, vector, data), PROGRAM.simulate(key, x, data)),
        (flat.pointwise(vector, data), PROGRAM.pointwise(x, data)),
        (flat.sites(vector, data), PROGRAM.sites(x, data)),
    ):
        assert set(ours) == set(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert flat.observations is PROGRAM.observations and flat.data is data
    assert flatten(PROGRAM)[0] == flat or jax.tree.structure(flatten(PROGRAM)[0]) == (
        jax.tree.structure(flat)
    )


def test_the_gradient_goes_through() -> None:
    flat, _ = flatten(PROGRAM)
    gradient = jax.grad(lambda v: flat.score(v, flat.data).log_weight)(jnp.zeros(8))
    np.testing.assert_array_equal(gradient, 2 * np.array([1, 2, 3, 0, 1, 2, 3, 5.0]))


def test_missing_parts_stay_missing() -> None:
    bare = dataclasses.replace(PROGRAM, simulate=None, pointwise=None, sites=None)
    flat, _ = flatten(bare)
    assert flat.simulate is None and flat.pointwise is None and flat.sites is None


def half(key, data):
    return {"a": jnp.ones(2, jnp.float16), "b": jnp.ones((), jnp.float32)}


def test_mixed_precisions_travel_in_the_widest() -> None:
    layout = Layout.of(dataclasses.replace(PROGRAM, draw=half, start=half))
    assert layout.dtype == jnp.float32
    assert layout.ravel(half(None, None)).dtype == jnp.float32


def integers(key, data):
    return {"fine": jnp.zeros(2), "count": jnp.zeros((), int)}


def test_other_coordinates_are_refused_by_name() -> None:
    broken = dataclasses.replace(PROGRAM, draw=integers, start=integers)
    with pytest.raises(StructureError, match=r"\['count'\] has dtype int32"):
        flatten(broken)
