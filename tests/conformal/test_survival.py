"""Lower bounds of lifetimes: exact with the true censoring, right when either model is."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, CalibrationError, InfiniteSetWarning, MethodError

R = pc.regression
GRID = np.linspace(0.005, 3, 300)


def law(rng, n):
    """Rows with a covariate that makes both events and censoring likely; T, C are independent."""
    x = rng.uniform(size=n)
    return x, rng.exponential(size=n) / hazard(x), rng.exponential(size=n) / loss(x)


def hazard(x):
    return 0.4 + 2 * x


def loss(x):
    return 0.2 + 4 * x**2


def curves(x, rate):
    return R.SurvivalCurves(GRID, np.exp(-rate(x)[:, None] * GRID))


def flat(x):
    return R.SurvivalCurves(GRID, np.ones((len(x), GRID.size)))


def wrong(x):
    """Survival curves in the wrong order."""
    return curves(x, lambda v: 2.4 - 2 * v)


def coverage(method, *, survival=None, censoring=None, n=120, m=100, runs=50, alpha=0.2):
    hits = []
    S, G = survival or (lambda x: curves(x, hazard)), censoring or (lambda x: curves(x, loss))
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        (x, t, c), (z, truth, _) = law(rng, n), law(rng, m)
        more = {"cutoff": 0.25, "censor_time": c}
        out = R.survival_bounds(
            np.minimum(t, c), t <= c, S(x), G(x), S(z), G(z), alpha=alpha, method=method,
            **(more if method == "cutoff" else {}),
        )  # fmt: skip
        hits.append(out.contains(truth).mean())
    return np.mean(hits), np.std(hits) / np.sqrt(runs)


def right(method, alpha=0.2, **options):
    """Coverage at least as promised."""
    mean, error = coverage(method, alpha=alpha, **options)
    assert mean > 1 - alpha - 4 * error, (method, mean, error)
    return mean, error


@pytest.mark.parametrize("method", R.survival.METHODS)
def test_true_censoring_curves_give_the_promised_coverage(method):
    mean, error = right(method)
    if method != "cutoff":
        assert mean < 0.8 + 4 * error + 3 / 121
    right(method, survival=wrong)  # whatever the survival curves


def test_either_model_may_be_wrong():
    right("doubly robust", alpha=0.4, censoring=flat)
    for method, models in (
        ("weights", {"censoring": flat}),  # who does not know of censoring
        ("doubly robust", {"censoring": flat, "survival": wrong}),
    ):
        mean, error = coverage(method, alpha=0.4, **models)
        assert mean < 0.6 - 4 * error


def test_without_censoring_it_is_split_conformal():
    rng = np.random.default_rng(0)
    x, t, _ = law(rng, 99)
    z = rng.uniform(size=5)
    for method in ("weights", "doubly robust"):
        out = R.survival_bounds(
            t, np.ones(99), curves(x, hazard), flat(x), curves(z, hazard), flat(z), method=method
        )
        level = np.sort(1 - curves(x, hazard).at(t))[9]  # rank floor(0.1 * 100)
        expected = GRID[(1 - curves(z, hazard).values >= level).argmax(axis=1)]
        np.testing.assert_allclose(out.lower, expected)


def test_a_forest_learns_both_curves():
    rng = np.random.default_rng(0)
    x, t, c = law(rng, 8000)
    forest = R.survival_forest(x[:, None], np.minimum(t, c), t <= c, trees=40, leaf=250)
    at = np.array([0.2, 0.5, 0.8])
    survival, censoring = forest.curves(at[:, None])
    when = np.full(3, 0.3)
    np.testing.assert_allclose(survival.at(when), np.exp(-hazard(at) * 0.3), atol=0.13)
    np.testing.assert_allclose(censoring.at(when), np.exp(-loss(at) * 0.3), atol=0.13)
    # one leaf for all is Kaplan and Meier's estimate, by hand
    time, event = np.array([1.0, 2.0, 2.0, 3.0]), np.array([1, 1, 0, 0])
    one = R.survival_forest(np.zeros((4, 1)), time, event, leaf=4, trees=1)
    rows = one.weights.weights(np.zeros((1, 1)))
    assert rows.shape == (1, 4)
    plain = R.curves.SurvivalForest(one.weights, time, event == 1)
    plain.weights.leaves[:] = plain.weights.forest.apply(np.zeros((4, 1)))
    survival, censoring = plain.curves(np.zeros((1, 1)))
    np.testing.assert_allclose(survival.values[0], [3 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(censoring.values[0], [1, 1 / 2, 0])


def test_what_is_refused_and_when_a_bound_is_zero():
    rng = np.random.default_rng(0)
    x, t, c = law(rng, 12)
    S, G = curves(x, hazard), curves(x, loss)
    time, event = np.minimum(t, c), t <= c
    with pytest.warns(InfiniteSetWarning, match="100.0% of the bounds are zero: 12 calibration"):
        out = R.survival_bounds(time, event, S, G, S, G, alpha=0.05)
    assert (out.lower == 0).all() and "100.0% are zero" in str(out)
    for change, error, match in (
        ({"time": -time}, ArrayError, "positive"),
        ({"event": 2 * event}, ArrayError, "event must be 1"),
        ({"survival_cal": curves(x[:3], hazard)}, ArrayError, "survival_cal must have 12 rows"),
        ({"method": "cutoff"}, MethodError, "needs cutoff="),
        ({"method": "cutoff", "cutoff": 99.0, "censor_time": c + 9}, CalibrationError, "earlier"),
        ({"method": "cutoff", "cutoff": 1.0, "censor_time": time / 2}, ArrayError, "event came"),
    ):
        given = {"time": time, "event": event, "survival_cal": S, "censoring_cal": G} | change
        with pytest.raises(error, match=match):
            R.survival_bounds(survival_test=S, censoring_test=G, **given)
    with pytest.raises(ArrayError, match="P\\(T > t\\), not"):
        R.SurvivalCurves(GRID, 1 - S.values)
    with pytest.raises(CalibrationError, match="none of the 12 times is an event"):
        R.survival_forest(x[:, None], time, np.zeros(12))
