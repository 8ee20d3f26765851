"""Calibration of amortized posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import probinf.conformal as pc
from probinf.errors import MethodError


def simulate(rng, n, draws=200):
    """theta ~ N(0, 1), x ~ N(theta, 0.3 + |theta|); q pretends the noise is 0.5 everywhere."""
    theta = rng.normal(size=n)
    x = theta + (0.3 + abs(theta)) * rng.normal(size=n)
    sd = 0.5 / np.sqrt(1.25)
    sample = 0.8 * x[:, None] + sd * rng.normal(size=(n, draws))
    log_q = norm.logpdf(theta, 0.8 * x, sd)
    scores = {
        "hpd": pc.posteriors.hpd_scores(log_q, norm.logpdf(sample, 0.8 * x[:, None], sd)),
        "waldo": pc.posteriors.waldo_scores(theta[:, None], sample[..., None]),
        "log": -log_q,
    }
    return scores, x[:, None]


@pytest.mark.parametrize("name", ["waldo", "log", "hpd"])
def test_global_calibration_repairs_coverage(name):
    rng = np.random.default_rng(0)
    scores, x = simulate(rng, 8000)
    fresh, x_fresh = simulate(rng, 8000)
    region = pc.calibrate_posterior(scores[name], x)
    covered = region.contains(fresh[name], x_fresh).mean()
    assert covered > 0.9 - 4 * np.sqrt(2 * 0.09 / 8000)
    if name == "hpd":  # scores tie at 1: conservative; the nominal region is the broken twin
        assert (fresh[name] <= 0.9).mean() < 0.75
    else:
        assert covered < 0.9 + 4 * np.sqrt(2 * 0.09 / 8000)


def worst_bin(covered, x):
    edges = np.quantile(x, np.linspace(0, 1, 11)[1:-1])
    bins = np.digitize(x[:, 0], edges)
    return min(covered[bins == b].mean() for b in range(10))


def test_local_calibration_holds_in_every_bin_where_global_does_not():
    rng = np.random.default_rng(1)
    scores, x = simulate(rng, 12_000, draws=20)
    fresh, x_fresh = simulate(rng, 20_000, draws=20)
    local = pc.calibrate_posterior(scores["log"], x, local=True)
    plain = pc.calibrate_posterior(scores["log"])
    worst = worst_bin(local.contains(fresh["log"], x_fresh), x_fresh)
    assert worst >= 0.85 > worst_bin(plain.contains(fresh["log"], x_fresh), x_fresh)


def test_local_needs_data():
    with pytest.raises(MethodError, match="needs x"):
        pc.calibrate_posterior(np.ones(10), local=True)
