"""Decimal outcomes with ties, and outcomes whose type is wider than the predictions'."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.scores import regression as scores_file
from probinf.core.rounding import beyond
from probinf.errors import ArrayError

MEANS = [1.1, 0.3, -2.7]
OFFSETS = [-1.0, 0.0, 2.3, -0.7]

FORMS = {
    pc.Absolute(): lambda mu: mu,
    pc.Normalised(offset=0.1): lambda mu: (mu, np.full_like(mu, 0.3)),
    pc.Signed(): lambda mu: mu,
    pc.CQR(): lambda mu: (mu - 0.1, mu + 0.2),
    pc.CQR(scale="width"): lambda mu: (mu - 0.1, mu + 0.2),
    pc.CQR(scale="median"): lambda mu: (mu - 0.1, mu, mu + 0.2),
    pc.scores.AsymmetricCQR(): lambda mu: (mu - 0.1, mu + 0.2),
}


def decimals(rng, n):
    """Predictions, and outcomes of one decimal that lie at a few distances from them."""
    mu = rng.choice(MEANS, n)
    return mu, np.round(mu + rng.choice(OFFSETS, n, p=[0.75, 0.1, 0.05, 0.1]), 1)


def lost(score):
    """Outcomes that the score accepts and the interval does not hold."""
    mu, y = decimals(np.random.default_rng(0), 400)
    scored = score(FORMS[score](mu), y).reshape(400, -1)
    missing = 0
    for values in zip(*(np.unique(column) for column in scored.T), strict=False):
        lower, upper = score.interval(FORMS[score](mu), *(np.full((1, 1), q) for q in values))
        accepted = (scored <= np.array(values)).all(axis=1)
        missing += int((accepted & ~((lower[:, 0] <= y) & (y <= upper[:, 0]))).sum())
    return missing


@pytest.mark.parametrize("score", FORMS, ids=str)
def test_intervals_hold_what_the_score_accepts(score):
    assert lost(score) == 0


def test_the_plain_inverse_loses_outcomes(monkeypatch):
    monkeypatch.setattr(scores_file, "beyond", lambda centre, step, side: centre + step)
    assert lost(pc.Absolute()) > 50  # the broken twin


def test_ends_move_by_rounding_alone():
    low, high = beyond(np.array([1.1, 1e9]), -2.0, -1), beyond(np.array([1.1, 1e9]), 2.0, 1)
    assert (low <= [-0.9, 1e9 - 2]).all() and (high >= [3.1, 1e9 + 2]).all()
    assert np.allclose(high - low, 4, rtol=1e-6)
    assert beyond(np.array([5.0]), np.zeros(1), 1) == 5  # exact
    assert beyond(np.array([5.0]), np.array([-np.inf]), 1) == -np.inf


def coverages(rng):
    """Coverage of every interval of one decimal data set, the threshold of which is a tie."""
    mu = np.full(400, 1.1)
    y = rng.choice([0.1, 1.1, 3.4], 400, p=[0.75, 0.2, 0.05])
    cal, test = slice(0, 200), slice(200, 400)
    residuals, folds = abs(y - mu)[cal], np.arange(200) % 4
    both, columns = np.stack([mu, mu], axis=1), np.stack([y, y], axis=1)
    held = y[test]
    covered = {
        str(score): pc.split(score, mu[cal], y[cal], mu[test]).contains(held)
        for score in (pc.Absolute(), pc.Signed())
    }
    covered["box"] = pc.box(both[cal], columns[cal], both[test]).contains(columns[test])
    covered["copula"] = pc.regression.copula_box(
        (columns - both)[test], both[cal], columns[cal], both[test]
    ).contains(columns[test])
    covered["cv"] = pc.cv_plus(np.full((200, 4), 1.1), residuals, folds).contains(held)
    covered["jackknife"] = pc.jackknife_plus(np.full((200, 200), 1.1), residuals).contains(held)
    covered["minmax"] = pc.regression.jackknife_minmax(np.full((200, 4), 1.1), residuals).contains(
        held
    )
    system = pc.predictive_system(mu[cal], y[cal], mu[test])
    covered["system"] = system.interval(0.1).contains(held)
    covered["quantile"] = system.quantile(0.7) >= held
    covered["enbpi"] = pc.enbpi((y - mu)[cal], mu[test], held).contains(held)
    return {name: float(np.mean(inside)) for name, inside in covered.items()}


@pytest.mark.parametrize("seed", range(3))
def test_decimal_outcomes_are_covered(seed):
    for name, share in coverages(np.random.default_rng(seed)).items():
        assert share > (0.65 if name == "quantile" else 0.85), name


@pytest.mark.parametrize(
    "convert", [jnp.asarray, np.float32, np.float16], ids=["jax", "float32", "float16"]
)
def test_outcomes_of_a_wider_type_keep_their_digits(convert):
    rng = np.random.default_rng(0)
    level, noise = (1.7e9, 10.0) if convert is not np.float16 else (2000.0, 0.5)
    mu = np.asarray(convert(np.full(600, level)), float)
    y = mu + noise * rng.normal(size=600)
    pred = convert(mu)
    out = pc.split(pc.Absolute(), pred[:300], y[:300], pred[300:])
    assert abs(out.contains(y[300:]).mean() - 0.9) < 0.08
    plain = pc.split(pc.Absolute(), mu[:300], y[:300], mu[300:])
    assert np.array_equal(out.lower, plain.lower) and np.array_equal(out.upper, plain.upper)
    assert 2.8 * noise < out.size().mean() < 3.8 * noise
    for score in (pc.Signed(), pc.Normalised()):
        given = pred if score == pc.Signed() else (pred, np.ones(600, np.float32))
        assert score(given, y).dtype == np.float64


def test_large_integers_of_jax_keep_their_digits():
    mu = jnp.asarray(1_700_000_000 + np.arange(100), jnp.int32)
    assert np.array_equal(pc.Absolute()(mu, mu + 3), np.full(100, 3.0))


def test_compiled_scores_stay_compiled():
    y = jnp.arange(20.0)
    found = jax.jit(lambda m, o: pc.split(pc.Absolute(), m, o, m, alpha=0.2).size())(y - 1, y)
    assert np.allclose(found, 2, rtol=1e-5) and found.dtype == jnp.float32
    assert isinstance(pc.Absolute()(y, y), jax.Array)
    with pytest.raises(ArrayError, match="needs more digits"):  # outcomes that meet traced values
        jax.jit(lambda m: pc.Absolute()(m, 1.7e9 + np.arange(20.0)))(y)


def spread_out(X, y):
    return abs(y - y.mean())


def test_compiled_methods_refuse_what_single_precision_loses():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 1)), 1.7e9 + 10 * rng.normal(size=40)
    grid = 1.7e9 + np.linspace(-40, 40, 9)
    with pytest.raises(ArrayError, match=r"y needs more digits.*Subtract a constant"):
        pc.full_grid(spread_out, x, y, x[:2], grid=grid)
    with pytest.raises(ArrayError, match="X needs more digits"):
        pc.full_grid(spread_out, 1.7e9 + x, y - 1.7e9, x[:2], grid=grid - 1.7e9)
    centred = pc.full_grid(spread_out, x, y - 1.7e9, x[:2], grid=grid - 1.7e9)
    with jax.enable_x64(True):
        double = pc.full_grid(spread_out, x, y, x[:2], grid=grid)
    assert np.array_equal(centred.mask, double.mask) and 1 < centred.mask[0].sum() < 9
