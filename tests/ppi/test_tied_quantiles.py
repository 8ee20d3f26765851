"""Quantiles of ratings, counts and classes: a distribution function that jumps over the level."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from probinf import ppi
from probinf.errors import ArrayError, ConvergenceError, MethodError, PredictionWarning

SHARES = [0.1, 0.1, 0.2, 0.35, 0.25]


def ratings(rng, size, shares=SHARES):
    return rng.choice(np.arange(1.0, 1 + len(shares)), size, p=shares)


def test_the_median_of_ratings_is_the_rating_at_which_the_share_passes_one_half():
    rng = np.random.default_rng(0)
    y, fu = ratings(rng, 300), ratings(rng, 3000)
    found = ppi.quantile(y, y, fu, 0.5)
    assert found.theta[0] == 4
    np.testing.assert_array_equal(found.conf_int(), [[4, 4]])
    assert found.test(4)[0] == 1 and found.test(3)[0] < 1e-6 and found.test(5)[0] < 1e-6
    assert "4" in str(found)
    with pytest.raises(ConvergenceError, match="Leave out compat"):
        ppi.quantile(y, y, fu, 0.5, compat="ppi_py").conf_int()


def test_binary_outcomes_and_counts_have_medians_too():
    rng = np.random.default_rng(1)
    y = (rng.uniform(size=200) < 0.3).astype(float)
    found = ppi.quantile(y, y, (rng.uniform(size=2000) < 0.3).astype(float), 0.5)
    np.testing.assert_array_equal(found.conf_int(), [[0, 0]])
    counts = rng.poisson(2.0, 400)
    several = ppi.quantile(counts, rng.poisson(2.0, 400), rng.poisson(2.0, 4000), [0.25, 0.5, 0.9])
    limits = several.conf_int()
    assert np.all(limits[:, 0] <= [1, 2, 4]) and np.all(limits[:, 1] >= [1, 2, 4])
    assert np.all(np.isin(limits, np.arange(9)))


def test_limits_are_the_hull_of_what_the_test_accepts_on_random_ties():
    rng = np.random.default_rng(2)
    for _ in range(25):
        n, N, top = rng.integers(3, 30), rng.integers(2, 80), rng.integers(1, 6)
        y, f = (rng.integers(0, top + 1, n).astype(float) for _ in range(2))
        f = np.where(rng.uniform(size=n) < 0.7, y, f)
        fu = rng.integers(0, top + 1, N) + (rng.normal(size=N) if rng.uniform() < 0.3 else 0.0)
        tune, q = float(rng.choice([0.0, 0.5, 1.0, -0.5])), float(rng.choice([0.1, 0.5, 0.75]))
        points = np.unique(np.concatenate([y, f, fu]))
        for side in ("two-sided", "larger", "smaller"):
            found = ppi.quantile(y, f, fu, q, tune=tune, alternative=side)
            low, high = found.conf_int()[0]
            kept = points[[found.test(t, side)[0] >= 0.1 for t in points]]
            assert low in (kept[0], -np.inf) and high in (kept[-1], np.inf)
            assert low <= found.theta[0] <= high


def test_limits_of_labels_alone_end_at_labels():
    """At weight zero the predictions are no data points: the limits are order statistics."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=50)
    found = ppi.quantile(y, y + rng.normal(size=50), rng.normal(size=5000), 0.5, method="classical")
    assert np.all(np.isin(found.conf_int(), y))


def test_weight_zero_rows_are_no_points():
    y = np.array([1.0, 2, 3, 4, 5, 100, 200])
    w = np.array([1.0, 1, 1, 1, 1, 0, 0])
    found = ppi.quantile(y, y, y, 0.5, weights=(w, w), tune=0.0, alpha=0.4)
    assert found.conf_int().max() <= 5


def test_three_equal_labels_bound_nothing():
    fu = np.linspace(0, 5, 50)
    with pytest.warns(PredictionWarning, match="no variation"):
        found = ppi.quantile(np.full(3, 4.0), np.full(3, 4.0), fu, 0.5, method="classical")
    assert np.all(np.isinf(found.conf_int()))
    with pytest.warns(PredictionWarning, match="no variation"):
        many = ppi.quantile(np.full(30, 4.0), np.full(30, 4.0), fu, 0.5, method="classical")
    np.testing.assert_array_equal(many.conf_int(), [[4, 4]])


def two_medians():
    rng = np.random.default_rng(0)
    arms = []
    for centre in (2.0, 0.0):
        y = rng.normal(centre, 1, 3300)
        f = y + 0.5 * rng.normal(size=3300)
        arms.append(ppi.quantile(y[:300], f[:300], f[300:], 0.5))
    return arms


def test_a_difference_of_medians_is_about_the_difference():
    first, second = two_medians()
    found = ppi.difference(first, second)
    low, high = found.conf_int()[0]
    assert low < 2 < high and high - low < 0.4
    assert found.test(2.0)[0] > 0.05
    assert "difference of quantile" in str(found)

    # Mutant: the first arm's distribution function is kept and inverted.
    broken = dataclasses.replace(first, theta=found.theta + 3, cov=found.cov)
    assert not broken.conf_int()[0, 0] < 5 < broken.conf_int()[0, 1]


def test_differences_match_parameters_by_name_or_refuse():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    x = pd.DataFrame({"one": 1.0, "age": rng.normal(size=300), "dose": rng.normal(size=300)})
    y = x.to_numpy() @ [1, 2, 3] + rng.normal(size=300)

    def fit(columns):
        z = x[columns]
        return ppi.ols(z[:100], y[:100], y[:100] + x.age[:100], z[100:], y[100:] + x.age[100:])

    first, turned = fit(["one", "age", "dose"]), fit(["dose", "one", "age"])
    np.testing.assert_allclose(ppi.difference(first, turned).theta, 0, atol=1e-8)
    with pytest.raises(ArrayError, match="only in part the same"):
        ppi.difference(first.contrast(np.eye(3), names=["one", "age", "other"]), turned)
    with pytest.raises(MethodError, match="second is a BootResult"):
        ppi.difference(
            first, ppi.ppboot(lambda r: r["y"].mean(), {"y": y}, {"y": y}, {"y": y}, draws=20)
        )
