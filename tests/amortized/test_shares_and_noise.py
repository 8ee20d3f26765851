"""Estimators on tables unlike those of the training: rare classes, many rows, pure noise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer

from probinf.amortized import PFN, GaussianProcess, load
from probinf.amortized.estimators import PFNClassifier, PFNRegressor, scaling
from probinf.amortized.estimators.contexts import balanced, natural, proportional
from probinf.amortized.heads import predictive
from probinf.amortized.pfn import fitted as fitted_file
from probinf.amortized.pfn.fitted import FittedPFN
from probinf.errors import LevelError, MethodError, RangeError, RangeWarning
from tests.cases.tiers import tiers

CELLS, BENIGN = load_breast_cancer(return_X_y=True)


def table(rows: int, share: float, seed: int, queries: int = 150):
    """Rows of the breast cancer data with a given share of malign ones, and others to predict."""
    rng = np.random.default_rng(seed)
    malign, benign = (rng.permutation(np.flatnonzero(k == BENIGN)) for k in (0, 1))
    k, q = round(share * rows), round(share * queries)
    seen = np.concatenate([malign[:k], benign[: rows - k]])
    rest = np.concatenate([malign[k : k + q], benign[rows - k : rows - k + queries - q]])
    return CELLS[seen], 1 - BENIGN[seen], CELLS[rest], 1 - BENIGN[rest]


def log_loss(y, p) -> float:
    return float(-np.mean(np.where(y == 1, np.log(p), np.log1p(-p))))


def test_more_rows_are_no_worse_than_forty() -> None:
    accuracy = {}
    for rows in (40, 45, 100, 400):
        found = []
        for seed in range(3):
            X, y, new, truth = table(rows, 0.37, seed)
            found.append(PFNClassifier("tabular", out_of_range="raise").fit(X, y).score(new, truth))
        accuracy[rows] = np.mean(found)
    assert min(accuracy.values()) > max(0.92, accuracy[40] - 0.03), accuracy


def test_the_nearest_rows_alone_are_one_sided(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: as every query's forty nearest rows are context, so is nearly one class."""
    X, y, new, truth = table(400, 0.37, 0)
    model = PFNClassifier("tabular").fit(X, y)
    order = np.arange(16)
    law = model.network_.predict(
        model.X_[:, order], y, ((new - model.mean_) / model.scale_)[:, order], nearest=40,
        out_of_range="ignore",
    )  # fmt: skip
    assert np.mean(np.argmax(law.probabilities, 1) == truth) < model.score(new, truth) - 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_rare_classes_keep_their_share(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], [36, 4]))
    X, new = rng.normal(size=(40, 8)), rng.normal(size=(150, 8))
    model = PFNClassifier("tabular").fit(X, y)
    p = model.predict_proba(new)[:, 1]
    assert abs(p.mean() - 0.1) < 0.05
    expected = -0.1 * np.log(p).mean() - 0.9 * np.log1p(-p).mean()  # labels that are noise
    assert expected < 0.36  # of the share itself: .325
    cells, labels, rest, truth = table(40, 0.1, seed)
    p = PFNClassifier("tabular").fit(cells, labels).predict_proba(rest)[:, 1]
    assert log_loss(truth, p) < 0.25
    # the mutant: every row as context, shares left to a network that has seen equal ones
    monkeypatch.setattr(FittedPFN, "balanced", False)
    p = model.predict_proba(new)[:, 1]
    assert p.mean() > 0.3
    p = PFNClassifier("tabular").fit(cells, labels).predict_proba(rest)[:, 1]
    assert log_loss(truth, p) > 0.3


def test_contexts_of_labels() -> None:
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], [50, 30, 3])
    rows = balanced(rng, labels, 10, 40)
    assert np.bincount(labels[rows]).tolist() == [4, 4, 4]
    assert set(rows[labels[rows] == 2]) == {80, 81, 82}  # each of the rare, one of them twice
    assert len(set(rows[labels[rows] == 0])) == 4
    assert len(set(balanced(rng, np.repeat([0, 1], 100), 10, 40))) == 40
    assert not natural(labels, 40) and natural(np.repeat([0, 1], [17, 23]), 40)
    rows = proportional(rng, labels, 40)
    assert len(set(rows)) == 40 and np.abs(np.bincount(labels[rows]) - [24, 14.5, 1.5]).max() <= 1
    assert proportional(rng, labels, 100).tolist() == list(range(83))


def test_few_rows_are_named() -> None:
    X, y, new, _ = table(6, 0.5, 0)
    with pytest.raises(RangeError, match="context rows is 6, trained on 10 to 40"):
        PFNClassifier("tabular", out_of_range="raise").fit(X, y)
    with pytest.warns(RangeWarning, match="context rows is 6"):
        PFNClassifier("tabular").fit(X, y).predict_proba(new)


def covered(rows: int, curve, repeats: int = 12) -> float:
    """Share of new outcomes in their 95 % interval."""
    rng, inside = np.random.default_rng(rows), []
    for _ in range(repeats):
        x = rng.uniform(size=(rows + 100, 1))
        y = 50 + 7 * (curve(x[:, 0]) + rng.normal(size=rows + 100))
        model = PFNRegressor(out_of_range="ignore").fit(x[:rows], y[:rows])
        low, high = model.predict_interval(np.clip(x[rows:], *model.X_.min(0), None)).T
        inside.append(np.mean((low < y[rows:]) & (y[rows:] < high)))
    return float(np.mean(inside))


@pytest.mark.parametrize("rows", tiers([10, 20], (10,)))
def test_pure_noise_is_noise(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = covered(rows, lambda x: 0 * x)
    assert right > 0.87
    # the mutant: outcomes of variance one, as if most of it were signal
    from probinf.amortized.estimators import regression

    monkeypatch.setattr(regression, "softmax", lambda scores: (scaling.SCALES == 1).astype(float))
    assert covered(rows, lambda x: 0 * x) < right - 0.04


def test_signals_stay_signals() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(30, 1))
    y = np.sin(6 * x[:, 0]) + 0.1 * rng.normal(size=30)
    mean, sd = PFNRegressor().fit(x, y).predict(x, return_std=True)
    assert np.sqrt(np.mean((mean - np.sin(6 * x[:, 0])) ** 2)) < 0.1 and sd.mean() < 0.25


@pytest.mark.parametrize("y", [np.full(12, 0.1), np.full(12, 1e9), np.array([3.0])])
def test_outcomes_that_do_not_vary_are_refused(y) -> None:
    with pytest.raises(RangeError, match=f"n_samples = {len(y)} rows do not vary"):
        PFNRegressor(out_of_range="ignore").fit(np.linspace(0, 1, len(y))[:, None], y)


def test_half_precision_is_widened() -> None:
    rng = np.random.default_rng(0)
    X = (1000 + rng.normal(size=(40, 3))).astype(np.float16)
    y = (X[:, 0] > 1000).astype(int)
    model, wide = (PFNClassifier("tabular", orders=1).fit(x, y) for x in (X, X.astype(float)))
    np.testing.assert_array_equal(model.predict_proba(X), wide.predict_proba(X.astype(float)))
    x, z = X[:, :1], (3 * X[:, 1]).astype(np.float16)
    found = PFNRegressor(out_of_range="ignore").fit(x, z).predict(x)
    wide = PFNRegressor(out_of_range="ignore").fit(x.astype(float), z.astype(float))
    np.testing.assert_allclose(found, wide.predict(x.astype(float)), rtol=1e-6)


def test_columns_and_levels_are_named_at_once() -> None:
    x = np.linspace(0, 1, 12)[:, None]
    with pytest.raises(MethodError, match="takes 1 columns, X has 3"):
        PFNRegressor().fit(np.repeat(x, 3, axis=1), x[:, 0])
    model = PFNRegressor(out_of_range="ignore").fit(x, np.sin(5 * x[:, 0]))
    with pytest.raises(LevelError, match="levels must lie in"):
        model.predict_quantiles(x, [0.1, 5.0])
    with pytest.raises(MethodError, match="orders must be positive, got 0"):
        PFNClassifier(orders=0).fit(CELLS[:20], BENIGN[:20])


@pytest.mark.parametrize("head", ["mixture", "bars"])
def test_quantiles_compile_once_and_invert_the_mixture(head: str) -> None:
    network = "gp-hyper"
    if head == "bars":
        network = PFN(width=16, layers=1, heads=2, batch=4, queries=4, context=12).fit(
            GaussianProcess(1), key=0, steps=1, progress=False
        )
    x = np.linspace(0, 1, 12)[:, None]
    model = PFNRegressor(network, out_of_range="ignore").fit(x, np.sin(5 * x[:, 0]))
    found = model.predict_quantiles(x, [0.1, 0.5, 0.9])
    assert found.shape == (12, 3) and (np.diff(found, axis=1) > 0).all()
    law = model._law(x)
    z = (found[:, 1] - model.centre_) / model.scale_
    z = np.concatenate([z, np.repeat(z[:1], 4)])
    p = np.sum(law.weights * law.laws.cdf(z / np.asarray(law.scales)), 0)
    np.testing.assert_allclose(p, 0.5, atol=2e-3)
    one = load("gp-hyper").predict(x, np.sin(5 * x[:, 0]), x)
    one.quantile([0.1, 0.9])
    compiled = predictive._quantiles._cached._cache_size()
    for _ in range(3):
        one.quantile([0.2, 0.7])
    assert predictive._quantiles._cached._cache_size() == compiled


def test_local_predictions_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rng = load("gp-hyper"), np.random.default_rng(0)
    x, new = rng.uniform(size=(80, 1)), rng.uniform(size=(150, 1))
    y = np.sin(6 * x[:, 0])
    sizes = []
    inner = fitted_file._local
    monkeypatch.setattr(
        fitted_file, "_local", lambda *args: sizes.append(len(args[-1])) or inner(*args)
    )
    law = network.predict(x, y, new, nearest=20)
    assert max(sizes) <= 64 and sum(sizes) == 256
    one = network.predict(x, y, new[140:141], nearest=20)
    np.testing.assert_allclose(law.mean[140], one.mean[0], atol=1e-5)
