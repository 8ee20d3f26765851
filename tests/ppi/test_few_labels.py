"""Few labels, unequal weights and strata, extreme quantiles: plain variances are too small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from probinf import ppi


def covers(limits, truth):
    return limits[0, 0] <= truth <= limits[0, 1]


@pytest.mark.parametrize("method", ["classical", "ppi++"])
def test_extreme_quantiles_of_few_labels_cover_and_without_the_floor_they_do_not(method):
    rng = np.random.default_rng(0)
    truth, hits, mutant = norm.ppf(0.95), 0, 0
    for _ in range(150):
        y = rng.normal(size=320)
        f = 0.8 * y + 0.6 * rng.normal(size=320)
        found = ppi.quantile(y[:20], f[:20], f[20:], 0.95, method=method)
        hits += covers(found.conf_int(), truth)
        plain = tuple(dataclasses.replace(p, floor=0.0) for p in found.processes)
        mutant += covers(dataclasses.replace(found, processes=plain).conf_int(), truth)
    assert hits / 150 > 0.83  # 99 % binomial limit at 0.9
    assert mutant / 150 < 0.7


def test_limits_of_extreme_quantiles_are_infinite_on_both_sides_and_agree_with_the_test():
    y = np.arange(10.0)
    fu = np.linspace(0, 9, 50)
    for q, side in ((0.02, 0), (0.98, 1)):
        found = ppi.quantile(y, y[::-1], fu, q, method="classical")
        assert np.isinf(found.conf_int()[0, side]) and np.isfinite(found.conf_int()[0, 1 - side])
        beyond = -1e6 if side == 0 else 1e6
        assert found.test(beyond)[0] >= 0.1 and found.test(-beyond)[0] < 0.1


def test_unequal_weights_cover_with_twenty_labels():
    rng = np.random.default_rng(1)
    hits, mutant = 0, 0
    for _ in range(400):
        y = rng.normal(size=320)
        f = y + rng.normal(size=320)
        w = np.exp(rng.normal(size=20))
        found = ppi.mean(y[:20], f[:20], f[20:], weights=(w, None))
        hits += covers(found.conf_int(), 0.0)
        rows = found.influence  # divisor n - 2 and as many degrees of freedom
        variance = (rows.labeled**2).sum() * 20 / 18 + (rows.unlabeled**2).sum()
        mutant += abs(found.theta[0]) <= 1.734 * np.sqrt(variance)
    assert hits / 400 > 0.865
    assert mutant / 400 < 0.865


def test_degrees_of_freedom_of_strata_are_satterthwaites():
    rng = np.random.default_rng(2)
    s, su = np.repeat([0, 1], [6, 40]), np.repeat([0, 1], [200, 300])
    y = rng.normal(size=46) * np.where(s == 0, 5.0, 0.5)
    found = ppi.mean(y, y, rng.normal(size=500), strata=(s, su), method="classical")
    share = np.array([206, 340]) / 546
    v = share**2 * [y[s == k].var(ddof=1) / (s == k).sum() for k in (0, 1)]
    np.testing.assert_allclose(found.cov[0, 0], v.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.df, v.sum() ** 2 / (v**2 / [5, 39]).sum(), rtol=1e-12)


def test_a_sequence_without_any_error_so_far_is_the_whole_line():
    y = np.r_[np.zeros(60), 1.0, np.zeros(39)]
    for lam in ("optimal", 1.0):
        limits = ppi.AnytimeMean(lam=lam).run(y, np.zeros(100), fu_mean=0.0)
        assert np.all(np.isinf(limits[:60])) and np.all(np.isfinite(limits[60:]))


def test_labels_that_are_missing_may_be_nan_in_a_betting_sequence():
    rng = np.random.default_rng(3)
    labeled = rng.uniform(size=50) < 0.5
    y, p = rng.uniform(size=50), np.full(50, 0.5)
    options = {"labeled": labeled, "propensity": p, "smallest": 0.5}
    sequence = ppi.BettingMean(grid=51)
    found = sequence.run(np.where(labeled, y, np.nan), p, **options)
    np.testing.assert_array_equal(found, sequence.run(np.where(labeled, y, 0.0), p, **options))
