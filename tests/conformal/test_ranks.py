"""Exact ranks, order statistics without a sort, weighted quantiles, p-values."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import probinf.conformal as pc
from probinf.errors import ArrayError, LevelError


def test_rank_is_exact_for_decimal_levels():
    n = np.array([*range(1, 30), 99, 199, 999])
    percent = np.arange(1, 100)
    exact = [Fraction(int(p), 100) for p in percent]
    assert (
        pc.calibration.upper_rank(n, percent / 100) == pc.calibration.upper_rank(n, exact)
    ).all()
    assert (
        pc.calibration.lower_rank(n, percent / 100) == pc.calibration.lower_rank(n, exact)
    ).all()
    assert (
        pc.calibration.upper_rank(n, exact) + pc.calibration.lower_rank(n, exact) == n[:, None] + 1
    ).all()
    ceiling = -((percent - 100) * (n[:, None] + 1) // 100)  # in integers
    assert (pc.calibration.upper_rank(n, exact) == ceiling).all()


def test_float_guard_and_infinity():
    assert pc.calibration.upper_rank(9, 0.7) == 3  # (1 - 0.7) * 10 is 3.0000000000000004
    assert pc.calibration.upper_rank(5, 0.1) == 6
    assert pc.calibration.order_stat(np.arange(5.0), 6) == np.inf
    assert pc.calibration.order_stat(np.arange(5.0), 0) == -np.inf
    assert pc.calibration.upper_rank([5, 10], [0.1, 0.2]).shape == (2, 2)
    assert pc.calibration.order_stat(np.empty(0), 1) == np.inf


def _cases(rng, count):
    for _ in range(count):
        n = int(rng.integers(1, 40))
        s = rng.standard_t(1, size=n).astype(np.float32)
        if rng.uniform() < 0.5:
            s = np.round(s)
        for special in (np.inf, -np.inf, -0.0, 0.0):
            s[rng.uniform(size=n) < 0.1] = special
        yield s


def test_bit_bisection_is_bitwise_partition():
    rng = np.random.default_rng(0)
    find = jax.jit(lambda s, k: pc.calibration.order_stat(s, k))
    for n in (1, 2, 7, 40):
        block = np.stack([np.resize(s, n) for s in _cases(rng, 400)])
        for k in {1, n // 2 + 1, n}:
            bits = np.asarray(find(jnp.asarray(block), k))
            host = pc.calibration.order_stat(block, k)
            assert (bits.view(np.int32) == host.astype(np.float32).view(np.int32)).all()


def test_many_rows_in_turn_give_what_each_gives(rows=401):
    """Beyond the cache's size a CPU goes through blocks of rows, a last smaller one too."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(rows, 700)).astype(np.float32)
    scores[rng.uniform(size=scores.shape) < 0.2] = 0.5  # ties
    rank = rng.integers(1, 701, rows)
    ordered = np.sort(scores, axis=1)
    found = pc.calibration.bisection.bisect_bits(jnp.asarray(scores), None, jnp.asarray(rank))
    np.testing.assert_array_equal(found, ordered[np.arange(rows), rank - 1])
    one = jax.vmap(lambda s: pc.calibration.order_stat(s, 630))(jnp.asarray(scores))
    np.testing.assert_array_equal(one, ordered[:, 629])


@pytest.mark.slow
def test_bit_bisection_on_ten_thousand_cases():
    rng = np.random.default_rng(1)
    padded = np.full((10_000, 40), np.inf, np.float32)
    sizes = np.empty(10_000, int)
    for i, s in enumerate(_cases(rng, 10_000)):
        padded[i, : s.size], sizes[i] = s, s.size
    ranks = rng.integers(1, sizes + 1)
    found = jax.jit(jax.vmap(pc.calibration.order_stat))(jnp.asarray(padded), jnp.asarray(ranks))
    expected = np.sort(padded, axis=1)[np.arange(10_000), ranks - 1] + 0.0
    assert (np.asarray(found).view(np.int32) == expected.view(np.int32)).all()


def test_bisection_in_float64(x64):
    s = np.random.default_rng(0).standard_cauchy(size=(20, 33))
    assert (
        np.asarray(pc.calibration.order_stat(jnp.asarray(s), 5)) == np.sort(s, axis=1)[:, 4]
    ).all()


def test_nan_is_refused_and_poisons_inside_jit():
    s = np.array([1.0, np.nan, 2.0])
    with pytest.raises(ArrayError, match="1 NaN of 3"):
        pc.calibration.order_stat(s, 1)
    with pytest.raises(ArrayError, match="NaN"):
        pc.calibrate(s)
    assert np.isnan(jax.jit(pc.calibration.order_stat)(jnp.asarray(s), 1))


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 90, np.nan, "x", []])
def test_levels_are_refused(alpha):
    with pytest.raises(LevelError):
        pc.calibration.upper_rank(10, alpha)


def test_weighted_quantile_is_the_definition():
    rng = np.random.default_rng(0)
    for case in range(300):
        n = int(rng.integers(1, 20))
        s, w = np.round(rng.normal(size=n), 1), rng.gamma(0.5, size=n)
        extra, alpha = rng.gamma(0.5, size=3), [0.1, 0.5]
        found = pc.calibration.weighted_quantile(s, w, alpha, test_weights=extra)
        for j in range(3):
            for i, a in enumerate(alpha):
                enough = [t for t in s if w[s <= t].sum() >= (1 - a) * (w.sum() + extra[j])]
                assert found[j, i] == min(enough, default=np.inf)
        if case < 5:
            jitted = jax.jit(
                lambda s, w, e: pc.calibration.weighted_quantile(s, w, [0.1, 0.5], test_weights=e)
            )
            assert np.allclose(jitted(*map(jnp.asarray, (s, w, extra))), found)
    equal = pc.calibration.weighted_quantile(s, np.ones(s.size), 0.3)
    assert equal == pc.calibrate(s).quantile(0.3)


def test_calibration_levels_and_update():
    rng = np.random.default_rng(0)
    first, more = rng.normal(size=60), rng.normal(size=40)
    cal = pc.calibrate(first).update(more)
    assert (cal.scores == np.sort(np.concatenate([first, more]))).all() and cal.size == 100
    assert cal.quantile([0.1, 0.2]).tolist() == [cal.scores[90], cal.scores[80]]
    assert cal.lower_quantile(0.1) == cal.scores[9]
    with pytest.raises(ArrayError, match="if and only if"):
        cal.update(more, weights=np.ones(40))


def test_pvalues_agree_with_sets_and_are_uniform():
    rng = np.random.default_rng(0)
    cal = pc.calibrate(np.round(rng.normal(size=50), 1))
    test = np.round(rng.normal(size=400), 1)
    for alpha in (0.05, 0.1, 0.37):
        assert ((cal.pvalue(test) > alpha) == (test <= cal.quantile(alpha))).all()
    brute = [(1 + (cal.scores >= t).sum()) / 51 for t in test]
    assert np.allclose(cal.pvalue(test), brute)
    exact, plain = np.empty(1500), np.empty(1500)
    for r in range(1500):
        scores = rng.poisson(2, size=12).astype(float)
        exact[r] = pc.calibrate(scores[1:]).pvalue(scores[:1], key=r)[0]
        plain[r] = pc.calibrate(scores[1:]).pvalue(scores[:1])[0]
    assert kstest(exact, "uniform").pvalue > 1e-4
    assert kstest(plain, "uniform").pvalue < 1e-4  # ties make it conservative: the test can see
    assert np.mean(plain <= 0.25) <= 0.25


def test_weighted_pvalue_is_the_definition():
    rng = np.random.default_rng(0)
    s, w, t, wt = np.round(rng.normal(size=30), 1), rng.gamma(1, size=30), rng.normal(size=5), 2.0
    found = pc.calibrate(s, weights=w).pvalue(t, test_weights=wt)
    assert np.allclose(found, [(wt + w[s >= x].sum()) / (wt + w.sum()) for x in t])


@pytest.mark.parametrize(
    "call",
    [
        lambda v: pc.calibration.order_stat(v, 5),
        lambda v: pc.calibration.weighted_quantile(v, jnp.ones(60), 0.1),
        lambda v: pc.APS(randomised=False).labels(jax.nn.softmax(v.reshape(20, 3))),
    ],
)
def test_calls_outside_jit_compile_once(call, caplog):
    values = np.random.default_rng(0).normal(size=(3, 60)).astype(np.float32)
    call(jnp.asarray(values[0]))
    with jax.log_compiles(True), caplog.at_level("WARNING", logger="jax"):
        call(jnp.asarray(values[1]))
    assert not [r for r in caplog.records if "ompil" in r.getMessage()]
