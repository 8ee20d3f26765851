"""Risk control: closed forms, error rates, and the broken twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import probinf.conformal as pc
from probinf.conformal.calibration import learn_then_test
from probinf.errors import ArrayError, MethodError


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


def steps(rng, n, shape, risk):
    """Losses (n, *shape) whose true risks are ``risk``, dependent across parameters."""
    return (rng.uniform(size=(n,) + (1,) * len(shape)) < risk) * 1.0


@pytest.mark.parametrize("correction", ["bonferroni", "holm", "graph"])
def test_several_thresholds_and_risks_are_declared_jointly(correction):
    """Some parameters are unsafe in one risk or in the other: none of them, save with delta."""
    rng, wrong, found = np.random.default_rng(0), 0, 0
    first = np.clip(0.3 - 0.04 * np.add.outer(np.arange(5), np.arange(4)), 0, 1)
    second = np.broadcast_to(np.array([0.21, 0.05, 0.05, 0.05])[None], (5, 4))
    unsafe = (first > 0.1 + 1e-9) | (second > 0.2)
    for _ in range(150):
        losses = steps(rng, 300, (5, 4), first), steps(rng, 300, (5, 4), second)
        out = pc.ltt(losses, alpha=(0.1, 0.2), delta=0.2, correction=correction)
        wrong += (out.valid & unsafe).any()
        found += out.valid.any()
        if out.index is not None:
            assert out.valid[out.index] and len(out.index) == 2
    assert wrong <= binom.ppf(1 - 1e-6, 150, 0.2)
    assert found > 75
    assert "5 x 4" in str(out) or out.index is None


def flow(p, delta):
    """Parameters that the graph declares, from the definition: shares along walks."""

    def reached(place):
        if place == tuple(d - 1 for d in p.shape):
            return delta
        total = 0.0
        for k in range(p.ndim):
            before = (*place[:k], place[k] + 1, *place[k + 1 :])
            if before[k] < p.shape[k] and p[before] <= reached(before):
                total += reached(before) / sum(i > 0 for i in before)
        return total

    return np.array([p[i] <= reached(i) for i in np.ndindex(*p.shape)]).reshape(p.shape)


def test_the_graph_hands_on_its_error():
    rng = np.random.default_rng(0)
    for _ in range(30):
        p = rng.uniform(size=(3, 4)) ** 8
        np.testing.assert_array_equal(learn_then_test._graph(p, 0.1), flow(p, 0.1))
    # all true: the family-wise error is delta, however the hypotheses depend
    false = 0
    for _ in range(400):
        p = np.where(np.add.outer(np.arange(3), np.arange(3)) > 2, 0.0, rng.uniform(size=(3, 3)))
        false += (learn_then_test._graph(p, 0.2) & (p > 0)).any()
    assert false <= binom.ppf(1 - 1e-6, 400, 0.2)
    losses = (rng.uniform(size=(200, 12)) < np.linspace(0.3, 0.0, 12)) * 1.0
    line = [pc.ltt(losses, alpha=0.1, correction=c).valid for c in ("graph", "fixed sequence")]
    np.testing.assert_array_equal(*line)


def test_several_risks_are_refused_where_they_do_not_fit():
    a, b = np.zeros((20, 3)), np.zeros((20, 4))
    with pytest.raises(ArrayError, match="different parameters"):
        pc.ltt((a, b), alpha=(0.1, 0.1))
    with pytest.raises(ArrayError, match="one of each per risk"):
        pc.ltt((a, a), alpha=(0.1, 0.1, 0.1))
    # two risks are not two points of a grid of thresholds
    for losses in ((a, a), [a, a], (a.tolist(), a.tolist())):
        with pytest.raises(ArrayError, match="alpha as a tuple of 2"):
            pc.ltt(losses, alpha=0.1)
    with pytest.raises(ArrayError, match="losses as a tuple of arrays"):
        pc.ltt(a, alpha=(0.1, 0.1))
    for losses in (a.tolist(), list(a), tuple(a)):  # rows of one risk
        assert pc.ltt(losses, alpha=0.3).valid.shape == (3,)
    with pytest.raises(MethodError, match="correction='graph'"):
        pc.ltt(np.zeros((20, 3, 3)), alpha=0.1, correction="fixed sequence")
