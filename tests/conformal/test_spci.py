"""SPCI: EnbPI where there is nothing to foresee, no peeking, and errors that can be foreseen."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, CalibrationError, MethodError

spci = pc.online.spci


def errors(seed, n, carry=0.8):
    rng = np.random.default_rng(seed)
    e = np.zeros(n)
    for t in range(1, n):
        e[t] = carry * e[t - 1] + rng.normal()
    return e


def test_one_leaf_is_enbpi():
    e = errors(0, 130)
    mu = np.linspace(0, 1, 30)
    y = mu + e[100:]
    one = spci(e[:100], mu, y, lags=4, leaf=100, trees=2, refit=1)
    same = pc.enbpi(e[4:100], mu, y)
    np.testing.assert_allclose(one.lower, same.lower, rtol=1e-12)
    np.testing.assert_allclose(one.upper, same.upper, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::probinf.errors.InfiniteSetWarning")
def test_an_interval_knows_only_what_came_before():
    e = errors(1, 160)
    up, down = (e + change * (np.arange(160) >= 130) for change in (50.0, -50.0))
    found = [spci(v[:100], np.zeros(60), v[100:], trees=5, lags=3, refit=7) for v in (up, down)]
    for name in ("lower", "upper"):
        a, b = (getattr(f, name) for f in found)
        np.testing.assert_array_equal(a[:31], b[:31])  # the 31st is made before either is seen
        assert not np.array_equal(a, b)


def test_foreseen_errors_are_followed():
    covered, width = [], []
    for seed in range(3):
        e = errors(seed, 700)
        mine, plain = (
            f(e[:300], np.zeros(400), e[300:], alpha=0.1, **more)
            for f, more in ((spci, {"lags": 3, "refit": 50, "leaf": 15}), (pc.enbpi, {}))
        )
        covered.append(mine.contains(e[300:]).mean())
        width.append(np.mean(mine.size()) / np.mean(plain.size()))
    # innovations have 0.6 times the spread of the errors; 1,200 dependent hits, 4 standard errors
    assert np.mean(covered) > 0.9 - 4 * np.sqrt(0.09 / 1200) - 0.01
    assert max(width) < 0.85


def test_a_level_that_follows_bounds_the_errors_on_any_sequence():
    e = np.append(errors(0, 100), 50 * np.cumsum(np.ones(200)))  # ever worse: nothing foresees it
    out = spci(e[:100], np.zeros(200), e[100:], lags=2, trees=3, refit=200, rate=0.1)
    missed = 1 - out.contains(e[100:]).mean()
    assert abs(missed - 0.1) <= (0.9 + 0.1) / (0.1 * 200) + 1e-12
    fixed = spci(e[:100], np.zeros(200), e[100:], lags=2, trees=3, refit=200)
    assert 1 - fixed.contains(e[100:]).mean() > 0.9
    assert "any sequence" in out.guarantee and "any sequence" not in fixed.guarantee


def test_several_series_and_what_is_refused():
    e = np.stack([errors(s, 80) for s in range(2)])
    out = spci(e[:, :60], np.zeros((2, 20)), e[:, 60:], lags=2, trees=2, leaf=25)
    assert out.lower.shape == (2, 20) and np.isfinite(out.lower).all()
    with pytest.raises(ArrayError, match="as many axes"):
        spci(e[0, :60], np.zeros((2, 20)), e[:, 60:])
    with pytest.raises(CalibrationError, match="15 residuals with lags=10 leave 5"):
        spci(e[0, :15], np.zeros(20), e[0, 60:])
    with pytest.raises(MethodError, match="rate"):
        spci(e[0, :60], np.zeros(20), e[0, 60:], rate=-0.1)
    with pytest.warns(UserWarning, match="cannot support both ends"):
        spci(e[0, :60], np.zeros(20), e[0, 60:], alpha=0.005, lags=2, trees=2)
