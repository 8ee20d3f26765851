"""Adaptive questions: what noise is, what it hides, and how often a histogram can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, laplace, norm

import probinf.conformal as pc
from probinf.conformal.selection import privacy
from probinf.errors import ArrayError, CalibrationError, MethodError

S = pc.selection


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_answers_are_means_with_the_noise_they_declare(mechanism):
    state = S.noisy_answers(0, n=50, queries=3000, mechanism=mechanism, noise=0.1)
    values = np.random.default_rng(0).uniform(size=(50, 1500))
    many, state = state.query(values)
    law = {"gaussian": norm, "laplace": laplace}[mechanism]
    assert kstest((many - values.mean(axis=0)) / 0.1, law.cdf).pvalue > 1e-4
    one, later = state.query(values[:, 0])
    again, _ = state.query(values[:, 0])
    assert one == again and later.asked == 1501  # a state answers one question in one way
    assert one != later.query(values[:, 0])[0]
    # no query exceeds the noise of the bound, but with this probability
    spread = state._spread(np.array([0.2]))[0]
    assert (1 - 2 * law.sf(spread / 0.1)) ** 3000 >= 0.8 - 1e-9


def test_privacy_is_that_of_the_published_accounts():
    state = S.noisy_answers(0, n=1000, queries=200, noise=0.05)
    # 200 Gaussian answers of sensitivity 1/n: rho = 200 (1/n)^2 / (2 sigma^2)
    assert state.rho == pytest.approx(200 / 1000**2 / (2 * 0.05**2))
    # the density of an answer changes by a factor exp(1 / (n b)) at most when one point does
    b, n = 0.05, 100
    x = np.linspace(-1, 2, 301)
    ratio = laplace.logpdf(x, 0.5, b) - laplace.logpdf(x, 0.5 + 1 / n, b)
    own = S.noisy_answers(0, n=n, queries=1, mechanism="laplace", noise=b)
    assert abs(ratio).max() == pytest.approx(np.sqrt(2 * own.rho))
    # the transfer theorem by hand, on its own grid
    failures = privacy.failure_grid(0.1)
    found = privacy.transferred(np.full(200, 0.2), failures, 1e-4, 0.1)
    c, d = failures / 0.05, np.geomspace(1e-6, 0.3, 200)
    rest = np.exp(1e-4 + 2 * np.sqrt(1e-4 * np.log(1 / (0.05 * d)))) - 1 + 2 * d
    assert found == pytest.approx(0.2 + c.min() + rest.min())


def test_bounds_shrink_with_data_and_grow_with_questions():
    bound = [S.noisy_answers(0, n=n, queries=100).bound for n in (10**4, 10**5, 10**6)]
    assert 1 > bound[0] > bound[1] > bound[2] and bound[2] < 0.05
    assert S.noisy_answers(0, n=10**5, queries=10**4).bound > bound[1]
    best = S.noisy_answers(0, n=10**5, queries=100)
    for noise in (best.noise / 3, best.noise * 3):
        assert S.noisy_answers(0, n=10**5, queries=100, noise=noise).bound > bound[1]
    big = S.thresholdout(0, threshold=0.02, scale=1e-3, budget=5)
    assert big.bound(10**6, 10**4) < big.bound(10**5, 10**4) <= 1
    cells = np.full(64, 10**5)
    weights = S.private_weights(0, cells, threshold=0.1, scale=1e-3)
    assert weights.bound(10**4) < 0.5 and weights.bound(10**8) > weights.bound(10**4)


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_too_few_points_for_any_bound_are_refused_not_answered_bare(mechanism):
    """No noise has a bound below 1: the default was then the least noise, which hides nothing."""
    more = {"queries": 100, "mechanism": mechanism}
    for n in (1, 500):
        with pytest.raises(CalibrationError, match=r"about \d+ points would do") as refusal:
            S.noisy_answers(0, n=n, **more)
    enough = int(str(refusal.value).split("about ")[1].split()[0])
    found = S.noisy_answers(0, n=enough, **more)
    assert 0.95 < found.bound < 1 and found.noise > 0.01
    assert S.noisy_answers(0, n=500, noise=0.1, **more).bound == 1


def overfitted(answer_of, n=1500, features=3000, seed=0):
    """What is reported of a classifier made of the answers about pure noise, less 1/2."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(bool)
    agree = (rng.integers(0, 2, (n, features)).astype(bool) == labels[:, None]).astype(float)
    told, last = answer_of(agree)
    signs = np.sign(told - 0.5) * (abs(told - 0.5) > 1 / np.sqrt(n))
    right = ((2 * agree - 1) @ signs > 0).astype(float)
    return last(right) - 0.5


def test_noise_keeps_ten_thousand_questions_honest():
    def bare(agree):
        return agree.mean(axis=0), lambda right: right.mean()

    def noisy(agree):
        state = S.noisy_answers(1, n=len(agree), queries=agree.shape[1] + 1, noise=0.3)
        told, state = state.query(agree)
        return told, lambda right: right.mean()  # even the sample's own mean: it was not overfitted

    def reused(agree):
        half = len(agree) // 2
        state, told = S.thresholdout(1, threshold=0.1, scale=0.005, budget=50), []
        for column in agree.T:
            answer, _, state = state.query(column[:half], column[half:])
            told.append(answer)
        return np.array(told), lambda right: state.query(right[:half], right[half:])[0]

    assert overfitted(bare) > 0.2
    assert overfitted(noisy) < 0.1
    assert overfitted(reused) < 0.1


def test_a_histogram_is_wrong_no_more_often_than_its_potential_allows():
    """Without noise: every answer within the threshold, and log(U) / (2 T^2) corrections."""
    rng = np.random.default_rng(0)
    universe, T = 32, 0.1
    counts = rng.multinomial(5000, rng.dirichlet(np.full(universe, 0.2)))
    state = S.private_weights(0, counts, threshold=T, scale=1e-12)
    truth = counts / counts.sum()
    for _ in range(600):
        # an adversary: the cells on which the histogram errs, blurred
        q = np.clip((truth > state.weights) * 1.0 + rng.normal(scale=0.5, size=universe), 0, 1)
        answer, fixed, state = state.query(q)
        assert abs(answer - truth @ q) <= T + 1e-9
        assert not fixed or abs(answer - truth @ q) < 1e-9
    assert 0 < state.corrected <= np.log(universe) / (2 * T**2)
    assert state.asked == 600


def test_questions_that_cannot_be_answered_are_refused():
    state = S.noisy_answers(0, n=5, queries=2, noise=0.1)
    with pytest.raises(ArrayError, match=r"must lie in \[0, 1\]"):
        state.query([0, 0.5, 1, 2, 0])
    with pytest.raises(ArrayError, match="5 rows"):
        state.query([0.5])
    with pytest.raises(CalibrationError, match="0 of 2 queries are asked, 3 more"):
        state.query(np.ones((5, 3)))
    with pytest.raises(MethodError, match="mechanism"):
        S.noisy_answers(0, n=5, queries=2, mechanism="uniform")
    with pytest.raises(MethodError, match="noise"):
        S.noisy_answers(0, n=5, queries=2, noise=0.0)
    with pytest.raises(ArrayError, match="two cells"):
        S.private_weights(0, [5.0])
    spent = S.private_weights(0, [9.0, 1.0], threshold=0.01, scale=1e-9, budget=1)
    spent = spent.query([1.0, 0.0])[2]
    assert spent.budget == 0
    # whether the histogram errs or not: else refusals would answer, without limit
    for values in ([1.0, 0.0], [1.0, 1.0]):
        with pytest.raises(CalibrationError, match=r"weights @ values"):
            spent.query(values)
