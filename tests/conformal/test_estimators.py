"""scikit-learn's own checks, shapes, coverage, and the order of the verbs."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csr_array
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning, MethodError

E = pc.estimators
ALL = [
    E.SplitRegressor(),
    E.SplitRegressor(calibration_size=0.25),
    E.QuantileRegressor(),
    E.CrossRegressor(),
    E.CrossClassifier(),
    E.SplitClassifier(),
    E.SplitClassifier(calibration_size=0.3),
    E.VennAbersClassifier(calibration_size=0.3),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", ALL, ids=str)
def test_check_estimator(estimator):
    apart = getattr(estimator, "calibration_size", None) is not None
    why = "which rows are set aside depends on their number"
    names = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    check_estimator(estimator, expected_failed_checks=dict.fromkeys(names, why) if apart else {})


@pytest.mark.filterwarnings("ignore")
def test_check_estimator_on_the_plainest():
    check_estimator(E.SplitRegressor())


def diabetes(seed=0):
    X, y = load_diabetes(return_X_y=True)
    return train_test_split(X, y, test_size=0.4, random_state=seed)


@pytest.mark.parametrize(
    "estimator",
    [
        E.SplitRegressor(Ridge(0.01), calibration_size=0.4),
        E.SplitRegressor(
            Ridge(0.01), difficulty=RandomForestRegressor(20, random_state=0), calibration_size=0.4
        ),
        E.QuantileRegressor(calibration_size=0.4),
        E.CrossRegressor(Ridge(0.01)),
        E.CrossRegressor(Ridge(0.01), method="minmax"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_intervals_on_diabetes(estimator):
    X, Xt, y, yt = diabetes()
    mu, iv = estimator.fit(X, y).predict_interval(Xt, alpha=[0.1, 0.3])
    assert mu.shape == yt.shape and iv.shape == (yt.size, 2, 2)
    covered = ((iv[:, 0] <= yt[:, None]) & (yt[:, None] <= iv[:, 1])).mean(axis=0)
    # four standard deviations of test and calibration together
    assert covered[0] > 0.9 - 4 * np.sqrt(0.09 * (1 / 106 + 1 / 177))
    assert covered[1] < covered[0]


@pytest.mark.parametrize("difficulty", [None, RandomForestRegressor(5, random_state=0)])
@pytest.mark.parametrize("tails", [1, 2])
def test_any_score_serves_the_regressor_as_it_serves_split(difficulty, tails):
    class Own(pc.scores.RegressionScore):
        def __call__(self, pred, y):
            mu, sigma = (pred, 1.0) if difficulty is None else pred
            gap = (y - mu) / sigma
            return np.arctan(abs(gap)) if tails == 1 else np.stack([-gap, gap], axis=1)

        def interval(self, pred, *q):
            mu, sigma = (pred, np.ones(len(pred))) if difficulty is None else pred
            mu, sigma, q = mu[:, None], sigma[:, None], np.tan(q) if tails == 1 else q
            return mu - q[0] * sigma, mu + q[-1] * sigma

    Own.tails = tails
    X, Xt, y, _ = diabetes()
    model = E.SplitRegressor(Ridge(0.01), difficulty=difficulty, conformity_score=Own())
    model.fit(X[:150], y[:150]).conformalize(X[150:], y[150:])

    def pred(x):
        mu = model.estimator_.predict(x)
        return mu if difficulty is None else (mu, model._scale(x))

    expected = pc.split(Own(), pred(X[150:]), y[150:], pred(Xt), alpha=[0.1, 0.3])
    found = model.predict_interval(Xt, alpha=[0.1, 0.3])[1]
    assert (found == np.stack([expected.lower, expected.upper], axis=1)).all()


def test_conformalize_and_distribution():
    X, Xt, y, yt = diabetes()
    model = E.SplitRegressor(Ridge(0.01)).fit(X[:150], y[:150])
    with pytest.raises(NotFittedError, match="conformalize"):
        model.predict_interval(Xt)
    model.conformalize(X[150:], y[150:])
    distribution = model.predict_distribution(Xt)
    assert distribution.crps(yt).mean() < np.abs(yt - model.predict(Xt)).mean()
    inside = distribution.interval(0.2).contains(yt).mean()
    assert abs(inside - 0.8) < 4 * np.sqrt(0.16 * (1 / 115 + 1 / 177))
    with pytest.warns(InfiniteSetWarning):
        model.conformalize(X[:5], y[:5]).predict_interval(Xt, alpha=0.1)


@pytest.mark.parametrize("score", ["lac", "aps", "raps", "saps", "topk", "margin"])
def test_sets_on_digits(score):
    X, y = load_digits(return_X_y=True)
    X, Xt, y, yt = train_test_split(X / 16, y, test_size=0.3, random_state=0)
    model = E.SplitClassifier(
        LogisticRegression(C=0.01, max_iter=500), conformity_score=score, calibration_size=0.4
    )
    labels, sets = model.fit(X, y).predict_set(Xt, alpha=[0.1, 0.2])
    assert sets.shape == (yt.size, 10, 2) and labels.shape == yt.shape
    covered = sets[np.arange(yt.size), yt].mean(axis=0)
    assert abs(covered[0] - 0.9) < 4 * np.sqrt(0.09 * (1 / 503 + 1 / 540)) or score == "topk"


def test_class_conditional_and_names_as_labels():
    data = load_wine()
    names = data.target_names[data.target]
    base = make_pipeline(StandardScaler(), LogisticRegression())
    model = E.SplitClassifier(base, class_conditional=True, calibration_size=0.5)
    labels, sets = model.fit(data.data, names).predict_set(data.data, alpha=0.1)
    assert set(labels) <= set(names) and sets.shape == (178, 3, 1)
    with pytest.raises(ArrayError, match="not in the training data"):
        model.conformalize(data.data, np.repeat("unheard of", 178))
    with pytest.raises(MethodError, match="conformity_score"):
        E.SplitClassifier(base, conformity_score="x", calibration_size=0.5).fit(
            data.data, names
        ).predict_set(data.data)


def test_venn_abers_probabilities_and_search():
    X, y = load_digits(n_class=3, return_X_y=True)
    search = GridSearchCV(
        E.VennAbersClassifier(LogisticRegression(max_iter=500), calibration_size=0.3),
        {"estimator__C": [0.01, 0.1]},
        cv=2,
    )
    p = search.fit(X / 16, y).predict_proba(X / 16)
    assert np.allclose(p.sum(axis=1), 1) and search.best_score_ > 0.9


def test_pictures():
    X, _, y, _ = diabetes()
    order = X[:, 2]
    out = pc.jackknife_plus_ridge(X, y, X, ridge=0.1, alpha=[0.1, 0.2])
    axis = pc.plot_intervals(out, order, y)
    assert "covered" in axis.get_title()
    assert pc.plot_sizes(out).get_xlabel() == "width"
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    sets = pc.split(pc.LAC(), p[:30], np.zeros(30, int), p[30:])
    assert "labels" in pc.plot_sizes(sets).get_xlabel()
    groups = np.where(order > 0, "high", "low")
    axis = pc.plot_group_coverage(out.contains(y)[:, 0], groups, alpha=0.1)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["high", "low"]
    track = pc.track(pc.ACI(), np.random.default_rng(0).exponential(size=(2, 300)))
    assert len(pc.plot_online(track).lines) == 3
    import matplotlib.pyplot as plt

    plt.close("all")


def housing(n=300):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=n), "town": rng.choice(["x", "y", "z"], n)})
    price = frame["size"] + (frame["town"] == "x") + rng.normal(size=n)
    return frame, price.set_axis(rng.permutation(n))  # an index that must not matter


def on_columns(model):
    columns = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["town"]))
    return make_pipeline(columns, model)


@pytest.mark.parametrize(
    "estimator",
    [
        E.SplitRegressor(on_columns(Ridge()), calibration_size=0.4),
        E.SplitRegressor(on_columns(Ridge()), difficulty=on_columns(Ridge()), calibration_size=0.4),
        E.QuantileRegressor(on_columns(Ridge()), on_columns(Ridge()), calibration_size=0.4),
        E.CrossRegressor(on_columns(Ridge())),
    ],
    ids=lambda e: type(e).__name__,
)
def test_data_frames_reach_the_pipeline_with_their_columns(estimator):
    X, y = housing()
    _, interval = estimator.fit(X[:200], y[:200]).predict_interval(X[200:], 0.2)
    inside = (interval[:, 0, 0] <= y[200:]) & (y[200:] <= interval[:, 1, 0])
    assert 0.65 < inside.mean() < 0.95
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(X.rename(columns={"size": "area"}))
    with pytest.raises(ValueError, match="inconsistent"):
        estimator.fit(X[:200], y[:199])


@pytest.mark.parametrize("state", [0, None, np.random.RandomState(0)], ids=str)
def test_frames_of_a_classifier_and_any_random_state(state):
    np.random.seed(0)  # what None draws from
    X, y = housing()
    label = np.where(y > 0.5, "dear", "cheap")
    model = E.SplitClassifier(
        on_columns(LogisticRegression()),
        conformity_score="aps",
        calibration_size=0.4,
        random_state=state,
    )
    _, sets = model.fit(X[:200], label[:200]).predict_set(X[200:], 0.2)
    column = np.searchsorted(model.classes_, label[200:])
    assert sets[np.arange(100), column, 0].mean() > 0.65


def test_missing_values_that_the_model_can_take():
    X, y = housing()
    x = X[["size"]].to_numpy().copy()
    x[::7] = np.nan
    model = E.SplitRegressor(HistGradientBoostingRegressor(max_iter=5), calibration_size=0.4)
    assert np.isfinite(model.fit(x, y).predict_interval(x)[1]).all()
    with pytest.raises(ValueError, match="NaN"):
        E.SplitRegressor(Ridge()).fit(x, y)
    imputed = make_pipeline(SimpleImputer(), Ridge())
    for estimator in (
        E.SplitRegressor(imputed, difficulty=imputed, calibration_size=0.4),
        E.QuantileRegressor(imputed, imputed, calibration_size=0.4),
        E.CrossRegressor(imputed),
    ):
        assert np.isfinite(estimator.fit(x, y).predict_interval(x)[1]).all()
    classes = make_pipeline(SimpleImputer(), LogisticRegression())
    model = E.SplitClassifier(classes, calibration_size=0.4).fit(x, y > 0)
    assert model.predict_set(x)[1].shape == (300, 2, 1)


@pytest.mark.parametrize("form", [np.asarray, list, pd.Series, lambda t: np.asarray(t, object)])
def test_texts_reach_the_model_that_reads_them(form):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    texts = [f"word{k} word{rng.integers(9)}" for k in y]
    x = form(texts)
    for model in (
        E.SplitRegressor(make_pipeline(TfidfVectorizer(), Ridge()), calibration_size=0.4),
        E.CrossRegressor(make_pipeline(TfidfVectorizer(), Ridge())),
    ):
        assert np.isfinite(model.fit(x, y + 0.0).predict_interval(x)[1]).all()
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model = E.SplitClassifier(reader, calibration_size=0.4).fit(x, y)
    assert model.predict_set(x)[1][np.arange(200), y].mean() > 0.8


@pytest.mark.parametrize("form", [csr_array, coo_array])
def test_sparse_matrices_reach_the_model(form):
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(200, 5)) * (rng.uniform(size=(200, 5)) < 0.3)
    y = dense @ np.arange(5.0) + 0.1 * rng.normal(size=200)
    for model in (
        E.SplitRegressor(Ridge(), difficulty=Ridge(), calibration_size=0.4),
        E.CrossRegressor(Ridge(), method="minmax"),
    ):
        sparse, full = (model.fit(x, y).predict_interval(x)[1] for x in (form(dense), dense))
        assert np.allclose(sparse, full, atol=1e-2)


def three_classes(n=1200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    centres = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    y = (2 * x @ centres.T + rng.gumbel(size=(n, 3))).argmax(axis=1)
    return x, np.array(["red", "green", "blue"])[y]


@pytest.mark.parametrize("way", ["fit", "conformalize"])
def test_a_frozen_model_keeps_its_own_classes(way):
    x, y = three_classes()
    frozen = FrozenEstimator(LogisticRegression().fit(x[:400], y[:400]))
    two = np.flatnonzero((np.arange(1200) >= 400) & (y != "red"))
    if way == "fit":
        model = E.SplitClassifier(frozen, calibration_size=0.5).fit(x[two], y[two])
    else:
        model = E.SplitClassifier(frozen).fit(x[two], y[two]).conformalize(x[two], y[two])
    assert list(model.classes_) == ["blue", "green", "red"]
    _, sets = model.predict_set(x[two])
    column = np.searchsorted(model.classes_, y[two])
    covered = sets[np.arange(two.size), column, 0].mean()
    assert 0.85 < covered < 0.95 and sets.sum(axis=1).mean() < 1.3
    venn = E.VennAbersClassifier(frozen, calibration_size=0.5)
    with pytest.raises(ArrayError, match=r"lack .*red"):
        venn.fit(x[two], y[two])
    assert not hasattr(venn, "labels_")  # what failed has calibrated nothing
    with pytest.raises(ArrayError, match="whose classes are"):
        model.conformalize(x[two], np.repeat("black", two.size))


def test_classes_in_any_order():
    class Backwards(LogisticRegression):
        def fit(self, X, y):
            super().fit(X, y)
            self.classes_ = self.classes_[::-1]
            return self

        def predict_proba(self, X):
            scores = np.exp(X @ self.coef_.T + self.intercept_)
            return (scores / scores.sum(axis=1, keepdims=True))[:, ::-1]

    x, y = three_classes()
    model = E.SplitClassifier(Backwards(), calibration_size=0.5).fit(x[:800], y[:800])
    _, sets = model.predict_set(x[800:])
    column = [list(model.classes_).index(label) for label in y[800:]]
    assert sets[np.arange(400), column, 0].mean() > 0.85 and sets.sum(axis=1).mean() < 1.7


@pytest.mark.parametrize(
    "estimator",
    [
        E.SplitRegressor(DummyRegressor(strategy="constant", constant=1.1), calibration_size=0.4),
        E.QuantileRegressor(
            DummyRegressor(strategy="constant", constant=1.0),
            DummyRegressor(strategy="constant", constant=1.3),
            calibration_size=0.4,
        ),
        E.CrossRegressor(DummyRegressor(strategy="constant", constant=1.1)),
        E.CrossRegressor(DummyRegressor(strategy="constant", constant=1.1), method="minmax"),
        E.CrossRegressor(DummyRegressor(strategy="constant", constant=1.1), method="base"),
        E.CrossRegressor(DummyRegressor(), cv=10),
    ],
    ids=str,
)
def test_decimal_outcomes_with_ties(estimator):
    y = np.random.default_rng(0).choice([0.1, 1.1, 3.4], 600, p=[0.75, 0.2, 0.05])
    x = np.zeros((600, 1))
    interval = estimator.fit(x[:300], y[:300]).predict_interval(x[300:])[1][..., 0]
    assert ((interval[:, 0] <= y[300:]) & (y[300:] <= interval[:, 1])).mean() > 0.85
