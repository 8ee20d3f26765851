"""Few skewed labels: the correction by hand, its symmetries, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, skew, t

from probinf import ppi
from probinf.errors import MethodError, TooFewLabelsError
from probinf.ppi.inference import skewness


def sample(seed=0, n=12, N=300):
    rng = np.random.default_rng(seed)
    f = rng.exponential(size=n + N)
    return f[:n] + 0.5 * rng.exponential(size=n), f[:n], f[n:]


def test_labels_alone_are_halls_interval_by_hand():
    y, f, fu = sample()
    found = ppi.mean(y, f, fu, method="classical", small_sample="skew")
    n, se = len(y), y.std(ddof=1) / np.sqrt(len(y))
    a = skew(y, bias=False) / np.sqrt(n)
    np.testing.assert_allclose(found.theta, y.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.bse, se, rtol=1e-9)
    np.testing.assert_allclose(found.skewness, a, rtol=1e-6)

    def statistic(mean):
        s = (y.mean() - mean) / se
        return s + a * s**2 / 3 + a**2 * s**3 / 27 + a / 6

    low, high = found.conf_int(0.1)[0]
    np.testing.assert_allclose(statistic(low), t.ppf(0.95, n - 1), rtol=1e-6)
    np.testing.assert_allclose(statistic(high), t.ppf(0.05, n - 1), rtol=1e-6)
    assert high - y.mean() > y.mean() - low  # further on the side of the tail


def test_the_transformation_is_monotone_and_inverted():
    x = np.linspace(-40, 40, 801)
    for a in (-2.0, -1e-9, 0.0, 1e-6, 0.3, 3.0):
        np.testing.assert_allclose(skewness.skewed(skewness.symmetric(x, a), a), x, atol=1e-4)
        assert (np.diff(skewness.symmetric(x, a)) >= 0).all()


@pytest.mark.parametrize("tune", ["trace", "matrix", 0.5])
def test_intervals_follow_sign_and_units_and_agree_with_p_values(tune):
    y, f, fu = sample(1)
    found = ppi.mean(y, f, fu, small_sample="skew", tune=tune)
    turned = ppi.mean(-3 * y, -3 * f, -3 * fu, small_sample="skew", tune=tune)
    np.testing.assert_allclose(turned.conf_int()[0, ::-1], -3 * found.conf_int()[0], rtol=1e-8)
    np.testing.assert_allclose(turned.skewness, -found.skewness, rtol=1e-8)
    for side in ("two-sided", "larger", "smaller"):
        for end in found.conf_int(0.2, side)[0]:
            if np.isfinite(end):
                np.testing.assert_allclose(found.test(end, side), 0.2, rtol=1e-6)
    negative = found.contrast([-2.0])
    np.testing.assert_allclose(negative.conf_int()[0, ::-1], -2 * found.conf_int()[0], rtol=1e-8)
    assert found.contrast([[1.0], [2.0]]).skewness is not None
    assert ppi.difference(found, turned).skewness is None
    assert "skew" in str(found)


def test_leave_one_out_values_are_refits():
    y, f, fu = sample(2)
    found = ppi.mean(y, f, fu, small_sample="skew")
    whole = ppi.mean(y, f, fu).theta[0]
    keep = ~np.eye(len(y), dtype=bool)
    values = np.array(
        [len(y) * whole - (len(y) - 1) * ppi.mean(y[k], f[k], fu).theta[0] for k in keep]
    )
    np.testing.assert_allclose(found.theta, values.mean(), rtol=1e-9)
    other = ppi.mean(y, f, fu).influence.unlabeled
    np.testing.assert_allclose(
        found.cov[0, 0], values.var(ddof=1) / len(y) + (other**2).sum(), rtol=1e-9
    )


def covered(small_sample, reps=350, n=10):
    hit = 0
    for seed in range(reps):
        y, f, fu = sample(seed, n)
        low, high = ppi.mean(y, f, fu, small_sample=small_sample).conf_int()[0]
        hit += low <= 1.5 <= high
    return hit


@pytest.mark.slow
def test_ten_skewed_labels_cover_where_the_plain_interval_does_not():
    assert covered("skew") >= binom.ppf(1e-4, 350, 0.885)
    assert covered(True) <= binom.ppf(1 - 1e-4, 350, 0.85)


def test_what_the_correction_cannot_do_is_refused():
    y, f, fu = sample()
    with pytest.raises(MethodError, match="simple random sample"):
        ppi.mean(y, f, fu, small_sample="skew", weights=(np.ones(12), None))
    with pytest.raises(MethodError, match="small_sample"):
        ppi.mean(y, f, fu, small_sample="skewed")
    with pytest.raises(TooFewLabelsError, match="four labels"):
        ppi.mean(y[:3], f[:3], fu, small_sample="skew", tune=1.0)
