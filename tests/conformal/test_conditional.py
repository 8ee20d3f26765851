"""Conditional and localized calibration."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import linprog

import probinf.conformal as pc
from probinf.conformal.calibration.conditional import _same_span
from probinf.conformal.calibration.randomness import row_uniforms
from probinf.errors import ArrayError, ConvergenceError, InfiniteSetWarning
from tests.cases.coverage import coverage


def by_linear_program(s, phi, x, t, alpha):
    out = linprog(-s, A_eq=phi.T, b_eq=-t * x, bounds=(-alpha, 1 - alpha), method="highs")
    return np.inf if out.x is None else -x @ out.eqlin.marginals


@pytest.mark.parametrize("kind", ["continuous", "groups", "polynomial"])
@pytest.mark.parametrize("key", [None, 3])
def test_path_is_the_linear_program(kind, key):
    rng = np.random.default_rng(0)
    for _ in range(12):
        n = int(rng.integers(15, 120))
        if kind == "continuous":
            phi = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
        elif kind == "groups":
            phi = np.eye(3)[rng.integers(0, 3, n)]
            phi = np.column_stack([phi, rng.uniform(size=n) > 0.5]).astype(float)
        else:
            phi = np.vander(rng.uniform(-1, 1, n), 4)
        s = rng.exponential(size=n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfiniteSetWarning)
            found = pc.calibration.conditional_thresholds(s, phi, phi[:6], alpha=0.1, key=key)
        t = (
            np.full(6, 0.9 - 1e-5)
            if key is None
            else row_uniforms(3, _same_span(phi, phi[:6])[1]) - 0.1
        )
        expected = [by_linear_program(s, phi, phi[j], t[j], 0.1) for j in range(6)]
        assert np.allclose(found, expected, atol=1e-6)


def overlapping(rng, n):
    x = rng.uniform(size=n)
    phi = np.column_stack([np.ones(n), x < 0.5, (x > 0.3) & (x < 0.8)]).astype(float)
    return phi, rng.exponential(size=n) * (0.2 + 3 * x)


def group_coverage(thresholds):
    """Coverage deficits E[f(x) (1{cover} - 0.8)] for each group indicator, with their errors."""
    rng = np.random.default_rng(1)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfiniteSetWarning)
        for r in range(250):
            phi, s = overlapping(rng, 70)
            q = thresholds(s[:60], phi[:60], phi[60:], r)
            rows.append(phi[60:].T @ ((s[60:] <= q) - 0.8) / 10)
    rows = np.array(rows)
    return rows.mean(axis=0) / (rows.std(axis=0, ddof=1) / np.sqrt(len(rows)))


def test_randomised_coverage_is_exact_in_every_overlapping_group():
    z = group_coverage(
        lambda s, a, b, r: pc.calibration.conditional_thresholds(s, a, b, alpha=0.2, key=r)
    )
    assert (abs(z) < 4).all(), z
    plain = group_coverage(
        lambda s, a, b, r: pc.calibration.conditional_thresholds(s, a, b, alpha=0.2)
    )
    assert (plain > -4).all(), plain
    # the broken twin: one threshold for all groups
    marginal = group_coverage(lambda s, a, b, r: np.full(len(b), pc.calibrate(s).quantile(0.2)))
    assert abs(marginal).max() > 6


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.3, 1.1], [7.0]], ids=str)
def test_tied_scores_keep_the_exact_coverage(values):
    rng = np.random.default_rng(0)
    rows = []
    for r in range(150):
        phi, _ = overlapping(rng, 70)
        s = rng.choice(values, 70)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfiniteSetWarning)
            q = pc.calibration.conditional_thresholds(s[:60], phi[:60], phi[60:], alpha=0.2, key=r)
        rows.append(phi[60:].T @ ((s[60:] <= q) - 0.8) / 10)
    z = np.mean(rows, axis=0) / (np.std(rows, axis=0, ddof=1) / np.sqrt(150))
    assert (abs(z) < 4).all(), z


@pytest.mark.parametrize("given_up", [1, 2, 3])
def test_a_solver_that_gives_up_is_asked_another_way(monkeypatch, given_up):
    """As HiGHS of SciPy 1.14 does on scores that are tied but for the noise that parts them."""
    rng, own = np.random.default_rng(0), scipy.optimize.linprog
    phi, _ = overlapping(rng, 70)
    s = rng.choice([0.1, 0.2, 0.3, 1.1], 70)

    def thresholds():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InfiniteSetWarning)
            return pc.calibration.conditional_thresholds(
                s[:60], phi[:60], phi[60:], alpha=0.2, key=1
            )

    right, ways = thresholds(), []

    def gives_up(*args, **options):
        ways.append((options["method"], options["options"]["presolve"]))
        if len(set(ways)) > given_up:
            return own(*args, **options)
        return scipy.optimize.OptimizeResult(status=4, x=None, message="Unknown")

    monkeypatch.setattr(scipy.optimize, "linprog", gives_up)
    if given_up == 3:
        with pytest.raises(ConvergenceError, match="60 scores on 3 features"):
            thresholds()
    else:
        assert thresholds() == pytest.approx(right, abs=1e-9)


UNITS = {
    "years": lambda x: 2023 + x,
    "julian days": lambda x: 2.46e6 + 365 * x,
    "unix seconds": lambda x: 1.7e9 + 4e4 * x,
    "nanoseconds": lambda x: 1.7e18 + 3e16 * x,
    "pascals": lambda x: 101325 + x,
    "metres": lambda x: 1e-9 * x,
}


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_thresholds_do_not_depend_on_units(units, scale):
    rng = np.random.default_rng(0)
    x, xt = 2 * rng.uniform(size=200), np.linspace(0, 2, 9)
    s = rng.exponential(size=200) * (1 + x)

    def found(change, factor, with_constant):
        def features(v):
            first = [np.ones(v.size)] if with_constant else [v < 1, v >= 1]
            return np.column_stack([*first, change(v)]).astype(float)

        return pc.calibration.conditional_thresholds(factor * s, features(x), features(xt))

    for with_constant in (True, False):
        plain = found(lambda v: v, 1.0, with_constant)
        assert np.allclose(found(UNITS[units], scale, with_constant) / scale, plain, rtol=1e-6)


def test_where_all_features_are_zero_nothing_is_promised():
    phi = np.eye(2)[np.arange(60) % 2]
    with pytest.warns(InfiniteSetWarning, match="1 rows of features_test are zero"):
        q = pc.calibration.conditional_thresholds(np.arange(60.0), phi, [[0, 0], [1, 0]])
    assert np.isposinf(q[0]) and 50 < q[1] < 60


def test_local_thresholds_at_large_coordinates():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, size=(500, 2))
    s = rng.exponential(size=500) * (0.1 + x[:, 0])

    def covered(shift):
        q = pc.calibration.rlcp_thresholds(
            s[:400], x[:400] + shift, x[400:] + shift, bandwidth=0.2, alpha=0.2, key=0
        )
        return (s[400:] <= q).mean()

    for shift in (0.0, 1e7, np.array([5e5, -4e6])):  # eastings and northings
        assert 0.72 < covered(shift) < 0.92


def rlcp_covers():
    def one(rng):
        x = rng.uniform(-2, 2, size=(61, 1))
        s = rng.exponential(size=61) * (0.1 + x[:, 0] ** 2)
        key = int(rng.integers(2**31))
        q = pc.calibration.rlcp_thresholds(
            s[:60], x[:60], x[60:], bandwidth=0.3, alpha=0.2, key=key
        )
        return s[60:] <= q

    return coverage(one, 1500)


def test_randomly_localized_coverage():
    covered = rlcp_covers()
    assert pc.check_coverage(covered, alpha=0.2, one_sided=True), covered.mean()
    assert covered.mean() < 0.87


def test_local_thresholds_follow_the_spread():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, size=(2000, 1))
    s = rng.exponential(size=2000) * (0.1 + x[:, 0])
    ends = np.array([[0.1], [1.9]])
    q = pc.calibration.rlcp_thresholds(
        s, x, np.repeat(ends, 50, 0), bandwidth=0.1, alpha=0.1, key=0
    )
    assert q[:50].mean() < 0.2 * q[50:].mean()


def test_nexcp_weights_track_drift():
    rng = np.random.default_rng(0)
    s = rng.exponential(size=500) * np.repeat([1.0, 5.0], 250)
    even = pc.calibration.weighted_quantile(s, np.ones(500), 0.1)
    recent = pc.calibration.weighted_quantile(s, pc.calibration.nexcp_weights(500, decay=0.98), 0.1)
    assert recent > 1.15 * even and pc.calibration.nexcp_weights(3, decay=0.5).tolist() == [
        0.125,
        0.25,
        0.5,
    ]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(features=np.ones((30, 2))), "full column rank"),
        (dict(scores=np.full(30, np.inf)), "finite"),
        (dict(features_test=np.ones((2, 3))), "2 columns"),
        (dict(alpha=1.5), "between 0 and 1"),
        (dict(scores=np.append(np.nan, np.ones(29))), "NaN"),
    ],
)
def test_bad_input(change, match):
    phi = np.column_stack([np.ones(30), np.arange(30.0)])
    good = dict(scores=np.arange(30.0), features=phi, features_test=phi[:2])
    with pytest.raises(ValueError, match=match):
        pc.calibration.conditional_thresholds(**{**good, **change})
    with pytest.raises(ArrayError, match="bandwidth"):
        pc.calibration.rlcp_thresholds(
            np.ones(3), np.ones((3, 1)), np.ones((1, 1)), bandwidth=0, key=0
        )
