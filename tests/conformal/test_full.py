"""Full conformal prediction against refitting at every candidate."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.sets.grids import GridSet
from probinf.errors import ArrayError, InfiniteSetWarning
from tests.cases.coverage import coverage


def refit_pvalue(smooth, y):
    """p(v): share of |residuals| at least the test point's, after a refit with outcome v."""
    rest = np.eye(len(smooth)) - smooth

    def p(v):
        s = abs(rest @ np.append(y, v))
        return (s >= s[-1] - 1e-11).mean()

    return p


def check_ends(low, high, p, alpha, span):
    wrong = 0
    for end, inward in ((low, 1.0), (high, -1.0)):
        if np.isfinite(end):
            step = 1e-6 * (1 + abs(end))
            wrong += p(end + inward * step) <= alpha + 1e-9
            wrong += p(end - inward * step) > alpha + 1e-9
    for v in np.linspace(-span, span, 60):
        wrong += p(v) > alpha + 1e-9 and not low - 1e-9 <= v <= high + 1e-9
    return wrong


def test_full_ridge_is_refitting_on_200_cases():
    rng = np.random.default_rng(0)
    wrong = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InfiniteSetWarning)  # far-out points among the cases
        for _ in range(200):
            n, d, lam = int(rng.integers(6, 40)), int(rng.integers(1, 4)), rng.uniform(0.01, 2)
            X, t = rng.standard_t(2, size=(n, d)), rng.standard_t(2, size=(1, d))
            y = X.sum(axis=1) + rng.gamma(1, size=n)
            out = pc.full_ridge(X, y, t, ridge=lam, alpha=0.2)
            a = np.column_stack([np.vstack([X, t]), np.ones(n + 1)])
            gram = a.T @ a + np.diag([lam] * d + [0.0])
            p = refit_pvalue(a @ np.linalg.solve(gram, a.T), y)
            wrong += check_ends(out.lower[0], out.upper[0], p, 0.2, 3 * abs(y).max())
    assert wrong == 0


def test_full_kernel_is_refitting():
    rng = np.random.default_rng(1)
    for _ in range(20):
        X = rng.normal(size=(20, 1))
        y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=20)
        x = np.append(X, rng.normal(size=(1, 1)), axis=0)
        k = np.exp(-0.5 * (x - x.T) ** 2 / 0.5)
        out = pc.full_kernel(k[:20, :20], y, k[:20, 20:], np.ones(1), noise=0.2, alpha=0.2)
        p = refit_pvalue(k @ np.linalg.inv(k + 0.2 * np.eye(21)), y)
        assert check_ends(out.lower[0], out.upper[0], p, 0.2, 5.0) == 0


def least_squares_scores(X, y):
    a = jnp.column_stack([X, jnp.ones(len(X))])
    gram = a.T @ a + jnp.diag(jnp.append(jnp.full(X.shape[1], 0.5), 0.0))
    return abs(y - a @ jnp.linalg.solve(gram, a.T @ y))


def test_grid_agrees_with_exact_ridge():
    rng = np.random.default_rng(2)
    X, T = rng.normal(size=(40, 2)), rng.normal(size=(5, 2))
    y = X.sum(axis=1) + rng.normal(size=40)
    grid = np.linspace(-8, 8, 801)
    found = pc.full_grid(least_squares_scores, X, y, T, grid=grid, alpha=[0.1, 0.3])
    exact = pc.full_ridge(X, y, T, ridge=0.5, alpha=[0.1, 0.3])
    hull = found.hull()
    assert np.allclose(hull.lower, exact.lower, atol=0.03)
    assert np.allclose(hull.upper, exact.upper, atol=0.03)
    assert np.allclose(found.size(), exact.size(), atol=0.06)
    assert found.contains(X[:5].sum(axis=1) * 0).shape == (5, 2)


def test_an_end_of_the_grid_inside_the_set_becomes_infinite():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 1)), rng.normal(size=40)
    out = pc.full_grid(least_squares_scores, X, y, X[:2], grid=np.linspace(0, 8, 50), alpha=0.2)
    assert (out.hull().lower == -np.inf).all() and np.isfinite(out.hull().upper).all()


@pytest.mark.slow
def test_full_ridge_coverage_law():
    def one(rng):
        X = rng.normal(size=(31, 2))
        y = X.sum(axis=1) + rng.gamma(0.5, size=31)
        return pc.full_ridge(X[:30], y[:30], X[30:], ridge=0.5, alpha=0.1).contains(y[30:])

    covered = coverage(one, 4000)
    print(covered.mean())
    # 28 of 31 ranks are covered
    assert pc.check_coverage(covered, alpha=3 / 31)


def test_bad_input():
    X, y = np.ones((5, 1)), np.arange(5.0)
    with pytest.raises(ArrayError, match="collinear"):
        pc.full_ridge(X, y, X, ridge=0.0)
    with pytest.raises(ArrayError, match="noise must be positive"):
        pc.full_kernel(np.eye(5), y, np.ones((5, 1)), np.ones(1), noise=0)
    with pytest.raises(ArrayError, match="columns"):
        pc.jackknife_plus_ridge(np.eye(5), y, np.ones((2, 3)), ridge=1.0)


def test_what_a_grid_did_not_try_counts_as_inside():
    """Membership agrees with the hull: half-way to a rejected candidate, and past a kept end."""
    grid = np.tile(np.arange(5.0), (7, 1))
    mask = np.tile(np.array([True, True, False, False, True]), (7, 1))
    found = GridSet(grid, mask, None, 0.1, "none")
    y = np.array([-9.0, 1.0, 1.9, 2.0, 2.5, 3.1, 9.0])
    np.testing.assert_array_equal(found.contains(y), [True, True, True, False, False, True, True])
    hull = found.hull()
    assert bool(np.isneginf(hull.lower).all() and np.isposinf(hull.upper).all())


UNITS = {
    "years": lambda x: 2023 + x,
    "thousand years": lambda x: 1e3 * (2023 + x),
    "julian days": lambda x: 2.46e6 + 365 * x,
    "unix seconds": lambda x: 1.7e9 + 4e4 * x,
    "nanoseconds": lambda x: 1.7e18 + 3e16 * x,
    "pascals": lambda x: 101325 + x,
    "metres": lambda x: 1e-9 * x,
}


@pytest.mark.parametrize("method", [pc.jackknife_plus_ridge, pc.full_ridge])
@pytest.mark.parametrize("units", UNITS)
def test_intervals_do_not_depend_on_units(units, method):
    rng = np.random.default_rng(0)
    x, y = np.linspace(0, 2, 60), rng.normal(size=60)
    plain = method(x[:, None], y, x[:5, None], ridge=0.0)
    moved = method(UNITS[units](x)[:, None], 5e8 + y, UNITS[units](x[:5])[:, None], ridge=0.0)
    assert np.allclose(moved.lower - 5e8, plain.lower, atol=1e-6)
    assert np.allclose(moved.upper - 5e8, plain.upper, atol=1e-6)
    both = np.column_stack([x, x**2])
    plain = method(both, y, both[:5], ridge=0.0)
    years = np.column_stack([x + 2023, (x + 2023) ** 2])
    assert np.allclose(method(years, y, years[:5], ridge=0.0).upper, plain.upper, atol=1e-5)
    if units not in ("thousand years", "metres"):  # a penalty is in units of x
        moved = method(UNITS[units](x)[:, None], y, UNITS[units](x[:5])[:, None], ridge=1.0)
        assert np.isfinite(moved.size()).all()


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (lambda x: [x, 2 * x], "collinear columns and ridge is 0"),
        (lambda x: [x, 0 * x + 2024], "column 1 is constant"),
        (
            lambda x: [*np.random.default_rng(0).normal(size=(70, 60))],
            "70 columns and only 60 rows",
        ),
    ],
)
def test_collinear_columns(columns, match):
    x = np.stack(columns(2023 + np.linspace(0, 2, 60)), axis=1)
    y = np.random.default_rng(1).normal(size=60)
    with pytest.raises(ArrayError, match=match):
        pc.full_ridge(x, y, x, ridge=0.0)
    assert np.isfinite(pc.full_ridge(x, y, x[:3], ridge=1.0).size()).all()


def test_discrete_outcomes_lie_on_the_ends():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        x, y = rng.choice([0.3, 1.1], (60, 1)), rng.choice([0.1, 1.1, 3.4], 60, p=[0.75, 0.2, 0.05])
        for method in (pc.jackknife_plus_ridge, pc.full_ridge):
            out = method(x[:40], y[:40], x[40:], ridge=0.0, alpha=0.1)
            covered.append(out.contains(y[40:]).mean())
    assert np.mean(covered) > 0.9
