"""Mistakes of a first hour with conformal estimators are named at once."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression

from probinf.conformal import estimators as E
from probinf.errors import MethodError

X = np.linspace(-1, 1, 40)[:, None]
LABELS = (X[:, 0] + 0.3 * np.sin(50 * X[:, 0]) > 0).astype(int)


def test_a_misspelt_score_is_named_by_fit():
    with pytest.raises(MethodError, match=r"must be one of .*'aps'.*got 'APSS'"):
        E.SplitClassifier(conformity_score="APSS").fit(X, LABELS)
    with pytest.raises(MethodError, match="must be a score object"):
        E.SplitRegressor(conformity_score="absolute").fit(X, X[:, 0])


@pytest.mark.parametrize(
    ("wrapper", "model", "y"),
    [
        (E.SplitClassifier, LogisticRegression(), LABELS),
        (E.SplitRegressor, LinearRegression(), X[:, 0]),
    ],
)
def test_a_fitted_model_gets_its_remedy(wrapper, model, y):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        wrapper(model).conformalize(X, y)
    model.fit(X, y)
    with pytest.raises(NotFittedError, match=r"call conformalize\(X, y\)"):
        wrapper(model).predict(X)
    wrapper(model).conformalize(X, y)
    wrapper(FrozenEstimator(model)).fit(X, y).conformalize(X, y)


@pytest.mark.parametrize(
    ("model", "y", "predict"),
    [
        (E.SplitRegressor(), X[:, 0], "predict_interval"),
        (E.SplitRegressor(), X[:, 0], "predict_distribution"),
        (E.QuantileRegressor(), X[:, 0], "predict_interval"),
        (E.SplitClassifier(), LABELS, "predict_set"),
    ],
)
def test_a_new_fit_needs_a_new_calibration(model, y, predict):
    """The old one was of another model: intervals of its width covered next to nothing."""
    getattr(model.fit(X, y).conformalize(X, y), predict)(X)
    model.fit(X, 100 * y)
    model.predict(X)
    with pytest.raises(NotFittedError, match=r"not calibrated: call conformalize"):
        getattr(model, predict)(X)
    getattr(model.conformalize(X, 100 * y), predict)(X)


def test_a_new_fit_drops_the_probabilities_of_the_old_calibration():
    model = E.VennAbersClassifier().fit(X, LABELS).conformalize(X, LABELS)
    model.fit(X, 1 - LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), model.estimator_.predict_proba(X))


@pytest.mark.parametrize("rare", [4, 1])
def test_a_rare_class_is_spread_over_the_folds_of_cross_sets(rare):
    """Sorted labels, fewer of one class than folds: folds in order would train on one class."""
    labels = np.repeat(["a", "b"], [60, rare])
    x = np.random.default_rng(0).normal(size=(60 + rare, 2)) + (labels == "b")[:, None]
    model = E.CrossClassifier().fit(x, labels)
    assert np.unique(model.folds_[labels == "b"]).size == rare
    assert np.ptp(np.bincount(model.folds_)) <= 1
    assert model.predict_set(x)[1].shape == (60 + rare, 2, 1)
    if rare == 1:  # held out, it is a class that its fold has never seen
        np.testing.assert_array_equal(model.probabilities_[-1], [1, 0])
