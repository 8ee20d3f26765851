"""The same answers as MAPIE, crepes and venn-abers; skipped where a peer is not installed.

Written against MAPIE 1.6.0, crepes 0.9.1 and venn-abers 1.5.4.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, LeaveOneOut

import probinf.conformal as pc

pytestmark = pytest.mark.filterwarnings("ignore")


def data(n=120, m=30):
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
    return X, X.sum(axis=1) + rng.gamma(1, size=n), T


@pytest.mark.parametrize("method", ["plus", "minmax"])
@pytest.mark.parametrize("cv", [LeaveOneOut(), KFold(7)], ids=["jackknife", "cv"])
def test_mapie_cross(method, cv):
    mapie = pytest.importorskip("mapie.regression")
    X, y, T = data()
    peer = mapie.CrossConformalRegressor(Ridge(), confidence_level=0.9, cv=cv, method=method)
    theirs = peer.fit_conformalize(X, y).predict_interval(T)[1][:, :, 0]
    ours = pc.estimators.CrossRegressor(Ridge(), cv=cv, method=method).fit(X, y)
    assert np.allclose(ours.predict_interval(T)[1][:, :, 0], theirs, atol=1e-6)
    if method == "plus" and isinstance(cv, LeaveOneOut):
        fast = pc.jackknife_plus_ridge(X, y, T, ridge=1.0)
        assert np.allclose(np.stack([fast.lower, fast.upper], 1), theirs, atol=1e-6)


def test_mapie_split_at_many_levels():
    mapie = pytest.importorskip("mapie.regression")
    X, y, T = data()
    levels = np.arange(5, 100, 5) / 100
    model = Ridge().fit(X[:60], y[:60])
    peer = mapie.SplitConformalRegressor(model, confidence_level=list(1 - levels), prefit=True)
    theirs = peer.conformalize(X[60:], y[60:]).predict_interval(T)[1]
    ours = pc.split(pc.Absolute(), model.predict(X[60:]), y[60:], model.predict(T), alpha=levels)
    assert np.allclose(ours.upper, theirs[:, 1], atol=1e-6)


def test_mapie_lac_sets():
    mapie = pytest.importorskip("mapie.classification")
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 2))
    y = np.digitize(X[:, 0] + rng.normal(size=400), [-1, 0, 1])
    model = LogisticRegression().fit(X[:100], y[:100])
    for alpha in (0.05, 0.1, 0.3):
        peer = mapie.SplitConformalClassifier(
            model, confidence_level=1 - alpha, conformity_score="lac", prefit=True
        )
        theirs = peer.conformalize(X[100:300], y[100:300]).predict_set(X[300:])[1][:, :, 0]
        p = model.predict_proba(X)
        ours = pc.split(pc.LAC(), p[100:300], y[100:300], p[300:], alpha=alpha)
        assert np.array_equal(ours.mask, theirs)


def test_crepes_mondrian_and_predictive_systems():
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(2)
    r, mu = rng.standard_t(3, size=200), rng.normal(size=20)
    groups, at = rng.integers(0, 3, 200), rng.integers(0, 3, 20)
    peer = crepes.ConformalRegressor().fit(residuals=r, bins=groups)
    theirs = peer.predict_int(mu, bins=at, confidence=0.9)
    ours = pc.split(pc.Absolute(), 0 * r, r, mu, alpha=0.1, groups_cal=groups, groups_test=at)
    assert np.allclose(np.stack([ours.lower, ours.upper], 1), theirs, atol=1e-6)
    y = mu + rng.normal(size=20)
    system = crepes.ConformalPredictiveSystem().fit(residuals=r)
    score = system.evaluate(mu, y, metrics=["CRPS"])["CRPS"]
    assert np.isclose(pc.predictive_system(0 * r, r, mu).crps(y).mean(), score, atol=1e-6)


def test_venn_abers_package():
    package = pytest.importorskip("venn_abers")
    rng = np.random.default_rng(3)
    s, t = rng.beta(2, 2, size=300), rng.beta(2, 2, size=50)
    y = (rng.uniform(size=300) < s).astype(int)
    peer = package.VennAbers()
    peer.fit(np.column_stack([1 - s, s]), y)
    theirs = peer.predict_proba(np.column_stack([1 - t, t]))[1]
    ours = pc.venn_abers(s, y, t)
    assert np.allclose(np.column_stack([ours.p0, ours.p1]), theirs, atol=1e-6)
