"""scikit-learn estimators on networks that were trained for a moment."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probinf.amortized import PFN, GaussianProcess, Tabular
from probinf.amortized.estimators import PFNClassifier, PFNRegressor
from probinf.errors import MethodError

SMALL = {"width": 32, "layers": 2, "heads": 2, "batch": 8}


@pytest.fixture(scope="module")
def labels_network():
    shape = PFN(**SMALL, context=30, smallest=10, queries=8, standardise=True)
    return shape.fit(Tabular(4, hidden=8), key=0, steps=250, learning_rate=3e-3, progress=False)


@pytest.fixture(scope="module")
def values_network():
    shape = PFN(**SMALL, context=12, queries=8)
    return shape.fit(GaussianProcess(1), key=0, steps=20, learning_rate=1e-3, progress=False)


def two_groups(columns: int, rows: int = 30):
    rng = np.random.default_rng(0)
    y = np.repeat(["no", "yes"], rows // 2)
    X = rng.normal(size=(rows, columns))
    X[:, 0] += 3 * (y == "yes")
    order = rng.permutation(rows)
    return X[order], y[order]


def test_a_classifier_learns_from_its_context(labels_network):
    X, y = two_groups(3, 60)
    model = PFNClassifier(labels_network, orders=3, out_of_range="ignore").fit(X[:30], y[:30])
    p = model.predict_proba(X[30:])
    assert list(model.classes_) == ["no", "yes"]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert model.score(X[30:], y[30:]) >= 0.8  # the better of two coins has 0.5
    swapped = np.where(y == "yes", "no", "yes")  # only the names of the classes change
    other = clone(model).fit(X[:30], swapped[:30]).predict_proba(X[30:])
    assert np.mean((other[:, 0] > 0.5) == (p[:, 1] > 0.5)) >= 0.8


def test_more_columns_than_the_network_takes_are_seen_in_turn(labels_network):
    X, y = two_groups(9)
    model = PFNClassifier(labels_network, orders=1, out_of_range="ignore").fit(X, y)
    p = model.predict_proba(X)
    assert p.shape == (30, 2) and (np.abs(np.diff(p)) > 0.05).any()
    constant = np.insert(X, 3, 7.0, axis=1)  # carries nothing, takes no place
    np.testing.assert_allclose(clone(model).fit(constant, y).predict_proba(constant), p)


def test_the_shipped_network_separates_and_knows_ignorance():
    X, y = two_groups(20, 60)
    X = X + 1.2 * (y == "yes")[:, None]  # redundant columns, as in most tables
    model = PFNClassifier("tabular", orders=2).fit(X[:30], y[:30])
    assert model.score(X[30:], y[30:]) >= 0.9
    noise = np.random.default_rng(1).normal(size=(60, 20))
    p = model.fit(noise[:30], y[:30]).predict_proba(noise[30:])
    assert np.abs(p[:, 0] - 0.5).mean() < 0.15


def test_estimators_work_in_pipelines(labels_network):
    X, y = two_groups(3)
    model = PFNClassifier(labels_network, orders=1, out_of_range="ignore")
    scores = cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=2)
    assert scores.shape == (2,)


def test_a_regressor_keeps_units(values_network):
    rng = np.random.default_rng(1)
    X = rng.uniform(size=(12, 1))
    y = np.sin(4 * X[:, 0])
    model = PFNRegressor(values_network, out_of_range="ignore").fit(X, y)
    moved = clone(model).fit(10 + 5 * X, 100 + 7 * y)
    mean, sd = model.predict(X, return_std=True)
    other, spread = moved.predict(10 + 5 * X, return_std=True)
    np.testing.assert_allclose(other, 100 + 7 * mean, rtol=1e-4)
    np.testing.assert_allclose(spread, 7 * sd, rtol=1e-3)
    low, high = model.predict_interval(X, 0.8).T
    assert (low < high).all()


def test_wrong_networks_and_data_are_named(labels_network, values_network):
    X, y = two_groups(3)
    with pytest.raises(MethodError, match="for labels"):
        PFNClassifier(values_network).fit(X, y)
    with pytest.raises(MethodError, match="real outcomes"):
        PFNRegressor(labels_network).fit(X, np.arange(30.0))
    with pytest.raises(MethodError, match="2 classes, the data have 3"):
        PFNClassifier(labels_network).fit(X, np.arange(30) % 3)
    with pytest.raises(MethodError, match="must be positive"):
        PFNClassifier(labels_network, orders=0).fit(X, y)
    for model in (PFNClassifier(labels_network), PFNRegressor(values_network)):
        with pytest.raises(NotFittedError):
            model.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        PFNRegressor(values_network).fit(X * np.nan, np.arange(30.0))
