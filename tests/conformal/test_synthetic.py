"""Synthetic-powered prediction: the table, the bounds, the clip."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.stats import norm

import probinf.conformal as pc
from probinf.conformal.calibration.synthetic import _chance
from probinf.errors import ArrayError, InfiniteSetWarning

# alpha, beta, real: bounds; mean coverage for the same law, synthetic - 3, synthetic + 3
TABLE = [
    (0.05, 0.4, 15, (0.938, 1.0), (0.966, 0.937, 1.0)),
    (0.10, 0.4, 15, (0.812, 0.938), (0.894, 0.814, 0.936)),
    (0.20, 0.4, 15, (0.688, 0.875), (0.798, 0.687, 0.876)),
    (0.10, 0.1, 15, (0.750, 1.0), (0.903, 0.751, 1.0)),
    (0.10, 0.8, 15, (0.875, 0.938), (0.907, 0.876, 0.935)),
    (0.10, 0.4, 50, (0.863, 0.941), (0.902, 0.863, 0.941)),
]


def covered(alpha, beta, m, shift, replications):
    """Exact coverage given the scores, for standard normal test scores."""
    rng = np.random.default_rng(int(1000 * alpha + m + shift + 10))
    q = [
        pc.calibration.spi(
            rng.normal(size=m), rng.normal(shift, 1, size=1000), alpha=alpha, beta=beta
        ).threshold
        for _ in range(replications)
    ]
    return norm.cdf(q)


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_table(row):
    alpha, beta, m, bounds, means = row
    limits = pc.calibration.spi_bounds(m, 1000, alpha=alpha, beta=beta)
    assert np.allclose(limits[:2], bounds, atol=0.0006)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfiniteSetWarning)
        for shift, expected in zip((0, -3, 3), means, strict=True):
            found = covered(alpha, beta, m, shift, 4000)
            error = found.std() / np.sqrt(4000)
            print(row[:3], shift, found.mean().round(4), found.std().round(3), expected)
            assert abs(found.mean() - expected) <= 0.004
            assert limits.lower - 4 * error <= found.mean() <= limits.upper + 4 * error


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_coverage_stays_within_the_bounds(shift):
    limits = pc.calibration.spi_bounds(15, 1000, alpha=0.1, beta=0.4)
    found = covered(0.1, 0.4, 15, shift, 300)
    error = found.std() / np.sqrt(300)
    assert limits.lower - 4 * error <= found.mean() <= limits.upper + 4 * error
    # the broken twin, synthetic scores alone, leaves them
    if shift == -3:
        assert norm.cdf(norm.ppf(0.9) - 3) < limits.lower


def test_windows_are_the_law_of_ranks():
    rng = np.random.default_rng(0)
    m, n = 4, 30
    joint = rng.uniform(size=(20_000, m + 1 + n)).argsort(axis=1).argsort(axis=1)
    real = np.sort(joint[:, : m + 1], axis=1)
    position = real - np.arange(m + 1) + 1  # one plus the synthetic scores below
    for r in range(m + 1):
        for k in range(1, n + 2):
            assert abs(_chance(m, n, r + 1, k) - (position[:, r] <= k).mean()) < 0.02


def windows(m, n, beta):
    """The window of every real rank, all m + 1 by n + 1 chances written out."""
    cdf = np.array([[_chance(m, n, r, k) for k in range(1, n + 2)] for r in range(1, m + 2)])
    low = (cdf <= beta / 2).sum(axis=1) + 1
    return low, np.minimum((cdf < 1 - beta / 2).sum(axis=1) + 1, n)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (4, 20), (15, 40)])
def test_bounds_are_those_of_the_windows_and_need_no_table(m, n):
    for beta in (0.1, 0.4, 0.8):
        low, high = windows(m, n, beta)
        for alpha in (0.01, 0.1, 0.3, 0.9):
            k = pc.calibration.upper_rank(n, alpha)
            bounds = pc.calibration.spi_bounds(m, n, alpha=alpha, beta=beta)
            assert bounds.low_rank == (high <= k).sum()
            assert bounds.high_rank == (low <= k).sum()
    tracemalloc.start()
    pc.calibration.spi_bounds(6000, 6000 + n, alpha=0.1)
    assert tracemalloc.get_traced_memory()[1] < 5e6  # a table takes 288 MB
    tracemalloc.stop()


def test_closed_form_is_clipping_between_real_scores():
    rng = np.random.default_rng(1)
    for _ in range(50):
        s, t = rng.normal(size=15), rng.normal(rng.normal(), 1, size=200)
        out = pc.calibration.spi(s, t, alpha=0.2)
        ordered = np.concatenate([[-np.inf], np.sort(s), [np.inf]])
        low, high = ordered[out.bounds.low_rank], ordered[out.bounds.high_rank]
        k = pc.calibration.upper_rank(200, 0.2)
        assert out.threshold == max(low, min(high, np.sort(t)[k]))


def test_no_real_rank_may_be_certain():
    bounds = pc.calibration.spi_bounds(3, 500, alpha=0.6, beta=0.05)
    assert bounds.low_rank == 0 and bounds.lower == 0
    assert np.isfinite(
        pc.calibration.spi(np.zeros(3), np.ones(500), alpha=0.6, beta=0.05).threshold
    )
    with pytest.warns(InfiniteSetWarning):
        assert pc.calibration.spi(np.zeros(3), np.full(500, 9.0), alpha=0.01).threshold == np.inf


def test_floor_is_kept_or_refused():
    beta = pc.calibration.spi_beta(15, 1000, alpha=0.1, floor=0.85)
    assert pc.calibration.spi_bounds(15, 1000, alpha=0.1, beta=beta).lower >= 0.85
    assert pc.calibration.spi_bounds(15, 1000, alpha=0.1, beta=beta - 0.01).lower < 0.85
    with pytest.raises(ArrayError, match="cannot be kept"):
        pc.calibration.spi_beta(15, 1000, alpha=0.1, floor=0.95)


def test_gespi_clips_and_refuses_swapped_levels():
    assert pc.calibration.gespi([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.5, 9.0]).tolist() == [
        1,
        1.5,
        2,
    ]
    with pytest.raises(ArrayError, match="swapped"):
        pc.calibration.gespi([1.0], [2.0], [1.5])


def test_gespi_guardrail_for_split_thresholds():
    rng = np.random.default_rng(2)
    q = []
    for _ in range(600):
        s, bad = rng.exponential(size=40), np.zeros(500)
        cal, both = pc.calibrate(s), pc.calibrate(np.concatenate([s, bad]))
        q.append(pc.calibration.gespi(cal.quantile(0.1), cal.quantile(0.2), both.quantile(0.1)))
    coverage = -np.expm1(-np.array(q))
    assert coverage.mean() >= 0.8 - 4 * coverage.std() / np.sqrt(600)
