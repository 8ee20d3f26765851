"""How many tries: exact where it can be, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, truncnorm

import probinf as pi
from probinf.errors import ArrayError, CalibrationError, TooFewLabelsError
from probinf.tokens import coverage as coverage_of


def test_coverage_is_unbiased_for_every_question() -> None:
    """By enumeration of all counts."""
    for n, p in ((7, 0.2), (10, 0.6)):
        counts = np.arange(n + 1)
        for k in (1, 3, n):
            each = [pi.tokens.coverage([c], n, [k]).coverage[0] for c in counts]
            mean = np.sum(binom.pmf(counts, n, p) * each)
            assert np.isclose(mean, 1 - (1 - p) ** k, atol=1e-12)


def test_intervals_of_coverage_cover_and_stay_inside() -> None:
    rng = np.random.default_rng(1)
    k, n, m = np.array([1, 8, 40]), 20, 60
    truth = [1 - np.mean((1 - rng.beta(0.5, 2, 400_000)) ** j) for j in k]
    hits = []
    for _ in range(40):
        right = rng.binomial(n, rng.beta(0.5, 2, m))
        found = coverage_of(right, n, k)
        hits.append((found.lower <= truth) & (truth <= found.upper))
        assert (found.lower >= 0).all() and (found.upper <= 1).all()
        assert found.extrapolated.tolist() == [False, False, True]
    assert np.mean(hits) > 0.82  # of 90 %
    all_right = coverage_of(np.full(30, 5), 5, [1])
    assert all_right.coverage[0] == 1 and 0.8 < all_right.lower[0] < 1


def test_optscale_asks_for_as_many_as_the_law_says() -> None:
    rng = np.random.default_rng(0)
    law = truncnorm(-0.5 / 0.2, 0.5 / 0.2, 0.5, 0.2)
    found = pi.tokens.optscale(law.rvs(4000, random_state=rng), target=0.9, q=0.05)
    needed = np.log(0.05) / np.log(law.cdf(0.9))
    assert abs(found.below - law.cdf(0.9)) < 0.006
    few = pi.tokens.optscale([0.2, 0.6, 0.5], target=0.9, q=0.05, prior=(0.5, 0.2))
    assert 0.5 * needed < few.tries < 3 * needed
    assert pi.tokens.optscale([0.95] * 5, target=0.9, q=0.2, law="empirical").tries == 5
    hopeless = pi.tokens.optscale([0.01, 0.02, 0.03], target=0.99, max_tries=100)
    assert hopeless.tries == 100 and not hopeless.reached


def questions(rng, m: int, n: int) -> np.ndarray:
    """Scores whose law is not the one that is fitted."""
    a = rng.uniform(1.5, 3, m)
    return rng.beta(a[:, None], 2.0, (m, n))


def misses(rng, q: float, factor=None) -> float:
    """Of new questions, with the factor that earlier ones suggest."""
    if factor is None:
        options = {"peek": 4, "target": 0.8, "q": q, "law": "empirical"}
        factor = pi.tokens.calibrate_optscale(questions(rng, 60, 120), **options).factor
    out = []
    for row in questions(rng, 40, 400):
        found = pi.tokens.optscale(
            row[:4], target=0.8, q=q, law="empirical", factor=factor, max_tries=400
        )
        out.append(row[: found.tries].max() < 0.8)
    return float(np.mean(out))


def test_calibrated_tries_miss_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(2)
    q = 0.1
    calibrated = np.mean([misses(rng, q) for _ in range(25)])
    plain = np.mean([misses(rng, q, 1.0) for _ in range(25)])
    assert calibrated < q + 0.03  # three standard errors
    assert plain > q + 0.05  # the mutant: the guess taken at its word


def test_a_target_out_of_reach_is_said() -> None:
    with pytest.raises(CalibrationError, match="never reach the target"):
        pi.tokens.calibrate_optscale(np.full((50, 10), 0.5), peek=3, target=0.9, law="empirical")


def simulated(rng, m: int, n: int):
    """Verdicts and gold labels of tries; hard questions have more false positives."""
    easy = rng.beta(2, 2, m)[:, None]
    right = rng.random((m, n)) < easy
    passes = np.where(right, rng.random((m, n)) < 0.9, rng.random((m, n)) < 0.3 * (1 - easy))
    return passes, right.astype(float), easy[:, 0] * 0.9, (1 - easy[:, 0]) ** 2 * 0.3


def test_the_ceiling_is_what_tries_come_to() -> None:
    rng = np.random.default_rng(3)
    passes, right, c, f = simulated(rng, 20_000, 12)
    found = pi.tokens.resampling_ceiling(c, f, [1, 4, 12])
    for j, k in enumerate((1, 4, 12)):
        first = passes[:, :k].argmax(1)
        any_pass = passes[:, :k].any(1)
        returned = right[np.arange(len(c)), first] * any_pass
        assert abs(returned.mean() - found.right[j]) < 0.015
        assert abs((any_pass - returned).mean() - found.wrong[j]) < 0.015
        taken = np.where(any_pass, first + 1, k)
        assert abs(taken.mean() - found.tries[j]) < 0.06
    assert (found.right < found.ceiling).all()
    with pytest.raises(ArrayError, match=r"c \+ f is 1\.2"):
        pi.tokens.resampling_ceiling([0.7], [0.5])


def test_intervals_of_utility_cover_and_more_verdicts_narrow_them() -> None:
    rng = np.random.default_rng(4)
    ks, worth = [1, 2, 4, 8], {"benefit": 1.0, "penalty": 2.0, "cost": 0.02}
    c, f = simulated(rng, 100_000, 1)[2:]
    exact = pi.tokens.resampling_ceiling(c, f, ks)
    truth = exact.right - 2.0 * exact.wrong - 0.02 * exact.tries
    hits, widths, alone = [], [], []
    for _ in range(30):
        passes, right, *_ = simulated(rng, 600, 8)
        gold = np.where((np.arange(600) < 60)[:, None], right, np.nan)
        found = pi.tokens.optimal_tries(passes, gold, ks, **worth)
        hits.append((found.lower <= truth) & (truth <= found.upper))
        widths.append(found.upper - found.lower)
        few = pi.tokens.optimal_tries(passes[:120], gold[:120], ks, **worth)
        alone.append(few.upper - few.lower)
        assert found.may_be_best[ks.index(found.best)]
    assert np.mean(hits) > 0.78  # of 90 %
    assert np.mean(widths) < np.mean(alone)
    with pytest.raises(TooFewLabelsError):
        pi.tokens.optimal_tries(passes, np.full(passes.shape, np.nan), ks)


def test_horvitz_thompson_loses_to_neither_peaked_nor_flat_laws() -> None:
    rng = np.random.default_rng(5)
    found = {}
    for name, size in (("peaked", 0.1), ("flat", 50.0)):
        errors = np.zeros(3)
        for _ in range(150):
            p = rng.dirichlet(np.full(40, size))
            answers, right = np.arange(40) % 3, p[np.arange(40) % 3 == 0].sum()
            tries = rng.choice(40, 16, p=p)
            given = answers[tries], tries, np.log(p[tries])
            rules = (
                pi.tokens.self_consistency(given[0]),
                pi.tokens.internal_probability(*given),
                pi.tokens.horvitz_thompson(*given),
            )
            shares = [dict(zip(*rule, strict=True)).get(0, 0.0) for rule in rules]
            errors += (np.array(shares) - right) ** 2
        found[name] = errors / 150
    assert found["peaked"][2] < 0.6 * found["peaked"][0]
    assert found["flat"][2] < 1.05 * found["flat"][0]


def test_answers_count_by_weight() -> None:
    votes = pi.tokens.self_consistency(["x", "y", "x"], np.log([0.2, 0.7, 0.1]))
    assert votes.answers == ("y", "x") and np.allclose(votes.shares, [0.7, 0.3])
    assert pi.tokens.best_of_n(["x", "y", "z"], [0.1, 0.9, 0.9]) == "y"
    assert pi.tokens.weighted_best_of_n(["x", "y", "x"], [0.5, 0.8, 0.5]).best == "x"
    assert pi.tokens.enough_votes(8, 1) > 0.95 > pi.tokens.enough_votes(3, 2)
