"""Risk control: closed forms, error rates, and the broken twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import probinf.conformal as pc
from probinf.errors import ArrayError


def test_crc_closed_form_and_mutant():
    losses = np.array([[1.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    # n / (n+1) * mean + 1 / (n+1) = 0.625, 0.5, 0.25
    for alpha, index in ((0.7, 0), (0.5, 1), (0.3, 2), (0.2, None)):
        assert pc.crc(losses, alpha=alpha).index == index
    # mutant: without bound / (n+1), alpha = 0.2 would be served
    assert losses.mean(axis=0)[2] <= 0.2


def test_crc_expected_risk_and_its_mutant():
    rng = np.random.default_rng(0)
    lam = np.linspace(0, 1, 201)
    risks, broken = [], []
    for _ in range(1500):
        s = rng.beta(0.5, 2, size=21)  # loss 1{s > lambda}
        losses = (s[:20, None] > lam).astype(float)
        found = pc.crc(losses, alpha=0.2).index
        risks.append(float(s[20] > lam[found]))
        broken.append(float(s[20] > lam[np.argmax(losses.mean(axis=0) <= 0.2)]))
    error = np.std(risks) / np.sqrt(1500)
    assert np.mean(risks) <= 0.2 + 4 * error
    assert np.mean(broken) > np.mean(risks)


def test_hoeffding_bentkus_closed_form():
    p = pc.calibration.hoeffding_bentkus(np.array([0.05, 0.2]), 100, 0.1)
    h = 0.05 * np.log(0.5) + 0.95 * np.log(0.95 / 0.9)
    assert np.isclose(p[0], min(np.exp(-100 * h), np.e * binom.cdf(5, 100, 0.1)))
    assert p[1] == 1.0
    assert p[0] > 2 * binom.cdf(5, 100, 0.1)  # the factor e is there


@pytest.mark.parametrize("method", ["hb", "wsr"])
def test_pvalues_are_valid_at_the_boundary(method):
    rng = np.random.default_rng(0)
    losses = (rng.uniform(size=(60, 3000)) < 0.1).astype(float)  # true risk is alpha
    if method == "hb":
        p = pc.calibration.hoeffding_bentkus(losses.mean(axis=0), 60, 0.1)
    else:
        p = pc.calibration.betting_pvalue(losses, 0.1)
    for u in (0.05, 0.1, 0.3):
        assert (p <= u).mean() <= u + 4 * np.sqrt(u * (1 - u) / 3000)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hb", "wsr"])
@pytest.mark.parametrize("rule", ["rcps", "bonferroni", "holm", "fixed sequence"])
def test_error_rates(rule, method):
    rng = np.random.default_rng(1)
    lam = np.linspace(0, 1, 41)
    bad = []
    for _ in range(1000):
        s = rng.beta(0.5, 2, size=200)
        losses = (s[:, None] > lam).astype(float)
        if rule == "rcps":
            out = pc.rcps(losses, alpha=0.2, delta=0.1, method=method)
        else:
            out = pc.ltt(losses, alpha=0.2, delta=0.1, method=method, correction=rule)
        from scipy.stats import beta

        risk = beta.sf(lam, 0.5, 2)
        bad.append(bool((risk[out.valid] > 0.2).any()))
    print(rule, method, np.mean(bad))
    assert np.mean(bad) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 1000)


def test_holm_is_between_bonferroni_and_nothing():
    rng = np.random.default_rng(2)
    losses = (rng.uniform(size=(300, 20)) < np.linspace(0.01, 0.3, 20)).astype(float)
    sizes = [pc.ltt(losses, alpha=0.15, correction=c).valid.sum() for c in ("bonferroni", "holm")]
    assert 0 < sizes[0] <= sizes[1]
    assert "LTT" in pc.ltt(losses, alpha=0.15).summary()
    assert pc.ltt(losses, alpha=0.001).index is None


@pytest.mark.parametrize(
    ("losses", "match"),
    [
        (np.array([[0.0, 1.0]]), "must not increase"),
        (np.array([[2.0, 1.0]]), "bound"),
        (np.array([[np.nan, 1.0]]), "NaN"),
        (np.empty((0, 3)), "at least one row"),
    ],
)
def test_bad_losses(losses, match):
    with pytest.raises(ArrayError, match=match):
        pc.crc(losses, alpha=0.1)
