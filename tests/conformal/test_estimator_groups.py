"""Groups, weights, models that came fitted, and sets of labels without a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning, MethodError

E = pc.estimators


def regions(n, seed=0):
    """Two groups of very different spread."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    group = np.where(rng.uniform(size=n) < 0.3, "wild", "calm")
    y = x[:, 0] + np.where(group == "wild", 5.0, 0.5) * rng.normal(size=n)
    return x, y, group


def inside(interval, y):
    return (interval[:, 0, 0] <= y) & (y <= interval[:, 1, 0])


class Known:
    """A model of another framework, which needs no training."""

    def predict(self, X):
        return X[:, 0]


def test_every_group_obeys_the_coverage_law():
    """Given calibration, a group's count is BetaBinomial with that group's own ranks."""
    x, y, group = regions(150_000)
    covered = {"wild": [], "calm": []}
    model = E.SplitRegressor(Known())
    for k in range(300):
        part = slice(500 * k, 500 * k + 500)
        X, Y, G = x[part], y[part], group[part]
        cal = np.concatenate([np.flatnonzero(g == G)[:40] for g in covered])
        new = np.concatenate([np.flatnonzero(g == G)[40:80] for g in covered])
        model.conformalize(X[cal], Y[cal], groups=G[cal])
        hit = inside(model.predict_interval(X[new], alpha=0.2, groups=G[new])[1], Y[new])
        for g, seen in covered.items():
            seen.append(hit[G[new] == g][:40])
    for seen in covered.values():
        assert pc.check_coverage(np.array(seen), alpha=0.2, n=40, level=1e-6).passed


@pytest.mark.parametrize("kind", ["split", "quantile"])
def test_weights_of_a_shift_are_those_of_split(kind):
    x, y, _ = regions(300)
    w = np.exp(x[:, 0])
    if kind == "split":
        model = E.SplitRegressor(LinearRegression()).fit(x[:100], y[:100])
        score, pred = pc.Absolute(), model.predict
    else:
        model = E.QuantileRegressor().fit(x[:100], y[:100])
        score, pred = pc.CQR(), model._quantiles
    model.conformalize(x[100:200], y[100:200], sample_weight=w[100:200])
    found = model.predict_interval(x[200:], alpha=[0.1, 0.3], sample_weight=w[200:])[1]
    expected = pc.split(
        score, pred(x[100:200]), y[100:200], pred(x[200:]),
        alpha=[0.1, 0.3], weights_cal=w[100:200], weights_test=w[200:],
    )  # fmt: skip
    np.testing.assert_array_equal(found, np.stack([expected.lower, expected.upper], axis=1))


def test_weights_in_fit_count_rows():
    x, y, _ = regions(60)
    times = np.random.default_rng(1).integers(0, 3, 60)
    for base in (Ridge(), make_pipeline(StandardScaler(with_std=False, with_mean=False), Ridge())):
        weighted = E.SplitRegressor(base).fit(x, y, sample_weight=times)
        repeated = E.SplitRegressor(base).fit(np.repeat(x, times, 0), np.repeat(y, times))
        np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), rtol=1e-9)
    label = (y > 0).astype(int)
    a = E.SplitClassifier().fit(x, label, sample_weight=times)
    b = E.SplitClassifier().fit(np.repeat(x, times, 0), np.repeat(label, times))
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), atol=1e-4)
    with pytest.raises(MethodError, match=r"KNeighborsRegressor\.fit takes no weights"):
        E.SplitRegressor(KNeighborsRegressor()).fit(x, y, sample_weight=times)


def test_a_fitted_model_is_taken_as_it_is():
    x, y, _ = regions(200)
    model = LinearRegression().fit(x[:50], y[:50])
    wrapped = E.SplitRegressor(model).conformalize(x[50:100], y[50:100])
    assert wrapped.estimator_ is model
    by_hand = E.SplitRegressor(LinearRegression()).fit(x[:50], y[:50])
    by_hand.conformalize(x[50:100], y[50:100])
    for found, expected in zip(
        wrapped.predict_interval(x[100:]), by_hand.predict_interval(x[100:]), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    clone(wrapped)
    scale = LinearRegression().fit(x[:50], abs(y[:50]) + 9)
    E.SplitRegressor(model, difficulty=scale).conformalize(x[50:100], y[50:100])
    with pytest.raises(ArrayError, match="difficulty predicts"):
        E.SplitRegressor(model, difficulty=model).conformalize(x[50:100], y[50:100])
    E.QuantileRegressor(model, scale).conformalize(x[50:100], y[50:100])
    sign = LogisticRegression().fit(x[:50], np.where(y[:50] > 0, "up", "down"))
    for wrapper in (E.SplitClassifier, E.VennAbersClassifier):
        found = wrapper(sign).conformalize(x[50:100], np.where(y[50:100] > 0, "up", "down"))
        assert list(found.classes_) == ["down", "up"] and found.estimator_ is sign


def test_one_side_alone_is_refused():
    x, y, g = regions(100)
    model = E.SplitRegressor(Known()).conformalize(x, y, groups=g)
    with pytest.raises(ArrayError, match="was calibrated with groups=, and the test points have n"):
        model.predict_interval(x)
    model.conformalize(x, y)
    with pytest.raises(ArrayError, match="was calibrated without sample_weight="):
        model.predict_interval(x, sample_weight=np.ones(100))
    with pytest.raises(ArrayError, match="different indexes"):
        E.SplitRegressor().fit(pd.DataFrame(x), y, groups=pd.Series(g, index=range(1, 101)))
    with pytest.raises(ArrayError, match="must hold 100 numbers"):
        model.conformalize(x, y, sample_weight=np.ones((100, 2)))
    labels = E.SplitClassifier(class_conditional=True).fit(x, y > 0)
    labels.conformalize(x, y > 0, groups=g)
    with pytest.raises(MethodError, match="class_conditional"):
        labels.predict_set(x, groups=g)
    with pytest.raises(MethodError, match="isotonic"):
        E.VennAbersClassifier().fit(x, y > 0).conformalize(x, y > 0, groups=g)


def test_a_part_set_aside_keeps_its_groups():
    x, y, g = regions(400)
    for model in (
        E.SplitRegressor(calibration_size=0.5),
        E.QuantileRegressor(calibration_size=0.5),
    ):
        wide = model.fit(x, y, groups=g).predict_interval(x, groups=g)[1]
        width = wide[:, 1, 0] - wide[:, 0, 0]
        assert width[g == "wild"].min() > width[g == "calm"].max()
    sets = E.SplitClassifier(calibration_size=0.5, conformity_score="aps")
    sets.fit(x, y > 0, groups=g, sample_weight=np.ones(400)).predict_set(x, groups=g)
    distribution = E.SplitRegressor(calibration_size=0.5).fit(x, y, groups=g)
    assert distribution.predict_distribution(x, groups=g).interval(0.2).contains(y).mean() > 0.7


def test_cross_within_groups_is_cross_of_each_group():
    x, y, g = regions(120)
    model = E.CrossRegressor(Ridge(), cv=4).fit(x, y, groups=g)
    found = model.predict_interval(x, alpha=[0.1, 0.4], groups=g)[1]
    folds = np.stack([m.predict(x) for m in model.models_], axis=1)
    for name in ("wild", "calm"):
        mine = g == name
        out = pc.cv_plus(folds[mine], model.residuals_[mine], model.folds_[mine], alpha=[0.1, 0.4])
        np.testing.assert_array_equal(found[mine], np.stack([out.lower, out.upper], axis=1))
    with pytest.warns(InfiniteSetWarning, match="no point of the groups"):
        new = model.predict_interval(x[:2], groups=["calm", "new"])[1]
    assert np.isfinite(new[0]).all() and np.isinf(new[1]).all()
    patient = np.arange(120) // 3
    kept = E.CrossRegressor(cv=list(GroupKFold(4).split(x, y, patient))).fit(x, y)
    assert (kept.folds_.reshape(-1, 3) == kept.folds_[::3, None]).all()


def three(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    centres = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    return x, (x @ centres.T + rng.gumbel(size=(n, 3))).argmax(axis=1)


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_cross_sets_are_cv_plus_by_hand(score):
    """Label by label: it stays while fewer than the rank of points conform better."""
    x, y = three(60, 0)
    names = np.array(["red", "green", "blue"])[y]
    model = E.CrossClassifier(cv=3, conformity_score=score).fit(x, names)
    new = three(15, 1)[0]
    labels, sets = model.predict_set(new, alpha=[0.1, 0.3])
    assert set(labels) <= set(names) and sets.shape == (15, 3, 2)
    rule = E.classification.SCORES[score]()
    randomised = rule.randomised
    from probinf.conformal.calibration.randomness import ROUGH, row_uniforms

    p = model.predict_proba(new)
    u = row_uniforms(0, p, bits=ROUGH) if randomised else None
    own = row_uniforms(0, model.probabilities_, salt=1, bits=ROUGH) if randomised else None
    mine = rule(*((model.probabilities_, model.labels_) + ((own,) if randomised else ())))
    for level, alpha in enumerate((0.1, 0.3)):
        rank = int(np.ceil((1 - alpha) * 61 - 1e-9))
        for label in range(3):
            theirs = np.stack(
                [rule.labels(m.predict_proba(new), u)[:, label] for m in model.models_]
            )
            below = (mine[:, None] < theirs[model.folds_]).sum(axis=0)
            np.testing.assert_array_equal(sets[:, label, level], below < rank)


def test_cross_sets_cover_and_take_rare_classes():
    hit = []
    for k in range(60):
        x, y = three(100, k)
        sets = E.CrossClassifier(cv=4).fit(x[:60], y[:60]).predict_set(x[60:], alpha=0.2)[1]
        hit.append(sets[np.arange(40), y[60:], 0])
    assert pc.check_coverage(np.array(hit), alpha=0.2, one_sided=True, level=1e-6).passed
    assert np.mean(hit) < 0.88
    x, y = three(40, 0)
    y = np.append(y[:-1], 7)  # a class of one point: some fold has never seen it
    model = E.CrossClassifier(cv=4, conformity_score="aps").fit(x, y)
    assert model.predict_set(x)[1].shape == (40, 4, 1)
    with pytest.raises(MethodError, match="must be one of"):
        E.CrossClassifier(conformity_score="APSS").fit(x, y)
    forced = E.CrossClassifier(allow_empty=False, cv=3).fit(x, y).predict_set(x, alpha=0.9)[1]
    assert forced.any(axis=1).all()


def test_distributions_within_groups_are_those_of_each_group():
    x, y, g = regions(300)
    cal, new = slice(0, 200), slice(200, 300)
    args = x[cal, 0], y[cal], x[new, 0]
    both = pc.predictive_system(*args, groups_cal=g[cal], groups_test=g[new])
    grid, level = np.linspace(-3, 3, 5)[None], [0.1, 0.5]
    for name in ("wild", "calm"):
        a, b = g[cal] == name, g[new] == name
        one = pc.predictive_system(x[cal, 0][a], y[cal][a], x[new, 0][b])
        np.testing.assert_array_equal(both.cdf(grid)[b], one.cdf(grid))
        np.testing.assert_array_equal(both.quantile(level)[b], one.quantile(level))
        np.testing.assert_array_equal(both.crps(y[new])[b], one.crps(y[new][b]))
        np.testing.assert_array_equal(both.interval(0.2).upper[b], one.interval(0.2).upper)
    assert "within every group" in both.interval(0.2).guarantee
    assert both.sample(0, 3).shape == (100, 3)
    assert ((both.pit(y[new], key=0) > 0) & (both.pit(y[new], key=0) < 1)).all()
    with pytest.raises(ArrayError, match="no calibration point"):
        pc.predictive_system(*args, groups_cal=g[cal], groups_test=np.repeat("new", 100))
    with pytest.raises(ArrayError, match="go together"):
        pc.predictive_system(*args, groups_cal=g[cal])
    bins, theirs = pc.regression.mondrian_bins(x[cal, 0], x[new, 0], bins=4)
    assert np.bincount(bins).tolist() == [50] * 4 and set(theirs) <= set(range(4))
