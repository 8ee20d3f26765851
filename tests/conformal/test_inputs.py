"""Bad input is refused by name; nothing is broadcast, dropped, or turned into NaN."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, InfiniteSetWarning, LevelError

RNG = np.random.default_rng(0)
MU = RNG.normal(size=50)
Y = MU + RNG.normal(size=50)
HALVES = np.repeat([0, 1], 25)
P = RNG.dirichlet(np.ones(3), 50)
LABELS = RNG.integers(0, 3, 50)
CUBE = RNG.normal(size=(50, 3))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: pc.split(
                pc.Absolute(), MU, Y, MU[:9], groups_cal=HALVES, groups_test=np.zeros(1, int)
            ),
            "groups_test must have 9",
        ),
        (
            lambda: pc.split(
                pc.CQR(), (MU, MU + 1), Y, (MU[:9], MU[:9]), groups_cal=HALVES, groups_test=[0]
            ),
            "groups_test must have 9",
        ),
        (
            lambda: pc.split(
                pc.Absolute(), MU, Y, MU[:9], weights_cal=np.ones(50), weights_test=np.ones(1)
            ),
            "weights_test must have 9",
        ),
        (lambda: pc.split(pc.LAC(), P, LABELS, np.full((9, 4), 0.25)), "pred_test must have 3"),
        (lambda: pc.box(CUBE, CUBE[:, :1], CUBE), "y_cal must have 3"),
        (
            lambda: pc.regression.ellipsoid(CUBE, CUBE, CUBE[:, :1], np.eye(3), np.eye(3)),
            "pred_test must",
        ),
        (lambda: pc.regression.copula_box(CUBE, CUBE, CUBE[:, :1], CUBE), "y_cal must have 3"),
        (
            lambda: pc.regression.sample_distance(np.zeros((5, 4, 3)), np.zeros((5, 1))),
            "y must have 3",
        ),
        (lambda: pc.box(CUBE, CUBE, CUBE).contains(CUBE[:, :1]), "y must have 3"),
        (lambda: pc.box(CUBE, CUBE, CUBE, scale_cal=CUBE**2), "scale_test go together"),
        (lambda: pc.box(CUBE, CUBE, CUBE, scale_test=CUBE**2), "scale_test go together"),
        (
            lambda: pc.box(CUBE, CUBE, CUBE, scale_cal=CUBE[:1] ** 2, scale_test=CUBE**2),
            r"scale_cal must have shape \(50, 3\)",
        ),
        (
            lambda: pc.box(
                CUBE, CUBE, CUBE, scale=[1, 1, 1], scale_cal=CUBE**2, scale_test=CUBE**2
            ),
            "not both",
        ),
        (
            lambda: pc.regression.ellipsoid(
                CUBE, CUBE, CUBE, np.eye(3), np.broadcast_to(np.eye(3), (50, 3, 3))
            ),
            "one kind of covariance",
        ),
        (lambda: pc.predictive_system((MU, MU**2), Y, MU), "one form"),
        (lambda: pc.labels.cluster_labels([np.nan] * 50, LABELS, 3, clusters=2), "50 NaN"),
        (lambda: pc.selection.conformal_evalues([1.0, 2.0], [np.inf]), "finite"),
        (lambda: pc.calibration.clopper_pearson([11], 10, error=0.1), "successes"),
        (lambda: pc.calibrate(np.ma.masked_array([1.0, 2.0], [0, 1])), "masked"),
        (lambda: pc.calibrate(np.array([1 + 2j])), "complex"),
        (lambda: pc.jackknife_plus(np.zeros((2, 0)), []), "residuals is empty"),
        (lambda: pc.cv_plus(np.zeros((2, 3)), [], np.array([], int)), "residuals is empty"),
        (lambda: pc.calibrate([1.0], weights=[0.0]).pvalue([2.0], test_weights=0.0), "all zero"),
        (
            lambda: pc.calibrate([1.0], weights=[1.0]).pvalue([2.0], test_weights=[1.0, 1.0]),
            "test_weights",
        ),
        (
            lambda: pc.selection.selection_pvalues(
                [1.0], [2.0], weights_cal=[0.0], weights_test=[0.0]
            ),
            "all zero",
        ),
        (lambda: pc.ACI(rate=-0.1), "rates"),
        (lambda: pc.DtACI(rates=[]), "rates"),
        (lambda: pc.PID(saturation=0.0), "saturation"),
        (lambda: pc.online.SFOGD(radius=0.0), "radius"),
        (lambda: pc.SAOCP(lifetime=3), "lifetime"),
        (lambda: pc.track(pc.ACI(), Y, window=0), "window"),
        (lambda: pc.track(pc.ACI(), Y).rolling_coverage(51), "width"),
        (lambda: pc.selection.chisel(CUBE, Y, key=0, tests=0, least=10), "tests"),
    ],
)
def test_refused(call, match):
    with pytest.raises(ArrayError, match=match):
        call()


NAN_AMONG = [
    np.where(np.arange(50) % 5, HALVES, np.nan),
    np.where(np.arange(50) % 5, HALVES, np.nan).astype(object),
    ["a", "b", np.nan, "a", "b"] * 10,
    ["a", "b", None, "a", "b"] * 10,
    pd.Series(["a", "b", pd.NA, "a", "b"] * 10),
    pd.Series([1, 2, None, 1, 2] * 10, dtype="Int64"),
    pd.Series(["a", "b", None, "a", "b"] * 10, dtype="category"),
    np.array(["2020-01-01", "2021-01-01", "NaT", "2020-01-01", "2021-01-01"] * 10, "M8[D]"),
]


@pytest.mark.parametrize("groups", NAN_AMONG, ids=lambda g: f"{type(g).__name__} {g[:3]}")
def test_missing_names_of_groups(groups):
    for cal, test in ((groups, HALVES), (HALVES, groups)):
        with pytest.raises(ArrayError, match=r"10 missing name\(s\).*of 50, the first at \[[02]\]"):
            pc.split(pc.Absolute(), MU, Y, MU, groups_cal=cal, groups_test=test)


def test_names_of_groups():
    for same in (["a", "b"] * 25, pd.Series(["a", "b"] * 25, dtype="category"), [1, 2] * 25):
        given = dict(groups_cal=same, groups_test=same)
        out = pc.split(pc.Absolute(), MU, Y, MU, alpha=0.2, **given)
        assert np.unique(np.round(out.size(), 9)).size == 2
    with pytest.raises(ArrayError, match="mixes text and numbers"):
        pc.split(pc.Absolute(), MU, Y, MU, groups_cal=["a", 1] * 25, groups_test=["a", 1] * 25)
    with pytest.raises(ArrayError, match="both as text"):
        pc.split(pc.Absolute(), MU, Y, MU, groups_cal=[1, 2] * 25, groups_test=["1", "2"] * 25)


def test_levels():
    with pytest.raises(LevelError, match="alpha must be a number"):
        pc.calibration.upper_rank(9, "0.1")
    system = pc.predictive_system(MU, Y, MU)
    with pytest.raises(LevelError, match="level"):
        system.quantile(1.0)
    with pytest.raises(LevelError, match="tau"):
        system.cdf(Y, tau=2)


@pytest.mark.parametrize("alpha", [float("nan"), -1.0, 1.5])
def test_risk_level(alpha):
    with pytest.raises(LevelError, match="alpha"):
        pc.crc(np.zeros((5, 3)), alpha=alpha)


def test_no_calibration_points_at_all_give_infinite_sets():
    with pytest.warns(InfiniteSetWarning):
        out = pc.split(
            pc.Absolute(), MU[:0], Y[:0], MU[:9], groups_cal=HALVES[:0], groups_test=HALVES[:9]
        )
    assert out.infinite_fraction == 1


@pytest.mark.parametrize("xp", [np, jnp])
def test_no_weight_anywhere_says_nothing(xp):
    q = pc.calibration.weighted_quantile(xp.arange(3.0), xp.zeros(3), 0.1, test_weights=xp.zeros(2))
    assert np.isposinf(np.asarray(q)).all()


def test_infinite_predictions_stay_intervals():
    with pytest.warns(InfiniteSetWarning):
        out = pc.split(pc.CQR(), (MU[:5], MU[:5]), Y[:5], (np.array([-np.inf]), np.zeros(1)))
    assert out.lower[0] == -np.inf and out.upper[0] == np.inf


def exponential(n):
    grid = np.tile(np.linspace(-1, 4, 51), (n, 1))
    return pc.scores.PredictiveDensity(grid, np.where(grid >= -1e-9, -grid, -np.inf))


def test_density_of_bounded_support():
    y = np.round(np.random.default_rng(1).exponential(size=60), 1).clip(0, 4)
    pred = exponential(60)
    assert np.allclose(pc.scores.LogPredictive()(pred, y), y)  # no NaN at the edge of the support
    assert pc.split(pc.scores.LogPredictive(), pred, y, exponential(2)).size().min() > 1
    dead = pc.scores.PredictiveDensity(pred.grid[:1], np.full((1, 51), -np.inf))
    with pytest.raises(ArrayError, match="finite somewhere"):
        pc.split(pc.scores.PIT(), pred, y, dead)


def test_class_conditional_never_empty():
    sure = np.array([[0.4, 0.3, 0.3]] * 9)
    p = np.eye(3)[LABELS] * 0.97 + 0.01
    sets = [pc.class_conditional(pc.LAC(), p, LABELS, sure, allow_empty=e) for e in (True, False)]
    assert sets[0].empty_fraction == 1 and sets[1].empty_fraction == 0
    assert (sets[1].size() == 1).all()
