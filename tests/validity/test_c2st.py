"""C2ST: 0.5 on equal laws, the known accuracy on different ones."""

import numpy as np
import pytest

from probinf.errors import ArrayError, MethodError
from probinf.validity import c2st


def test_halves_of_one_sample_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    for make in (rng.standard_normal, rng.standard_exponential, rng.standard_cauchy):
        sample = make((3000, 2))
        result = c2st(sample[:1500], sample[1500:], key=1)
        assert abs(result.accuracy - 0.5) < 0.02 + 2 * result.error
        assert 0.005 < result.error < 0.01


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_accuracy_is_that_of_the_best_classifier(shift):
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(3000, 1)), rng.normal(size=(3000, 1)) + shift
    result = c2st(first, second, key=2)
    assert abs(result.accuracy - norm.cdf(shift / 2)) < 0.02
    assert "C2ST 0." in str(result) and float(result) == result.accuracy


def test_dependence_alone_is_seen():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 2000, 2))
    second[:, 1] = 0.9 * second[:, 0] + np.sqrt(1 - 0.81) * second[:, 1]
    assert c2st(first, second, key=3).accuracy > 0.65


def test_the_accuracy_does_not_change_with_the_units():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 1000, 2)) * [1e-6, 1e4] + [0.0, 1e6]
    assert abs(c2st(first, second, key=4).accuracy - 0.5) < 0.04


def test_bad_input_is_refused():
    fine = np.random.default_rng(4).normal(size=(50, 2))
    with pytest.raises(ArrayError, match="holds 1 values"):
        c2st(fine, np.where(np.arange(100).reshape(50, 2) == 3, np.nan, fine), key=0)
    with pytest.raises(ArrayError, match="2 and 1 columns"):
        c2st(fine, fine[:, :1], key=0)
    with pytest.raises(ArrayError, match="at least 20"):
        c2st(fine[:10], fine, key=0)
    with pytest.raises(ArrayError, match=r"must be \(n, d\)"):
        c2st(fine[:, 0], fine, key=0)
    with pytest.raises(MethodError, match="folds"):
        c2st(fine, fine, key=0, folds=1)
