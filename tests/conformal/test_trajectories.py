"""Whole trajectories: the coverage law of split conformal, for all steps at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

import probinf.conformal as pc
from probinf.errors import ArrayError, CalibrationError, InfiniteSetWarning, MethodError

H = 6


def series(rng, n):
    """Random walks whose steps grow."""
    return np.cumsum(rng.normal(size=(n, H)) * np.arange(1, H + 1), axis=1)


def coverage_law(shape, runs=120, n=60, m=200):
    """How often all steps of a test series lie inside, against its exact law; mean width."""
    covered, width = [], []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        out = pc.regression.trajectories(
            np.zeros((n, H)), series(rng, n), np.zeros((m, H)), alpha=0.2, shape=shape, key=seed
        )
        covered.append(out.contains(series(rng, m)).sum())
        width.append((out.upper - out.lower)[0].mean())
    left = n if shape == "flat" else n - int(0.4 * n)
    k = int(pc.calibration.upper_rank(left, 0.2))
    law = betabinom(m, k, left + 1 - k)
    assert abs(np.mean(covered) - law.mean()) < 4 * law.std() / np.sqrt(runs)
    return float(np.mean(width))


def test_all_steps_are_covered_as_often_as_the_law_says():
    width = {shape: coverage_law(shape) for shape in ("narrow", "equal", "flat")}
    assert width["narrow"] < width["flat"] and width["equal"] < width["flat"]


def test_the_narrow_shape_uses_what_the_steps_share():
    """One step misses alone, the others together: the copula tells, quantiles of steps do not."""
    rng = np.random.default_rng(0)
    n = 4000
    wild = rng.uniform(size=n) < 0.08
    errors = np.column_stack([rng.uniform(size=n), rng.uniform(size=n) + 9 * wild])
    more = {"alpha": 0.1, "residuals_fit": errors[:3000]}
    sets = {
        s: pc.regression.trajectories(
            np.zeros((1000, 2)), errors[3000:], np.zeros((1, 2)), shape=s, **more
        )
        for s in ("narrow", "equal")
    }
    narrow, equal = ((s.upper - s.lower).sum() for s in sets.values())
    assert narrow < 0.7 * equal  # the 8 % are given up as a whole
    scaled = pc.regression.trajectories(
        np.zeros((1000, 2)), 7 * errors[3000:], np.zeros((1, 2)), alpha=0.1,
        residuals_fit=7 * errors[:3000],
    )  # fmt: skip
    np.testing.assert_allclose(scaled.upper, 7 * sets["narrow"].upper, rtol=1e-9)


def test_what_is_refused_and_when_it_says_nothing():
    y = series(np.random.default_rng(0), 30)
    zero = np.zeros_like(y)
    for change, error, match in (
        ({"shape": "round"}, MethodError, "shape"),
        ({"fit_share": 0.01}, CalibrationError, "at least 2 series"),
        ({"residuals_fit": y[:, :2]}, ArrayError, "residuals_fit must have 6 columns"),
        ({"residuals_fit": y * (np.arange(H) != 3)}, CalibrationError, "step 3"),
        ({"pred_test": zero[:, :4]}, ArrayError, "one per step"),
    ):
        more = {"pred_test": zero[:1]} | change
        with pytest.raises(error, match=match):
            pc.regression.trajectories(zero, y, **more)
    with pytest.warns(InfiniteSetWarning, match="at least 99"):
        out = pc.regression.trajectories(zero, y, zero[:2], alpha=0.01)
    assert out.contains(1e9 * np.ones((2, H))).all()
