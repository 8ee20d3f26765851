"""Jackknife+ and CV+ against the definition by refitting; coverage of the stable design."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.regression.merge import merged_order_stat
from probinf.errors import ArrayError, InfiniteSetWarning


def ridge_fit(X, y, lam):
    a = np.column_stack([X, np.ones(len(X))])
    penalty = np.diag([lam] * X.shape[1] + [0.0])
    beta = np.linalg.solve(a.T @ a + penalty, a.T @ y)
    return lambda t: np.column_stack([t, np.ones(len(t))]) @ beta


def leave_one_out(X, y, T, lam):
    n = len(y)
    mu, r = np.empty((len(T), n)), np.empty(n)
    for i in range(n):
        keep = np.arange(n) != i
        fit = ridge_fit(X[keep], y[keep], lam)
        mu[:, i], r[i] = fit(T), abs(y[i] - fit(X[[i]])[0])
    return mu, r


def data(rng, n=30, m=8, d=3):
    X, T = rng.standard_t(3, size=(n, d)), rng.standard_t(3, size=(m, d))
    return X, X.sum(axis=1) + rng.gamma(1, size=n), T


@pytest.mark.parametrize("lam", [0.0, 0.7])
def test_ridge_jackknife_plus_is_refitting(lam):
    X, y, T = data(np.random.default_rng(0))
    mu, r = leave_one_out(X, y, T, lam)
    alpha = [0.1, 0.25]
    found = pc.jackknife_plus_ridge(X, y, T, ridge=lam, alpha=alpha)
    by_hand = pc.jackknife_plus(mu, r, alpha=alpha)
    assert np.allclose(found.lower, by_hand.lower) and np.allclose(found.upper, by_hand.upper)
    for j, a in enumerate(alpha):  # the definition itself
        k = int(np.ceil((1 - a) * 31 - 1e-9))
        assert np.allclose(found.upper[:, j], np.sort(mu + r, axis=1)[:, k - 1])
        assert np.allclose(found.lower[:, j], np.sort(mu - r, axis=1)[:, 31 - k - 1])
    # mutants: ranks of the two ends swapped; the full model in place of the left-out ones
    assert not np.allclose(found.lower[:, 0], np.sort(mu - r, axis=1)[:, k - 1])
    full = ridge_fit(X, y, lam)(T)[:, None]
    assert not np.allclose(found.upper, pc.jackknife_plus(0 * mu + full, r, alpha=alpha).upper)


def test_kernel_jackknife_plus_is_refitting():
    rng = np.random.default_rng(1)
    X, y, T = data(rng, d=1)
    y = y - y.mean()

    def k(a, b):
        return np.exp(-0.5 * (a - b.T) ** 2)

    n = len(y)
    mu, r = np.empty((len(T), n)), np.empty(n)
    for i in range(n):
        keep = np.arange(n) != i
        weights = np.linalg.solve(k(X[keep], X[keep]) + 0.3 * np.eye(n - 1), y[keep])
        mu[:, i] = k(T, X[keep]) @ weights
        r[i] = abs(y[i] - (k(X[[i]], X[keep]) @ weights)[0])
    found = pc.regression.jackknife_plus_kernel(k(X, X), y, k(X, T), np.ones(len(T)), noise=0.3)
    expected = pc.jackknife_plus(mu, r)
    assert np.allclose(found.lower, expected.lower) and np.allclose(found.upper, expected.upper)


def test_blocks_do_not_change_the_answer(monkeypatch):
    X, y, T = data(np.random.default_rng(2), m=50)
    whole = pc.jackknife_plus_ridge(X, y, T)
    monkeypatch.setattr("probinf.conformal.regression.cross.BLOCK", 7 * 30)
    assert (pc.jackknife_plus_ridge(X, y, T).upper == whole.upper).all()


@pytest.mark.parametrize("ties", [False, True])
def test_cv_plus_is_the_definition(ties):
    rng = np.random.default_rng(3)
    for _ in range(20):
        n, m, folds = int(rng.integers(5, 80)), int(rng.integers(1, 20)), int(rng.integers(2, 6))
        r, mu = rng.exponential(size=n), rng.standard_cauchy(size=(m, folds))
        if ties:
            r, mu = np.round(r), np.round(mu)
        fold = rng.integers(0, folds, n)
        found = pc.cv_plus(mu, r, fold, alpha=[0.2, 0.5])
        expected = pc.jackknife_plus(mu[:, fold], r, alpha=[0.2, 0.5])
        assert np.allclose(found.lower, expected.lower, rtol=1e-12)
        assert np.allclose(found.upper, expected.upper, rtol=1e-12)


def test_merge_with_infinite_residuals_and_far_shifts():
    parts = [np.array([0.0, 1.0, np.inf]), np.array([0.5, np.inf])]
    shifts = np.array([[0.0, 1e6], [1e6, 0.0]])
    union = np.sort(np.concatenate([shifts[:, [0]] + parts[0], shifts[:, [1]] + parts[1]], 1), 1)
    for k in range(1, 7):
        expected = union[:, k - 1] if k <= 5 else np.full(2, np.inf)
        assert np.allclose(merged_order_stat(shifts, parts, k), expected)


def test_minmax_contains_plus():
    X, y, T = data(np.random.default_rng(4))
    mu, r = leave_one_out(X, y, T, 0.1)
    plus, minmax = pc.jackknife_plus(mu, r), pc.regression.jackknife_minmax(mu, r)
    assert (minmax.lower <= plus.lower).all() and (plus.upper <= minmax.upper).all()
    k = pc.calibration.upper_rank(30, 0.1)
    assert np.allclose(minmax.upper, mu.max(axis=1) + np.sort(r)[k - 1])


def test_cv_plus_labels_is_the_definition():
    rng = np.random.default_rng(5)
    s, test, fold = rng.uniform(size=40), rng.uniform(size=(4, 6, 3)), np.arange(40) % 4
    found = pc.labels.cv_plus_labels(s, test, fold, alpha=0.2)
    for j in range(6):
        for k in range(3):
            below = sum(s[i] < test[fold[i], j, k] for i in range(40))
            assert found.mask[j, k] == (below < 0.8 * 41)


def test_after_bootstrap_is_the_definition_and_keeps_lost_points():
    rng = np.random.default_rng(6)
    X, y, T = data(rng, n=25)
    bags = 12
    draws = rng.integers(0, 25, (bags, 25))
    in_bag = np.stack([np.bincount(d, minlength=25) for d in draws])
    in_bag[:, 3] = 1  # in every bag
    fits = [ridge_fit(X[d], y[d], 0.1) for d in draws]
    p, t = np.stack([f(X) for f in fits]), np.stack([f(T) for f in fits])
    found = pc.regression.jackknife_plus_bootstrap(p, in_bag, t, y, alpha=0.2)
    mu, r = np.empty((8, 25)), np.empty(25)
    for i in range(25):
        out = in_bag[:, i] == 0
        mu[:, i] = t[out].mean(axis=0) if out.any() else 0.0
        r[i] = abs(y[i] - p[out, i].mean()) if out.any() else np.inf
    expected = pc.jackknife_plus(mu, r, alpha=0.2)
    assert np.allclose(found.upper, expected.upper) and np.allclose(found.lower, expected.lower)
    in_bag[:] = 1
    with pytest.warns(InfiniteSetWarning, match="25 points are in every bag"):
        assert np.isinf(
            pc.regression.jackknife_plus_bootstrap(p, in_bag, t, y, alpha=0.2).upper
        ).all()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jackknife+", "cv+", "minmax", "bootstrap"])
def test_coverage_on_a_stable_design(method):
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(400):
        X, T = rng.normal(size=(60, 3)), rng.normal(size=(200, 3))
        y, truth = (x.sum(axis=1) + rng.standard_t(3, size=len(x)) for x in (X, T))
        if method == "jackknife+":
            out = pc.jackknife_plus_ridge(X, y, T, ridge=0.1)
        elif method == "bootstrap":
            bags = [rng.integers(0, 60, 60) for _ in range(max(1, rng.binomial(40, 0.37) + 15))]
            fits = [ridge_fit(X[b], y[b], 0.1) for b in bags]
            counts = np.stack([np.bincount(b, minlength=60) for b in bags])
            p, t = np.stack([f(X) for f in fits]), np.stack([f(T) for f in fits])
            out = pc.regression.jackknife_plus_bootstrap(p, counts, t, y)
        else:
            fold = np.arange(60) % 6
            fits = [ridge_fit(X[fold != k], y[fold != k], 0.1) for k in range(6)]
            r = np.array([abs(y[i] - fits[fold[i]](X[[i]])[0]) for i in range(60)])
            mu = np.stack([f(T) for f in fits], axis=1)
            out = (
                pc.cv_plus(mu, r, fold)
                if method == "cv+"
                else pc.regression.jackknife_minmax(mu, r)
            )
        covered.append(out.contains(truth).mean())
    mean = np.mean(covered)
    print(method, mean)
    assert 0.88 <= mean <= 0.93 + (0.04 if method == "minmax" else 0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(residuals=np.array([1.0, -1.0])), "absolute"),
        (dict(residuals=np.array([1.0, np.nan])), "NaN"),
        (dict(folds=np.array([0, 5])), "0..2"),
        (dict(folds=np.array([0.5, 1])), "integers"),
        (dict(fold_predictions=np.ones(3)), "2 axes"),
    ],
)
def test_bad_input(change, match):
    good = dict(fold_predictions=np.ones((4, 3)), residuals=np.ones(2), folds=np.array([0, 2]))
    with pytest.raises(ArrayError, match=match):
        pc.cv_plus(**{**good, **change})


def test_too_few_points_warn():
    with pytest.warns(InfiniteSetWarning, match="at least 9 are needed"):
        out = pc.cv_plus(np.ones((4, 2)), np.ones(5), np.array([0, 1, 0, 1, 0]))
    assert out.infinite_fraction == 1
