"""Ordered classes: classical fits, optimal penalised ones, rare classes better told."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from statsmodels.miscmodels.ordinal_model import OrderedModel

from probinf import ppi
from probinf.errors import ArrayError, ConvergenceError, MethodError, TooFewLabelsError
from probinf.ppi.estimators import ordinal
from probinf.ppi.inference import lasso
from tests.ppi.test_estimands import assert_derivative

SLOPES = np.array([[0.8, -0.5, 0.0], [0.8, 0.3, 0.0], [0.8, 0.3, 0.0]])


def drawn(n, seed=0, a=(-1.0, 0.5, 2.0), b=SLOPES):
    """Regressors (n, p), classes 0, 1, ... and their true probabilities."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(n, b.shape[1]))
    below = expit(np.array(a) + x @ b.T)
    chance = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return x, (rng.uniform(size=(n, 1)) > below).sum(axis=1), chance


@functools.cache
def peer():
    x, y, _ = drawn(400)
    return OrderedModel(y, x, distr="logit").fit(method="newton", disp=0, maxiter=100)


def test_where_differences_cost_all_the_fit_is_proportional_odds():
    x, y, _ = drawn(400)
    found = ppi.Presto(penalty=1e9, level=0).fit(x, y)
    np.testing.assert_allclose(found.coef_, [-peer().params[:3]] * 3, atol=1e-5)
    np.testing.assert_allclose(found.predict_proba(x), peer().predict(x), atol=1e-6)
    assert found.fused_.all()
    nothing = ppi.Presto(penalty=1e9).fit(x, y)
    assert not nothing.coef_.any()
    np.testing.assert_allclose(nothing.predict_proba(x)[0], np.bincount(y) / 400, atol=1e-9)


def slopes_by_differences(theta, x, y):
    """Gradient (q,) of the mean minus log probability in thresholds and fused slopes, by hand."""

    def loss(at):
        b = np.cumsum(at[3:].reshape(3, 3), axis=0)
        below = np.pad(expit(at[:3] + x @ b.T), ((0, 0), (1, 1)), constant_values=(0.0, 1.0))
        below[:, 0] = 0.0
        rows = np.arange(len(x))
        return -np.log(below[rows, y + 1] - below[rows, y]).mean()

    eye = 1e-5 * np.eye(len(theta))
    return np.array([(loss(theta + e) - loss(theta - e)) / 2e-5 for e in eye])


@pytest.mark.parametrize("penalty", [0.001, 0.01, 0.04])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_penalised_fit_meets_the_conditions_of_an_optimum(penalty, level):
    x, y, _ = drawn(400)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    found = ppi.Presto(penalty=penalty, level=level).fit(x, y)
    steps = np.diff(found.coef_, axis=0, prepend=0.0)
    np.testing.assert_array_equal(found.fused_, steps[1:] == 0)
    slope = slopes_by_differences(np.append(found.thresholds_, steps), x, y)
    limit = penalty * np.repeat([level, 1.0, 1.0], 3)
    np.testing.assert_allclose(slope[:3], 0, atol=1e-6)
    moving = steps.ravel() != 0
    signed = slope[3:] + limit * np.sign(steps.ravel())
    np.testing.assert_allclose(signed[moving], 0, atol=1e-6)
    assert np.all(np.abs(slope[3:])[~moving] <= limit[~moving] + 1e-6)
    assert moving.any() and (penalty < 0.02 or not moving.all())


def test_quadratics_with_absolute_values_end_at_their_minimum():
    rng = np.random.default_rng(0)
    for _ in range(20):
        root = rng.normal(size=(12, 8))
        H, c = root.T @ root, 5 * rng.normal(size=8)
        penalty = np.where(rng.uniform(size=8) < 0.3, 0.0, 4 * rng.uniform(size=8))
        found = lasso.signed_minimum(H, c, penalty, rng.normal(size=8))
        assert lasso.kkt_gap(H @ found + c, found, penalty).max() < 1e-9


def test_proportional_odds_are_the_classical_fit_and_influence_the_derivative():
    x, y, _ = drawn(400)
    rows, w = {"x": x, "y": y * 1.0}, np.full(400, 1 / 400)
    found = ordinal._proportional("rows", rows, w, np.arange(4.0))
    np.testing.assert_allclose(found.theta[3:], -peer().params[:3], atol=1e-5)
    small = {k: v[:100] for k, v in rows.items()}
    for fit in (ordinal._proportional, ordinal._per_threshold):

        def one(r, v, fit=fit):
            return fit("rows", r, v, np.arange(4.0))

        assert_derivative(one, small, one(small, np.full(100, 0.01)).influence, tolerance=1e-4)


def test_slopes_by_threshold_are_logistic_regressions():
    x, y, _ = drawn(400)
    rows = {"x": pd.DataFrame(x, columns=list("abc")), "y": y}
    found = ppi.ordinal(rows, {"y": y}, rows, proportional=False, tune=None)
    for k in range(3):
        alone = LogisticRegression(C=np.inf, tol=1e-10).fit(x, y <= k)
        np.testing.assert_allclose(found.theta[3 + 3 * k : 6 + 3 * k], alone.coef_[0], atol=1e-4)
    assert found.names[:5] == ("y<=0", "y<=1", "y<=2", "a | y<=0", "b | y<=0")


def split(n, N, seed):
    """Few true classes, many wrong in a way that depends on x."""
    x, y, _ = drawn(n + N, seed)
    rng = np.random.default_rng(seed + 1000)
    guess = np.clip(y + (rng.uniform(size=n + N) < 0.1 + 0.1 * (x[:, 0] > 0)), 0, 3)
    return {"x": x[:n], "y": y[:n]}, {"y": guess[:n]}, {"x": x[n:], "y": guess[n:]}


def test_predictions_narrow():
    rows = split(300, 3000, 0)
    alone, found = (ppi.ordinal(*rows, tune=t) for t in (None, "matrix"))
    assert np.all(found.bse < 0.75 * alone.bse)


def test_classes_are_ordered_as_told():
    x, y, _ = drawn(200)
    words = np.array(["poor", "fair", "good", "fine"])
    told = pd.Series(pd.Categorical(words[y], categories=list(words), ordered=True))
    found, plain = (ppi.Presto(penalty=0.01).fit(x, k) for k in (told, y))
    np.testing.assert_array_equal(found.coef_, plain.coef_)
    assert list(found.predict(x[:5])) == list(words[plain.predict(x[:5])])


def test_penalties_are_chosen_by_held_out_rows():
    x, y, _ = drawn(150)
    found = ppi.Presto(path=8, folds=3).fit(x, y)
    assert found.penalty_ == found.penalties_[np.argmin(found.losses_)]
    again = ppi.Presto(penalty=found.penalty_).fit(x, y)
    np.testing.assert_allclose(again.coef_, found.coef_, atol=1e-6)
    top = ppi.Presto(penalty=found.penalties_[0] * (1 - 1e-4)).fit(x, y)
    assert top.coef_.any() and not ppi.Presto(penalty=found.penalties_[0]).fit(x, y).coef_.any()


def test_bad_input_is_named():
    x, y, _ = drawn(100)
    rows = {"x": x, "y": y}
    for error, match, call in (
        (ArrayError, "have no order", lambda: ppi.Presto().fit(x, y.astype(str))),
        (ArrayError, "2 class", lambda: ppi.Presto().fit(x, y > 1)),
        (ArrayError, "missing", lambda: ppi.Presto().fit(x, np.where(y > 1, y, np.nan))),
        (ArrayError, "100 rows need", lambda: ppi.Presto().fit(x, y[:50])),
        (TooFewLabelsError, "one row", lambda: ppi.Presto().fit(x, np.append(y[:-1], 9))),
        (MethodError, "not fitted", lambda: ppi.Presto().predict_proba(x)),
        (ArrayError, "none of the classes", lambda: ppi.ordinal(rows, {"y": y + 0.5}, rows)),
        (TooFewLabelsError, "no row of class 3", lambda: ppi.ordinal(rows, {"y": y % 3}, rows)),
        (ConvergenceError, "separates", lambda: ppi.ordinal(
            {"x": y[:, None] * 1.0, "y": y}, {"y": y}, {"x": y[:, None] * 1.0, "y": y}, tune=None)),
        (ConvergenceError, "no finite", lambda: ppi.Presto(penalty=0).fit(y[:, None] * 1.0, y)),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            call()


def errors_of_rare_probabilities(seed):
    """Root mean squared errors of a rare class's probability: PRESTO, proportional, alone."""
    rng = np.random.default_rng(seed + 100)
    first = rng.choice([-0.5, 0.5], size=10)
    change = rng.choice([-0.5, 0.5], size=10) * (rng.uniform(size=10) < 1 / 3)
    b = np.stack([first, first + change])
    x, y, _ = drawn(2500, seed, (0.0, 4.5), b)
    new, _, chance = drawn(10_000, seed + 1, (0.0, 4.5), b)
    fits = (
        ppi.Presto().fit(x, y).predict_proba(new)[:, 2],
        ppi.Presto(penalty=1e6, level=0).fit(x, y).predict_proba(new)[:, 2],
        LogisticRegression(C=np.inf, max_iter=1000).fit(x, y == 2).predict_proba(new)[:, 1],
    )
    return [np.sqrt(np.mean((p - chance[:, 2]) ** 2)) for p in fits]


@pytest.mark.slow
def test_rare_classes_are_told_better_than_by_proportional_odds_or_alone():
    found = np.array([errors_of_rare_probabilities(10 * seed) for seed in range(20)])
    print("mean RMSE: PRESTO, proportional odds, logistic regression", found.mean(axis=0))
    print("better in", (found[:, :1] < found[:, 1:]).sum(axis=0), "of 20")
    assert np.all(found[:, 0].mean() < found[:, 1:].mean(axis=0))
    assert np.all((found[:, :1] < found[:, 1:]).sum(axis=0) >= 10)


def coverage(runs=200):
    """Shares of 90 % intervals that hold the least false slopes, with either likelihood."""
    x, y, _ = drawn(400_000, 999)
    rows = {"x": x, "y": y}
    truth = [
        ppi.ordinal(rows, {"y": y}, rows, tune=None, proportional=k).theta for k in (True, False)
    ]
    hits = [np.zeros(len(t)) for t in truth]
    for seed in range(runs):
        sample = split(300, 3000, seed)
        for k, true in enumerate(truth):
            limits = ppi.ordinal(*sample, proportional=k == 0).conf_int()
            hits[k] += (limits[:, 0] <= true) & (true <= limits[:, 1])
    return [h / runs for h in hits]


@pytest.mark.slow
def test_intervals_cover_where_odds_are_not_proportional():
    for found in coverage():
        print("coverage of 90 % intervals", found)
        assert np.all(found > 0.83)  # three standard errors below 0.9
