"""Any estimate looked at after every label: the mean's own formula, and no miss at any look."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from probinf import ppi
from probinf.errors import MethodError
from probinf.ppi.sequential import looks


def stream(seed, n=400, N=1000):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n + N), rng.normal(size=n + N)])
    f = x @ np.array([0.5, 1.0]) + rng.normal(size=n + N)
    y = f[:n] + 0.6 * rng.standard_t(5, size=n)
    return x, y, f


@pytest.mark.parametrize("prior", [None, ("normal", 0.1), ("t", 2.0, 0.1)])
def test_a_mean_has_the_limits_of_its_own_sequence(prior):
    _, y, f = stream(0)
    sequence = ppi.AnytimeMean(alpha=0.1, prior=prior, lam=0.7)
    for t in (40, 150, 400):
        result = ppi.mean(y[:t], f[:t], f[400:], tune=0.7)
        state = sequence.init(f[400:].mean(), f[400:].var(ddof=1), 1000)
        expected = sequence.interval(sequence.update(state, y[:t], f[:t]))
        np.testing.assert_allclose(
            ppi.anytime(result, prior=prior)[0], expected, rtol=2e-3, atol=2e-3
        )


def test_an_intercept_and_any_loss_have_the_limits_of_the_mean():
    x, y, f = stream(1)
    one = x[:, :1]
    mean = ppi.anytime(ppi.mean(y, f[:400], f[400:], tune=0.5), prior=("t", 2.0, 0.1))
    ols = ppi.ols(one[:400], y, f[:400], one[400:], f[400:], tune=0.5)
    np.testing.assert_allclose(ppi.anytime(ols, prior=("t", 2.0, 0.1)), mean, rtol=1e-2)

    def loss(theta, row):
        return jnp.logaddexp(0.0, row["x"] @ theta) - row["y"] * (row["x"] @ theta)

    b, p = (y > 0).astype(float), 1 / (1 + np.exp(-f))
    own = ppi.estimate(
        loss, {"x": x[:400], "y": b}, {"y": p[:400]}, {"x": x[400:], "y": p[400:]},
        init=np.zeros(2),
    )  # fmt: skip
    logit = ppi.logistic(x[:400], b, p[:400], x[400:], p[400:])
    np.testing.assert_allclose(ppi.anytime(own), ppi.anytime(logit), rtol=0.02)
    slope = ppi.anytime(logit.contrast([0.0, 1.0]), prior=("normal", 0.2))
    np.testing.assert_allclose(slope[0], ppi.anytime(logit, prior=("normal", 0.2))[1], rtol=1e-9)
    wide = ppi.anytime(logit, parameters="together")
    assert (np.diff(wide) > np.diff(ppi.anytime(logit))).all()


def missed(kind, runs, times, *, n=300, N=600):
    """Runs in which any look missed the truth, with the sequence and with single-look intervals."""
    found = np.zeros(2, int)
    for seed in range(runs):
        x, y, f = stream(seed, n, N)
        ever = np.zeros(2, bool)
        for t in times:
            if kind == "median":
                result, truth = ppi.quantile(y[:t], f[:t], f[n:], 0.5), 0.5
            else:
                rows = x[:t], y[:t], f[:t], x[n:], f[n:]
                result, truth = ppi.ols(*rows).contrast([0.0, 1.0]), 1.0
            for j, limits in enumerate(
                (ppi.anytime(result, alpha=0.2)[0], result.conf_int(0.2)[0])
            ):
                ever[j] |= not limits[0] <= truth <= limits[1]
        found += ever
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["median", "ols"])
def test_no_look_misses_more_often_than_promised(kind):
    sequence, single = missed(kind, 100, range(40, 301, 20))
    assert sequence <= binom.ppf(1 - 1e-5, 100, 0.2)
    assert single > sequence


def test_a_quantile_inverts_the_same_function_from_further_away():
    """The limits of a look are those of the error rate whose critical value is its reach."""
    _, y, f = stream(3)
    result = ppi.quantile(y, f[:400], f[400:], [0.25, 0.5])
    found = ppi.anytime(result, alpha=0.1)
    for j, df in enumerate(result.df):
        rate = 2 * student.sf(looks.reach(0.1, 400, 100), df)
        np.testing.assert_array_equal(found[j], result.conf_int(rate)[j])


def test_it_waits_and_says_what_it_cannot_do():
    _, y, f = stream(2)
    few = ppi.mean(y[:39], f[:39], f[400:])
    assert np.isinf(ppi.anytime(few)).all()
    assert np.isfinite(ppi.anytime(few, n_min=30)).all()
    median = ppi.quantile(y, f[:400], f[400:], 0.5)
    with pytest.raises(MethodError, match="no prior"):
        ppi.anytime(median, prior=("t", 2.0, 0.1))
    two = ppi.mean(y, np.column_stack([f, f**2])[:400], np.column_stack([f, f**2])[400:])
    with pytest.raises(MethodError, match="one predictor"):
        ppi.anytime(two, prior=("t", 2.0, 0.1))
    with pytest.raises(MethodError, match="influence values"):
        ppi.anytime(ppi.difference(few, few), n_min=30)
    assert looks.reach(0.1, 100, 100) < looks.reach(0.1, 100, 1000)
