"""Pruning of improbable texts: a maximum of the likelihood, Bayes' rule, and any scale."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import weibull_min

import probinf as pi
from probinf.errors import ArrayError
from probinf.tokens import pruning

TRUE = pruning.Weibulls(np.array([0.35, 0.65]), np.array([4.0, 1.5]), np.log([0.3, 0.01]))


def drawn(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities of tries, and which belong to the law of the larger mean."""
    rng = np.random.default_rng(seed)
    high = rng.random(n) < TRUE.share[0]
    k = np.where(high, 0, 1)
    return TRUE.log_scale[k] + np.log(rng.weibull(TRUE.shape[k])), high


def test_the_fit_is_a_maximum_of_the_likelihood_and_members_follow_bayes() -> None:
    """Weighed against the law that the tries come from, and SciPy's density of probabilities."""
    log_p, _ = drawn(0, 400)
    found = pruning.fitted(log_p)
    total, true = (np.logaddexp(*one.log_terms(log_p)).sum() for one in (found, TRUE))
    assert true < total < true + 15  # half a chi-squared of five, if it is the global one
    p = np.exp(log_p)
    pdf = [w * weibull_min.pdf(p, k, scale=np.exp(s)) for w, k, s in zip(*found, strict=True)]
    log_terms = found.log_terms(log_p)
    assert np.allclose(pdf[0] / (pdf[0] + pdf[1]), 1 / (1 + np.exp(log_terms[1] - log_terms[0])))


def misplaced(seeds: int = 8) -> float:
    """Share of tries on the wrong side, where two laws hardly overlap."""
    wrong = []
    for seed in range(seeds):
        log_p, high = drawn(seed, 60)
        wrong.append(pruning.likely(log_p) != high)
    return float(np.mean(wrong))


def test_improbable_tries_are_told_from_probable_ones() -> None:
    assert misplaced() < 0.02


def test_components_in_the_order_of_the_fit_are_caught(monkeypatch) -> None:
    """The mutant: nobody asks which of the two laws is that of the probable texts."""
    right = pruning.ordered

    def turned(found):
        return pruning.Weibulls(*(v[::-1] for v in right(found)))

    monkeypatch.setattr(pruning, "ordered", turned)
    assert misplaced() > 0.2


def test_powers_of_ten_do_not_matter() -> None:
    """Texts of hundreds of tokens have probabilities that no float holds."""
    log_p, _ = drawn(3, 60)
    kept = pruning.likely(log_p)
    assert (pruning.likely(log_p - 2000.0) == kept).all()
    assert 0 < kept.sum() < len(kept)


def test_shares_after_pruning() -> None:
    log_p, _ = drawn(4, 40)
    kept = pruning.likely(log_p)
    texts = np.arange(40)
    answers = np.where(kept, texts % 2, 2)
    found = pi.tokens.internal_probability(answers, texts, log_p, prune="weibull")
    given = dict(zip(*found, strict=True))
    p = np.exp(log_p)
    assert given[2] == 0.0
    assert np.isclose(given[0], p[kept & (texts % 2 == 0)].sum() / p[kept].sum())
    every = dict(zip(*pi.tokens.internal_probability(answers, texts, log_p), strict=True))
    assert every[2] > 0


def test_nothing_to_prune_and_too_little_to_fit() -> None:
    equal = ["a"] * 3, ["x"] * 3, [-4.0] * 3
    assert pi.tokens.internal_probability(*equal, prune="weibull").best == "a"
    with pytest.raises(ArrayError, match=r"3 tries are fewer than their 5 parameters.*prune=None"):
        pi.tokens.internal_probability(
            list("abc"), list("xyz"), [-1.0, -2.0, -9.0], prune="weibull"
        )
    with pytest.raises(ArrayError, match="1 of them NaN"):
        pi.tokens.internal_probability(list("ab"), list("xy"), [-1.0, np.nan], prune="weibull")
    log_p = [-1.0, -1.1, -1.3, -5.0, -6.0, -np.inf]
    found = pi.tokens.internal_probability(list("aabbcd"), range(6), log_p, prune="weibull")
    assert dict(zip(*found, strict=True))["d"] == 0.0
