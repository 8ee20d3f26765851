"""Checks at the door are one set: conformal prediction and PPI refuse alike, in the same words."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core.inputs.arrays import as_float, as_weights, plain
from probinf.core.inputs.classes import as_labels
from probinf.core.inputs.levels import as_level, as_levels, fraction
from probinf.core.inputs.limits import at_least
from probinf.errors import ArrayError, LevelError, MethodError
from probinf.ppi.inference.checks import class_numbers, numeric, positive

MASKED = np.ma.masked_array([1.0, 2.0], [0, 1])
DOORS = {"arrays": as_float, "float64": numeric}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("value", "match"),
    [
        (MASKED, "a has masked values"),
        ([1j, 2.0], "a is complex"),
        (["1", "2"], "a does not hold numbers: it holds text"),
        (np.array(["1", 2.0], object), "a does not hold numbers: it holds text"),
        ([None, 1.0], r"a holds 1 NaN.* of 2, the first at \[0\]"),
        ([{}, 1.0], "a does not hold numbers"),
        ([[1.0], [2.0, 3.0]], "a does not hold numbers"),
        ([1.0, np.nan, np.nan], r"a holds 2 NaN.* of 3, the first at \[1\]"),
        (jnp.array([np.nan, 1.0]), r"a holds 1 NaN.* of 2, the first at \[0\]"),
        (np.zeros((2, 1)), r"a has shape \(2, 1\); it must have 1 dimension"),
    ],
)
def test_both_doors_use_the_same_words(door, value, match):
    with pytest.raises(ArrayError, match=match):
        DOORS[door]("a", value, ndim=(1,))


def test_infinite_values_pass_one_door_only_and_tracers_the_other():
    assert np.isinf(as_float("a", [np.inf])).all()
    with pytest.raises(ArrayError, match=r"1 NaN or infinite value\(s\) of 1"):
        numeric("a", [np.inf])
    jax.jit(lambda a: as_float("a", a, finite=True))(jnp.ones(3))
    with pytest.raises(ArrayError, match=r"traced by JAX.*ppi\.core"):
        jax.jit(lambda a: numeric("a", a))(jnp.ones(3))


def test_numbers_of_any_type_stay_what_they_are():
    assert plain("a", np.arange(3)).dtype.kind == "i"
    assert as_float("a", np.ones(2, np.float32)).dtype == np.float32
    assert numeric("a", jnp.ones(2, jnp.float32)).dtype == np.float64
    assert numeric("a", np.ma.masked_array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert numeric("a", [Fraction(1, 2), True]).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("call", [lambda a: as_weights("w", a), lambda a: positive("w", a, 2)])
def test_weights(call):
    with pytest.raises(ArrayError, match=r"w must be finite and nonnegative; got minimum -1\.0"):
        call([-1.0, 2.0])


@pytest.mark.parametrize("call", [as_labels, class_numbers])
def test_labels(call):
    assert call("y", np.array([0, 2]), 3).tolist() == [0, 2]
    with pytest.raises(ArrayError, match=r"y must lie in 0\.\.2 .*got 0\.\.3"):
        call("y", np.array([0, 3]), 3)
    with pytest.raises(ArrayError, match="masked"):
        as_labels("y", np.ma.masked_array([0, 1], [0, 1]), 3)


def test_levels():
    assert as_levels(Fraction(1, 10)) == [Fraction(1, 10)] and as_level(Fraction(1, 10)) == 0.1
    for wrong in (0, 1, 95.0, float("nan"), "0.1", None, [0.1, 0.2]):
        with pytest.raises(LevelError, match="alpha"):
            as_level(wrong)
    assert fraction("mix", 1, closed=True) == 1.0
    with pytest.raises(LevelError, match="mix must lie between 0 and 1, got 1"):
        fraction("mix", 1)


def test_counts():
    at_least(20, draws=20, folds=None)
    with pytest.raises(MethodError, match="draws must be at least 20, got 19"):
        at_least(20, draws=19)
