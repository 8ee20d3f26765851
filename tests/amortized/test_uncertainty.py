"""What a predictor does not know: learned losses, and pairs of responses against enumeration."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier

from probinf.amortized.estimators import DEUP, PairCalibrated
from probinf.conformal import Normalised
from probinf.errors import ArrayError, LevelError, MethodError

GROUPS, HIDDEN = 8, 4
TRUTH = np.random.default_rng(0).uniform(0.02, 0.98, (GROUPS, HIDDEN))


def responses(rng, count):
    """Inputs that show the group only, and two responses by a probability that they do not show."""
    group, hidden = rng.integers(0, GROUPS, count), rng.integers(0, HIDDEN, count)
    p = TRUTH[group, hidden]
    return group[:, None].astype(float), (rng.uniform(size=(count, 2)) < p[:, None]).astype(int), p


def ratio(rng, fitted):
    x, _, p = responses(rng, 20_000)
    stated = fitted.predict_proba(x)[:, 1]
    return fitted.predict_covariance(x)[:, 1, 1].mean() / np.mean((p - stated) ** 2), x, p


def test_the_epistemic_variance_is_that_of_the_hidden_probabilities():
    rng = np.random.default_rng(1)
    x, y, _ = responses(rng, 60_000)
    fitted = PairCalibrated(DecisionTreeClassifier(min_samples_leaf=200)).fit(x, y)
    groups = np.arange(GROUPS)[:, None].astype(float)
    found = fitted.predict_covariance(groups)
    np.testing.assert_allclose(found[:, 1, 1], TRUTH.var(axis=1), atol=0.015)
    np.testing.assert_allclose(found.sum(axis=2), 0.0, atol=1e-12)  # probabilities sum to one
    np.testing.assert_allclose(fitted.predict_proba(groups)[:, 1], TRUTH.mean(axis=1), atol=0.02)
    inputs = x
    share, x, p = ratio(rng, fitted)
    assert 0.9 < share < 1.1
    for beta in (0.05, 0.2, 0.5):
        low, high = fitted.predict_interval(x, beta)[:, 1].T
        assert np.mean((low <= p) & (p <= high)) >= 1 - beta
    # the mutants: responses to other inputs, and the same response twice
    for wrong in (np.stack([y[:, 0], y[rng.permutation(len(y)), 1]], 1), y[:, [0, 0]]):
        broken = clone(fitted).fit(inputs, wrong)
        assert not 0.7 < ratio(rng, broken)[0] < 1.4


def wave(rng, count, low, high):
    x = rng.uniform(low, high, (count, 2))
    return x, np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + 0.1 * rng.normal(size=count)


def test_losses_of_unseen_rows_are_foretold():
    rng = np.random.default_rng(0)
    x, y = wave(rng, 300, 0.0, 1.0)
    near, far = wave(rng, 300, 0.0, 1.0), wave(rng, 300, 1.5, 2.5)
    fitted = DEUP(KNeighborsRegressor(3)).fit(x, y)
    losses = [np.square(fitted.predict(v) - t) for v, t in (near, far)]
    foretold = [fitted.predict_error(v) for v, _ in (near, far)]
    assert 0.4 < np.mean(foretold[0]) / np.mean(losses[0]) < 2.5
    assert np.mean(foretold[1]) > 5 * np.mean(foretold[0])
    assert spearmanr(np.concatenate(foretold), np.concatenate(losses))[0] > 0.4
    np.testing.assert_allclose(fitted.predict_scale(near[0]) ** 2, foretold[0])
    low, high = Normalised().interval((fitted.predict(near[0]), fitted.predict_scale(near[0])), 2.0)
    assert (high > low).all()
    less = DEUP(KNeighborsRegressor(3), noise=0.01).fit(x, y)
    np.testing.assert_allclose(
        less.predict_uncertainty(far[0]), np.maximum(foretold[1] - 0.01, 0.0)
    )


def test_losses_of_seen_rows_foretell_nothing(monkeypatch):
    """The mutant: the predictor is judged on the rows that it was fitted to."""

    def seen(self, X):
        return [(part, part) for part, _ in right(self, X)]

    right = DEUP._parts
    monkeypatch.setattr(DEUP, "_parts", seen)
    rng = np.random.default_rng(0)
    x, y = wave(rng, 300, 0.0, 1.0)
    fitted = DEUP(KNeighborsRegressor(1)).fit(x, y)
    new, truth = wave(rng, 300, 0.0, 1.0)
    loss = np.square(fitted.predict(new) - truth).mean()
    assert np.mean(fitted.predict_error(new)) < 0.1 * loss


def test_a_classifier_with_names_for_classes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = np.where(x[:, 0] + 0.5 * rng.normal(size=200) > 0, "yes", "no")
    fitted = DEUP(KNeighborsClassifier(9)).fit(x, y)
    assert set(fitted.predict(x)) == {"yes", "no"}
    edge, inside = np.zeros((1, 2)), np.array([[2.0, 0.0]])
    assert fitted.predict_error(edge) > fitted.predict_error(inside)
    np.testing.assert_allclose(fitted.predict_proba(x).sum(axis=1), 1.0)
    forest = DEUP(RandomForestClassifier(20, min_samples_leaf=5, random_state=0)).fit(x, y)
    assert forest.predict_error(edge) > forest.predict_error(inside)


def test_bad_input_is_refused():
    rng = np.random.default_rng(0)
    x, y = wave(rng, 40, 0.0, 1.0)
    with pytest.raises(MethodError, match="noise must be a loss of at least 0, got -1"):
        DEUP(LinearRegression(), noise=-1.0).fit(x, y)
    with pytest.raises(MethodError, match="20 rows are too few; at least 32"):
        DEUP(LinearRegression()).fit(x[:20], y[:20])
    with pytest.raises(MethodError, match="predict_proba is for classifiers"):
        DEUP(LinearRegression(), members=2).fit(x, y).predict_proba(x)
    tree = DecisionTreeClassifier()
    with pytest.raises(ArrayError, match=r"y must be \(n, 2\).*got shape \(40,\)"):
        PairCalibrated(tree).fit(x, y > 0)
    with pytest.raises(MethodError, match="must have predict_proba"):
        PairCalibrated(LinearRegression()).fit(x, np.zeros((40, 2)))
    fitted = PairCalibrated(tree).fit(x, rng.integers(0, 2, (40, 2)))
    with pytest.raises(LevelError, match=r"beta must lie in \(0, 1\)"):
        fitted.predict_interval(x, 0.0)


def test_expected_losses_have_the_units_of_y():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (80, 1))
    y = np.sin(4 * x[:, 0]) + 0.1 * rng.normal(size=80)
    one, small = (DEUP(KNeighborsRegressor(3)).fit(x, s * y).predict_error(x) for s in (1, 1e-3))
    np.testing.assert_allclose(small, 1e-6 * one, rtol=1e-6)
    assert one.max() > 1.1 * one.min()


def test_refits_keep_rare_classes():
    x = np.random.default_rng(0).normal(size=(200, 2))
    y = (np.arange(200) % 34 == 0).astype(int)  # six ones
    one, again = (DEUP(LogisticRegression()).fit(x, y).predict_error(x) for _ in range(2))
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, again)


def test_either_response_that_is_missing_is_refused():
    x, pairs = np.zeros((40, 1)), np.arange(80.0).reshape(40, 2) % 2
    for column in (0, 1):
        bad = pairs.copy()
        bad[7, column] = np.nan
        with pytest.raises(ArrayError, match=r"NaN in 1 of 40 rows of y \(the first: 7\)"):
            PairCalibrated(DecisionTreeClassifier()).fit(x, bad)
