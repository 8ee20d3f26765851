"""SeriesRegressor: its parts by hand, no look ahead, and coverage on series that drift."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

import probinf.conformal as pc
from probinf.conformal.estimators import SeriesRegressor
from probinf.errors import ArrayError, CalibrationError, LevelError, MethodError

METHODS = ["spci", "enbpi", pc.ACI(rate=0.05)]


def made(count, T, seed=0, carry=0.7):
    """Series (count, T) that remember, a feature (count, T, 1) that moves them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, T, 1))
    y = np.zeros((count, T))
    scale = np.exp(np.arange(count))
    for t in range(1, T):
        y[:, t] = carry * y[:, t - 1] + scale * (X[:, t, 0] + rng.normal(size=count))
    return y, X


def by_hand(y, lags, past):
    """Predictions (T,) one step ahead of a linear regression of lags, fitted to the first steps."""
    rows = np.stack([y[t - lags : t] for t in range(lags, len(y))])
    return LinearRegression().fit(rows[:past], y[lags:][:past]).predict(rows)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_intervals_are_those_of_the_parts_by_hand(method):
    y = made(1, 260)[0][0]
    found = SeriesRegressor(method=method, lags=4, error_lags=3).fit(y[:204]).follow(y[204:])
    mu = by_hand(y, 4, 120)
    errors = y[4:] - mu
    before, forecast, truth = errors[120:200], mu[200:], y[204:]
    if method == "enbpi":
        plain = pc.enbpi(before, forecast, truth)
    elif method == "spci":
        plain = pc.online.spci(before, forecast, truth, lags=3)
    else:
        reach = pc.track(method, abs(errors[120:]), window=80).thresholds[80:]
        plain = pc.Interval(forecast - reach, forecast + reach, 0.1, "")
    np.testing.assert_allclose(found.lower, plain.lower, rtol=1e-9)
    np.testing.assert_allclose(found.upper, plain.upper, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("pooled", [True, False])
def test_an_interval_knows_only_what_came_before(method, pooled):
    y, X = made(2, 130)
    model = SeriesRegressor(method=method, lags=3, error_lags=2, pooled=pooled)
    ends = []
    for change in (30.0, -30.0):
        told = y + change * (np.arange(130) >= 115)
        made_of = clone(model).fit(told[:, :110], X[:, :110]).follow(told[:, 110:], X[:, 110:])
        ends.append(np.stack([made_of.lower, made_of.upper]))
    np.testing.assert_array_equal(ends[0][..., :6], ends[1][..., :6])
    assert not np.array_equal(ends[0][..., 6:], ends[1][..., 6:])


def test_step_by_step_is_the_stretch_and_series_are_calibrated_alone():
    y, X = made(3, 140)
    model = SeriesRegressor(method="enbpi", lags=2, pooled=False)
    whole = clone(model).fit(y[:, :120], X[:, :120]).follow(y[:, 120:], X[:, 120:])
    step = clone(model).fit(y[:, :120], X[:, :120])
    for t in range(120, 140):
        mu, interval = step.predict_interval(X[:, t])
        np.testing.assert_array_equal(interval[:, 0, 0], whole.lower[:, t - 120])
        assert np.all((interval[:, 0, 0] < mu) & (mu < interval[:, 1, 0]))
        np.testing.assert_array_equal(step.predict(X[:, t]), mu)
        step.update(y[:, t], X[:, t])
    alone = clone(model).fit(y[1, :120], X[1, :120]).follow(y[1, 120:], X[1, 120:])
    np.testing.assert_allclose(alone.lower, whole.lower[1], rtol=1e-9)
    assert alone.lower.shape == (20,)


def coverage(method, seeds):
    """Mean coverage over seeds of three series whose scales differ by factors of e."""
    hits = []
    for seed in seeds:
        y, X = made(3, 500, seed)
        fitted = SeriesRegressor(method=method, lags=2).fit(y[:, :300], X[:, :300])
        hits.append(fitted.follow(y[:, 300:], X[:, 300:]).contains(y[:, 300:]).mean(axis=1))
    return np.mean(hits, axis=0)


def test_every_series_is_covered():
    # 120 calibration errors: the coverage of one series given them has the spread 0.03
    assert np.all(abs(coverage("enbpi", range(3)) - 0.9) < 4 * (0.03 / np.sqrt(3)) + 0.02)


def test_adaptive_intervals_are_bounded_in_their_errors_on_any_sequence():
    y = np.append(made(1, 100)[0][0], 2.0 ** np.arange(100))  # ever worse: no lags foresee it
    method = pc.ACI(rate=0.1)
    found = SeriesRegressor(method=method, lags=2).fit(y[:100]).follow(y[100:])
    assert abs(1 - found.contains(y[100:]).mean() - 0.1) < method.bound(0.1, 100) + 0.05
    fixed = SeriesRegressor(method="enbpi", lags=2).fit(y[:100]).follow(y[100:])
    assert fixed.contains(y[100:]).mean() < 0.5


def test_bad_input_is_named():
    y, X = made(2, 60)
    fitted = SeriesRegressor(method="enbpi", lags=2).fit(y, X)
    for error, match, call in (
        (NotFittedError, "call fit", lambda: SeriesRegressor().predict_interval()),
        (MethodError, "method must be", lambda: SeriesRegressor(method="aci").fit(y)),
        (LevelError, "alpha", lambda: SeriesRegressor(alpha=1.5).fit(y)),
        (CalibrationError, "fewer lags", lambda: SeriesRegressor(lags=58).fit(y)),
        (CalibrationError, "10", lambda: SeriesRegressor(lags=2, error_lags=20).fit(y)),
        (ArrayError, "X must be", lambda: SeriesRegressor().fit(y, X[:1])),
        (ArrayError, "y", lambda: SeriesRegressor().fit(np.where(y > 1, np.nan, y))),
        (ArrayError, "fit had 1", lambda: fitted.predict()),
        (ArrayError, "3 rows for 2", lambda: fitted.predict(np.zeros((3, 1)))),
        (ArrayError, "2 feature.s.*fit had 1", lambda: fitted.predict(np.zeros((2, 2)))),
        (ArrayError, "3 series; 2 were", lambda: fitted.follow(*made(3, 5))),
        (ArrayError, "y", lambda: fitted.update(np.zeros(3), X[:, 0])),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            call()
