"""Scores: their formulas, their inverses, label sets that are prefixes, messages."""

from __future__ import annotations

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning
from tests.cases.coverage import labels

P = np.array([[0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
U = np.array([0.5, 0.2])


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (pc.LAC(), [[0.9, 0.4, 0.7], [0.75, 0.75, 0.5]]),
        (pc.scores.Margin(), [[0.5, -0.3, 0.3], [0.25, 0.25, -0.25]]),
        (pc.APS(), [[0.95, 0.3, 0.75], [0.55, 0.55, 0.1]]),
        (pc.RAPS(penalty=0.1, free=1), [[1.1, 0.3, 0.8], [0.57, 0.57, 0.1]]),
        (pc.scores.SAPS(penalty=0.1), [[0.75, 0.3, 0.65], [0.52, 0.52, 0.1]]),
        (pc.TopK(), [[2.5, 0.5, 1.5], [1.2, 1.2, 0.2]]),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, list) else "",
)
def test_label_scores_by_hand(score, expected):
    assert np.allclose(score.labels(P, U), expected)
    assert np.allclose(score(P, np.array([0, 2]), U), np.array(expected)[[0, 1], [0, 2]])


@pytest.mark.parametrize("score", [pc.APS(), pc.RAPS(), pc.scores.SAPS(), pc.TopK()], ids=str)
def test_sets_are_prefixes_of_the_sorted_labels(score):
    p, y = labels(np.random.default_rng(0), 600, 8)
    out = pc.split(score, p[:300], y[:300], p[300:], alpha=0.3, key=0)
    ordered = np.take_along_axis(out.mask, np.argsort(-p[300:], axis=1), axis=1)
    assert (np.diff(ordered.astype(int), axis=1) <= 0).all()


def test_one_uniform_number_serves_all_labels():
    # Scores between the mass before and after a label are prefixes whatever u is, and coverage
    # cannot see it either; only the scores themselves show whether u is shared.
    p, _ = labels(np.random.default_rng(0), 300, 8)
    u = np.random.default_rng(1).uniform(size=300)

    def implied(u_columns):
        before = pc.APS(randomised=False).labels(p) - p
        scores = np.stack([pc.APS().labels(p, u_columns[:, k])[:, k] for k in range(8)], axis=1)
        return np.ptp((scores - before) / p, axis=1).max()

    assert implied(np.tile(u[:, None], 8)) < 1e-6
    assert implied(np.random.default_rng(2).uniform(size=(300, 8))) > 0.5  # the broken twin


@pytest.mark.parametrize(
    ("score", "pred"),
    [
        (pc.Absolute(), np.zeros(50)),
        (pc.Normalised(offset=0.5), (np.zeros(50), np.arange(50.0))),
        (pc.Signed(), np.zeros(50)),
        (pc.CQR(), (-np.ones(50), np.ones(50))),
        (pc.CQR(scale="width"), (-np.ones(50), np.ones(50))),
        (pc.CQR(scale="median"), (-np.ones(50), np.full(50, 0.5), np.ones(50))),
        (pc.scores.AsymmetricCQR(), (-np.ones(50), np.ones(50))),
    ],
    ids=str,
)
def test_interval_holds_exactly_the_outcomes_that_score_low(score, pred):
    y = np.random.default_rng(0).standard_t(2, size=50)
    values = np.atleast_2d(score(pred, y).T)
    q = [np.array([[np.median(v)]]) for v in values]
    low, high = score.interval(pred, *q)
    inside = (low[:, 0] <= y + 1e-12) & (y <= high[:, 0] + 1e-12)
    assert (inside == np.all([v <= t + 1e-12 for v, t in zip(values, q, strict=True)], axis=0)
            .ravel()).all()  # fmt: skip


@pytest.mark.parametrize("base", ["RegressionScore", "LabelScore", "DensityScore"])
def test_half_a_score_is_refused(base):
    half = type("Half", (getattr(pc.scores, base),), {})
    with pytest.raises(TypeError, match=r"abstract method"):
        half()


def test_crossed_quantiles_are_reported_not_swapped():
    y = np.linspace(-0.1, 0.1, 50)
    crossed = (np.ones(50), -np.ones(50))
    out = pc.split(pc.CQR(), crossed, y, (np.ones(1), -np.full(1, 9.0)), alpha=0.1)
    assert out.empty_fraction == 1 and out.size()[0] == 0
    with pytest.raises(ArrayError, match="may cross"):
        pc.split(pc.CQR(scale="width"), crossed, y, crossed, alpha=0.1)


def test_empty_sets_can_be_filled():
    p, y = labels(np.random.default_rng(0), 400, 3)
    bare = pc.split(pc.LAC(), p[:200], y[:200], p[200:], alpha=0.6)
    filled = pc.split(pc.LAC(), p[:200], y[:200], p[200:], alpha=0.6, allow_empty=False)
    assert bare.empty_fraction > 0 and filled.empty_fraction == 0
    assert (filled.mask >= bare.mask).all()


def test_clusters_group_labels_that_score_alike():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), [60, 60, 60, 60, 60, 3])
    s = rng.normal(size=y.size) + 5.0 * (y % 2)
    found = pc.labels.cluster_labels(s, y, 6, clusters=2)
    assert found[0] == found[2] == found[4] != found[1] == found[3] and found[5] == 2


def test_unknown_and_small_groups_get_everything():
    with pytest.warns(InfiniteSetWarning, match="groups have too few"):
        out = pc.split(
            pc.Absolute(), np.zeros(30), np.arange(30.0), np.zeros(3), alpha=0.1,
            groups_cal=["a"] * 25 + ["b"] * 5, groups_test=["a", "b", "never seen"],
        )  # fmt: skip
    assert np.isinf(out.upper).tolist() == [False, True, True]


BAD = [
    (dict(y_cal=np.array([0.0, np.nan, 1.0])), r"y holds 1 NaN of 3, the first at \[1\]"),
    (dict(y_cal=np.zeros(4)), "3 rows"),
    (dict(pred_cal=np.zeros((3, 1))), r"shape \(3, 1\); it must have 1 dimension"),
    (dict(pred_cal=["a", "b", "c"]), "does not hold numbers: it holds text"),
    (dict(alpha=90), "strictly between 0 and 1"),
    (dict(groups_cal=np.zeros(3)), "both or neither"),
    (dict(groups_cal=["a", None, "b"], groups_test=["a", "b"]), "None"),
    (dict(y_cal=["1", "2", "3"]), "text"),
    (dict(weights_cal=np.ones(3)), "both or neither"),
    (dict(weights_cal=-np.ones(3), weights_test=np.ones(2)), "nonnegative"),
    (dict(score=pc.Normalised(), pred_cal=(np.zeros(3), np.zeros(3))), "must be positive"),
    (dict(score=pc.CQR()), "tuple"),
    (dict(score=pc.APS(), pred_cal=np.full((3, 2), 0.5), y_cal=np.zeros(3, int)), "pass key="),
    (dict(score=pc.LAC(), pred_cal=np.full((3, 2), 0.7), y_cal=np.zeros(3, int)), "softmax"),
    (dict(score=pc.LAC(), pred_cal=np.full((3, 2), 0.5), y_cal=np.array([0, 1, 2])), "0..1"),
    (dict(score=pc.LAC(), pred_cal=np.full((3, 2), 0.5), y_cal=np.zeros(3)), "integer labels"),
]


@pytest.mark.parametrize(("change", "match"), BAD, ids=[m for _, m in BAD])
def test_bad_input(change, match):
    good = dict(score=pc.Absolute(), pred_cal=np.zeros(3), y_cal=np.zeros(3), alpha=0.5)
    with pytest.raises(ValueError, match=match):
        pc.split(**{**good, "pred_test": np.zeros(2), **change})


def test_summary_says_level_guarantee_and_sizes():
    out = pc.split(pc.Absolute(), np.zeros(99), np.arange(99.0), np.zeros(4), alpha=[0.1, 0.2])
    assert ">= 1-alpha" in out.summary() and "alpha 0.2: width 158" in out.summary()
    assert out.lower.shape == (4, 2) and "Interval" in repr(out)
    empty = pc.split(pc.Absolute(), np.zeros(99), np.arange(99.0), np.empty(0))
    assert "no test points" in empty.summary()
    assert out.clip(low=0.0).lower.min() == 0


def test_mass_of_a_flat_density_does_not_depend_on_the_order_of_the_grid():
    grid = np.tile(np.linspace(0, 1, 101), (40, 1))
    flat = pc.scores.PredictiveDensity(grid, np.zeros((40, 101)))
    assert (pc.scores.HDRMass().on_grid(flat) == 0).all()  # no value is more probable
    steps = pc.scores.PredictiveDensity(grid, np.where(grid < 0.5, 0.0, -1.0))
    scores = pc.scores.HDRMass().on_grid(steps)
    assert np.allclose(scores[0, :50], 0) and np.ptp(scores[0, 50:]) == 0 and scores[0, 60] > 0.7
    out = pc.split(pc.scores.HDRMass(), flat, np.linspace(0, 1, 40), flat)
    assert out.mask.all()
    # the mirror image of a density has the mirror image of its scores
    log_p = -np.random.default_rng(0).exponential(size=(40, 101)).round(1)
    found = pc.scores.HDRMass().on_grid(pc.scores.PredictiveDensity(grid, log_p))
    mirror = pc.scores.HDRMass().on_grid(pc.scores.PredictiveDensity(grid, log_p[:, ::-1]))
    assert np.allclose(found, mirror[:, ::-1])
    half = np.where(grid < 0.5, -np.inf, log_p)
    assert np.isfinite(pc.scores.HDRMass().on_grid(pc.scores.PredictiveDensity(grid, half))).all()
