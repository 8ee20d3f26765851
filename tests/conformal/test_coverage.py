"""The coverage law, and the broken twins that it must catch."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from scipy.stats import kstest

import probinf.conformal as pc
from probinf.errors import ArrayError
from tests.cases.coverage import NOISES, coverage, labels, vmapped


def draw(rng, replications, n, tests, noise):
    """Predictions and outcomes (replications, n + tests)."""
    shape = (replications, n + tests)
    mu = rng.normal(size=shape)
    return mu, mu + NOISES[noise](rng, shape)


def split_coverage(score, form, noise, *, n, tests=1000, replications=2000, alpha=0.1, seed=0):
    def one(mu_cal, y_cal, mu_test, y_test):
        out = pc.split(score, form(mu_cal), y_cal, form(mu_test), alpha=alpha)
        return out.contains(y_test)

    mu, y = draw(np.random.default_rng(seed), replications, n, tests, noise)
    return vmapped(one, mu, y, calibration=n)


FORMS = {
    pc.Absolute(): lambda mu: mu,
    pc.Normalised(offset=0.1): lambda mu: (mu, abs(mu)),
    pc.CQR(): lambda mu: (mu - 0.5, mu + 1.0),
    pc.CQR(scale="width"): lambda mu: (mu - 0.5, mu + 1.0),
    pc.CQR(scale="median"): lambda mu: (mu - 0.5, mu, mu + 1.0),
}

FAST = (pc.Absolute(), pc.CQR(scale="median"))


@pytest.mark.parametrize(
    "score",
    [pytest.param(s, marks=[] if s in FAST else pytest.mark.slow, id=str(s)) for s in FORMS],
)
def test_split_regression_law(score):
    form = FORMS[score]

    def one(mu_cal, y_cal, mu_test, y_test):
        return pc.split(score, form(mu_cal), y_cal, form(mu_test), alpha=0.1).contains(y_test)

    rng = np.random.default_rng(0)
    parts = [draw(rng, 600, 100, 150, noise) for noise in NOISES]
    mu, y = (np.concatenate(v) for v in zip(*parts, strict=True))
    covered = vmapped(one, mu, y, calibration=100).reshape(len(NOISES), 600, 150)
    for noise, rows in zip(NOISES, covered, strict=True):
        law = pc.check_coverage(rows, alpha=0.1, n=100)
        assert law, (noise, law)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 500, 1000])
@pytest.mark.parametrize("noise", NOISES)
def test_split_law_at_full_size(n, noise):
    covered = split_coverage(pc.Absolute(), FORMS[pc.Absolute()], noise, n=n)
    law = pc.check_coverage(covered, alpha=0.1, n=n)
    print(n, noise, law)
    assert law, law


def test_host_and_compiled_split_agree():
    rng = np.random.default_rng(0)
    mu, y = draw(rng, 5, 37, 11, "skewed")
    mu, y = np.float32(mu), np.float32(y)
    for score in (pc.Absolute(), pc.CQR(scale="median")):

        def one(mu_cal, y_cal, mu_test, y_test, score=score, form=FORMS[score]):
            return pc.split(score, form(mu_cal), y_cal, form(mu_test), alpha=0.2).upper

        fast = vmapped(one, mu, y, calibration=37)
        for r in range(5):
            slow = one(mu[r, :37], y[r, :37], mu[r, 37:], y[r, 37:])
            assert np.allclose(fast[r], slow, rtol=1e-5)


@pytest.mark.parametrize("score", [pc.Signed(), pc.scores.AsymmetricCQR()], ids=str)
def test_two_tails_cover(score):
    form = FORMS[pc.CQR()] if isinstance(score, pc.scores.AsymmetricCQR) else FORMS[pc.Absolute()]
    covered = split_coverage(score, form, "skewed", n=99, tests=200)
    # the tails are 5 of 100 ranks each: 90 of 100 ranks, exactly
    assert pc.check_coverage(covered, alpha=0.1, n=99)


@pytest.mark.parametrize("noise", ["gaussian", "skewed"])
def test_ties_never_undercover(noise):
    mu, y = (np.round(v) for v in draw(np.random.default_rng(0), 2000, 60, 200, noise))

    def one(mu_cal, y_cal, mu_test, y_test):
        return pc.split(pc.Absolute(), mu_cal, y_cal, mu_test, alpha=0.1).contains(y_test)

    covered = vmapped(one, mu, y, calibration=60)
    assert pc.check_coverage(covered, alpha=0.1, one_sided=True)
    assert not pc.check_coverage(covered, alpha=0.1)


@pytest.mark.parametrize(
    "score",
    [
        pc.LAC(),
        pc.APS(),
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in (pc.scores.Margin(), pc.RAPS(), pc.scores.SAPS())
        ),
        pytest.param(pc.TopK(), marks=pytest.mark.slow),
    ],
    ids=lambda s: type(s).__name__,
)
def test_label_scores_law(score):
    p, y = labels(np.random.default_rng(0), 400 * 250)
    seeds = np.arange(400 * 250, dtype=np.uint32).reshape(400, 250)

    def one(p_cal, y_cal, seed_cal, p_test, y_test, _):
        key = jax.random.key(seed_cal[0])
        return pc.split(score, p_cal, y_cal, p_test, alpha=0.1, key=key).contains(y_test)

    covered = vmapped(one, p.reshape(400, 250, 5), y.reshape(400, 250), seeds, calibration=100)
    law = pc.check_coverage(covered, alpha=0.1, n=100)
    assert law, law


def test_deterministic_aps_is_larger():
    p, y = labels(np.random.default_rng(0), 2000)
    random, fixed = (
        pc.split(pc.APS(randomised=r), p[:1000], y[:1000], p[1000:], alpha=0.1, key=0)
        for r in (True, False)
    )
    assert fixed.contains(y[1000:]).mean() > 0.845  # four standard deviations below 0.9
    assert fixed.size().mean() > random.size().mean()


def test_mondrian_law_within_each_group():
    group = np.repeat([0, 1, 2], [60, 25, 5])
    test_group = np.repeat([0, 1, 2], 100)

    def one(rng):
        scale = np.array([1.0, 5.0, 20.0])
        y = rng.normal(size=90) * scale[group]
        y_test = rng.normal(size=300) * scale[test_group]
        out = pc.split(
            pc.Absolute(), np.zeros(90), y, np.zeros(300),
            alpha=0.1, groups_cal=group, groups_test=test_group,
        )  # fmt: skip
        return out.contains(y_test)

    covered = coverage(one, 200)
    for g, size in enumerate([60, 25, 5]):
        law = pc.check_coverage(covered[:, test_group == g], alpha=0.1, n=size)
        assert law, law
    assert covered[:, test_group == 2].all()  # five points cannot support 90 %


def test_class_conditional_law():
    def one(rng):
        y = np.repeat([0, 1, 2], 40)
        p = rng.dirichlet(np.ones(3), 120)
        test = rng.dirichlet(np.ones(3), 120)
        key = int(rng.integers(2**31))
        return pc.class_conditional(pc.APS(), p, y, test, alpha=0.1, key=key).contains(y)

    covered = coverage(one, 120)
    for k in range(3):
        assert pc.check_coverage(covered[:, 40 * k : 40 * k + 40], alpha=0.1, n=40)


def shifted(rng, replications, n=40):
    """Calibration x ~ N(0, 1), one test x ~ N(1.5, 1); the noise grows with x."""
    x = rng.normal(size=(replications, n + 1))
    x[:, n] += 1.5
    return rng.normal(size=x.shape) * np.exp(0.6 * x), np.exp(1.5 * x)


def weighted_coverage(mutant=False):
    def one(y, w, y_test, w_test):
        out = pc.split(
            pc.Absolute(), 0 * y, y, 0 * y_test,
            alpha=0.2, weights_cal=w, weights_test=0 * w_test if mutant else w_test,
        )  # fmt: skip
        return out.contains(y_test)

    return vmapped(one, *shifted(np.random.default_rng(0), 10_000), calibration=40)


def test_covariate_shift_covers_and_its_mutant_does_not():
    assert pc.check_coverage(weighted_coverage(), alpha=0.2, one_sided=True)
    assert not pc.check_coverage(weighted_coverage(mutant=True), alpha=0.2, one_sided=True)


def test_covariate_shift_pvalues_are_exact():
    y, w = shifted(np.random.default_rng(1), 600)
    p = [
        pc.calibrate(abs(y[r, :40]), weights=w[r, :40]).pvalue(
            abs(y[r, 40:]), key=r, test_weights=w[r, 40:]
        )
        for r in range(600)
    ]
    assert pc.check_coverage(np.stack(p) > 0.2, alpha=0.2)
    assert kstest(np.concatenate(p), "uniform").pvalue > 1e-4


def _mutant_threshold(kind):
    def rank(n, alpha):
        return {
            "rank k-1": lambda: math.ceil((1 - alpha) * (n + 1)) - 1,
            "no +1": lambda: math.ceil((1 - alpha) * n),
        }[kind]()

    def one(rng):
        scores = rng.exponential(size=1100)
        if kind == "interpolated":
            q = np.quantile(scores[:100], 0.9)
        else:
            q = np.sort(scores[:100])[rank(100, 0.1) - 1]
        return scores[100:] <= q

    return one


@pytest.mark.parametrize("kind", ["rank k-1", "no +1", "interpolated"])
def test_mutant_ranks_fail(kind):
    assert not pc.check_coverage(coverage(_mutant_threshold(kind), 2000), alpha=0.1, n=100)


def test_too_few_points_cover_everything():
    covered = split_coverage(pc.Absolute(), FORMS[pc.Absolute()], "heavy", n=5, tests=50)
    assert pc.check_coverage(covered, alpha=0.1, n=5) and covered.all()

    def mutant(rng):  # the largest score in place of +inf
        s = rng.normal(size=55)
        return s[5:] <= s[:5].max()

    assert not pc.check_coverage(coverage(mutant, 50), alpha=0.1, n=5)


def test_check_coverage_refuses_nonsense():
    with pytest.raises(ArrayError, match="booleans"):
        pc.check_coverage(np.ones(5), alpha=0.1)
