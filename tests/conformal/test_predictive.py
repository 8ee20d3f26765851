"""Predictive systems, their CRPS, and Venn-Abers, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning


def isotonic_at(scores, y, test, label):
    """The isotonic fit to all points and (test, label), at the test point: min-max formula."""
    s, target = np.append(scores, test), np.append(y, label)
    known = np.unique(s)
    sums = np.array([target[s == k].sum() for k in known])
    counts = np.array([(s == k).sum() for k in known])
    j = int(np.searchsorted(known, test))
    return max(
        min(sums[a : b + 1].sum() / counts[a : b + 1].sum() for b in range(j, known.size))
        for a in range(j + 1)
    )


@pytest.mark.parametrize("ties", [False, True])
def test_venn_abers_is_two_isotonic_fits(ties):
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(1, 25))
        s, t = rng.normal(size=n), rng.normal(size=6)
        if ties:
            s, t = np.round(s), np.round(t)
        y = (rng.uniform(size=n) < 1 / (1 + np.exp(-s))).astype(int)
        found = pc.venn_abers(s, y, t)
        assert np.allclose(found.p0, [isotonic_at(s, y, v, 0) for v in t])
        assert np.allclose(found.p1, [isotonic_at(s, y, v, 1) for v in t])
        assert (found.p0 <= found.p1 + 1e-12).all()
        assert np.allclose(found.p, found.p1 / (1 - found.p0 + found.p1))


def test_venn_abers_multiclass_is_calibrated_and_refuses_missing_labels():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 3000)
    y = (rng.uniform(size=(3000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    wrong = p**3 / (p**3).sum(axis=1, keepdims=True)
    found = pc.venn_abers_multiclass(wrong[:2000], y[:2000], wrong[2000:])

    def log_loss(q):
        return -np.log(np.maximum(q[np.arange(1000), y[2000:]], 1e-12)).mean()

    assert log_loss(found) < log_loss(wrong[2000:]) - 0.1
    with pytest.raises(ArrayError, match="lacks a label"):
        pc.venn_abers_multiclass(wrong[:50], np.zeros(50, int), wrong[50:])


def system(rng, n=50, m=40, scaled=True):
    sigma = rng.uniform(0.5, 2, size=n + m)
    mu = rng.normal(size=n + m)
    y = mu + sigma * (rng.gamma(1, size=n + m) - 1)
    form = (lambda sl: (mu[sl], sigma[sl])) if scaled else (lambda sl: mu[sl])
    return pc.predictive_system(form(slice(n)), y[:n], form(slice(n, None))), y[n:]


@pytest.mark.parametrize("scaled", [False, True])
def test_crps_is_the_double_sum(scaled):
    found, y = system(np.random.default_rng(0), scaled=scaled)
    draws = found.mean[:, None] + found.scale[:, None] * found.residuals
    first = abs(draws - y[:, None]).mean(axis=1)
    second = abs(draws[:, :, None] - draws[:, None]).mean(axis=(1, 2)) / 2
    assert np.allclose(found.crps(y), first - second, atol=1e-10)


def test_crps_of_the_standard_normal():
    rng = np.random.default_rng(1)
    z = np.zeros(20_000)
    found = pc.predictive_system(z, rng.normal(size=20_000), z)
    assert abs(found.crps(rng.normal(size=20_000)).mean() - 1 / np.sqrt(np.pi)) < 0.01


def test_pit_is_uniform_and_a_biased_one_is_not():
    pits, broken = [], []
    for r in range(1500):
        found, y = system(np.random.default_rng(r), n=19, m=1)
        pits.append(found.pit(y, key=r)[0])
        broken.append((found.residuals < (y - found.mean) / found.scale).mean())
    assert kstest(pits, "uniform").pvalue > 1e-4
    assert kstest(broken, "uniform").pvalue < 1e-4


def test_quantiles_intervals_and_cdf_agree():
    found, _ = system(np.random.default_rng(2), n=99)
    out = found.interval([0.1, 0.4])
    assert np.allclose(out.upper, found.quantile([0.95, 0.8]))
    assert (abs(found.cdf(found.quantile(0.5)) - 0.5) < 0.02).all()
    grid = np.linspace(-5, 5, 11)[None]
    values = found.cdf(grid)
    assert values.shape == (40, 11) and (np.diff(values, axis=1) >= 0).all()
    assert found.sample(0, 7).shape == (40, 7)
    with pytest.warns(InfiniteSetWarning):
        system(np.random.default_rng(2), n=9)[0].interval(0.1)


def test_bad_input():
    with pytest.raises(ArrayError, match="positive"):
        pc.predictive_system((np.ones(2), np.zeros(2)), np.ones(2), np.ones(2))
    with pytest.raises(ArrayError, match="empty"):
        pc.predictive_system(np.empty(0), np.empty(0), np.ones(2))
    with pytest.raises(ArrayError, match="must lie in 0"):
        pc.venn_abers(np.ones(2), np.array([0, 2]), np.ones(2))
