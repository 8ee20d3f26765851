"""Ranking metrics, systems, and shrinkage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from probinf import ppi
from probinf.errors import PredictionWarning
from probinf.ppi.evaluation.ranking import METRICS


def plain_metric(r, metric):
    """The textbook definition for one query, in plain Python."""
    hits = [k for k, value in enumerate(r, start=1) if value]
    gains = sum(1 / np.log2(k + 1) for k in hits)
    ideal = sum(1 / np.log2(k + 1) for k in range(1, len(hits) + 1))
    return {
        "precision": len(hits) / len(r),
        "success": float(bool(hits)),
        "mrr": 1 / hits[0] if hits else 0.0,
        "dcg": gains,
        "ndcg": gains / ideal if hits else 0.0,
        "ap": np.mean([(i + 1) / k for i, k in enumerate(hits)]) if hits else 0.0,
    }[metric]


@pytest.mark.parametrize("metric", METRICS)
def test_closed_forms_equal_a_plain_sum_over_patterns(metric):
    p = np.random.default_rng(0).beta(0.5, 0.5, size=(6, 5))
    p[0], p[1, 2] = 0.0, 1.0
    expected = np.zeros(6)
    for pattern in itertools.product([0, 1], repeat=5):
        chance = np.prod(np.where(np.array(pattern) == 1, p, 1 - p), axis=1)
        expected += chance * plain_metric(pattern, metric)
        value = ppi.metric_value([pattern], metric)[0]
        assert abs(value - plain_metric(pattern, metric)) < 1e-15
    np.testing.assert_allclose(ppi.expected_metric(p, metric), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ppi.enumerated_metric(p, metric), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("calibrated", [False, True])
def test_ranking_covers_with_a_distorted_judge(calibrated):
    rng = np.random.default_rng(1)
    hits, width = 0, []
    truth = None
    for i in range(120):
        p = rng.beta(1, 1, size=(800, 4))
        r = (rng.uniform(size=p.shape) < p).astype(float)
        if truth is None:
            truth = ppi.expected_metric(rng.beta(1, 1, size=(400_000, 4)), "mrr").mean()
        found = ppi.ranking(
            p[:60] ** 3, r[:60], p[60:] ** 3, metric="mrr", calibrated=calibrated, key=i
        )
        low, high = found.conf_int()[0]
        hits += low <= truth <= high
        width.append(found.n_eff[0])
    assert 0.81 < hits / 120 < 0.98
    assert np.mean(width) > 65


def test_systems_are_compared_by_rows():
    rng = np.random.default_rng(0)
    skill = np.array([0.0, 0.05, 1.0])
    hardness = 3 * rng.normal(size=(1500, 1))
    y = skill + hardness + 0.3 * rng.normal(size=(1500, 3))
    f = 0.8 * y + 0.3 * rng.normal(size=y.shape)
    found = ppi.compare_systems(y[:100], f[:100], f[100:], names=["a", "b", "c"])
    assert found.ranks[2].tolist() == [1, 1]
    assert found.ranks[0].tolist() == [2, 3] and found.ranks[1].tolist() == [2, 3]
    assert found.differences.bse.max() < 0.5 * found.levels.bse.min()
    assert "rank 1 to 1" in repr(found)


def test_tweedie_is_linear_calibration_for_gaussian_predictions():
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=100_000)
    outcome = prediction + 0.7 * rng.normal(size=100_000)
    found = ppi.unshrink(prediction, outcome)
    at = np.linspace(-1.5, 1.5, 31)
    slopes = [np.polyfit(at, a, 1)[0] for a in (found.linear(at), found.tweedie(at))]
    assert abs(slopes[0] / slopes[1] - 1) < 1e-2
    assert abs(slopes[0] - 1.49) < 0.05


@pytest.mark.slow
def test_corrections_restore_an_effect_that_shrinkage_hides():
    rng = np.random.default_rng(0)
    estimates = {"naive": [], "linear": [], "tweedie": []}
    hits = dict.fromkeys(estimates, 0)
    for i in range(25):
        prediction = rng.gamma(4.0, 0.5, size=800)
        outcome = prediction + 0.6 * rng.normal(size=800)
        correction = ppi.unshrink(prediction[:400], outcome[:400])
        # Treatment moves outcomes by 0.5; predictions of moved outcomes move less.
        arm = rng.uniform(size=400) < 0.5
        moved = prediction[400:] + 0.5 * arm / 1.36
        for method in estimates:
            found = correction.effect(moved[arm], moved[~arm], method=method, draws=30, key=i)
            low, high = found.conf_int()[0]
            hits[method] += low <= 0.5 <= high
            estimates[method].append(found.theta[0])
    assert np.mean(estimates["naive"]) < 0.42
    assert abs(np.mean(estimates["linear"]) - 0.5) < 0.05
    assert hits["linear"] >= 18


def test_weak_predictions_are_named():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    with pytest.warns(PredictionWarning, match="blow errors up"):
        ppi.unshrink(0.1 * y + 0.1 * rng.normal(size=400), y)
