"""Confidence sequences, FAB-PPI and Bayesian PPI: closed forms, coverage, mutants."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from probinf import ppi
from probinf.ppi.estimators.pratt import acceptance, horseshoe_log_density, horseshoe_slope, region
from probinf.ppi.sequential.marginals import log_marginal
from tests.cases.ppi_samples import galaxies

DENSITIES = {
    ("normal", 0.1): stats.norm(0, 0.1).pdf,
    ("laplace", 0.1): stats.laplace(0, 0.1).pdf,
    ("t", 2.0, 0.1): lambda z: stats.t(2).pdf(z / 0.1) / 0.1,
}


marginal = jax.jit(log_marginal, static_argnums=0)


@pytest.mark.parametrize("prior", list(DENSITIES), ids=str)
@pytest.mark.parametrize("t", [40, 2000])
def test_marginals_equal_adaptive_quadrature(prior, t):
    density = DENSITIES[prior]
    tolerance = 1e-4 if prior[0] == "t" else 1e-8
    for z in (0.0, 0.05, -0.3, 1.2):
        sd = 1 / np.sqrt(t)
        edges = sorted({-8.0, 8.0, 0.0, z - 9 * sd, z, z + 9 * sd})
        total = sum(
            integrate.quad(
                lambda b, z=z, sd=sd: stats.norm.pdf(z, b, sd) * density(b),
                low,
                high,
                epsabs=0,
                epsrel=1e-11,
                limit=400,
            )[0]
            for low, high in itertools.pairwise(edges)
        )
        with jax.enable_x64(True):
            found = float(marginal(prior, z, float(t)))
        assert abs(found - np.log(total)) < tolerance


def test_batches_and_single_labels_give_the_same_state():
    rng = np.random.default_rng(0)
    f = rng.exponential(size=60)
    y = f + rng.normal(size=60)
    with jax.enable_x64(True):
        sequence = ppi.AnytimeMean()
        whole = sequence.update(sequence.init(1.0, 1.0, 5000.0), y, f)
        state = sequence.init(1.0, 1.0, 5000.0)
        for start in range(0, 60, 20):
            state = sequence.update(state, y[start : start + 20], f[start : start + 20])
        np.testing.assert_allclose(sequence.interval(state), sequence.interval(whole), rtol=1e-12)
        early = sequence.update(sequence.init(), y[:10], f[:10], fu_mean=1.0)
        assert np.all(np.isinf(sequence.interval(early)))
    limits = sequence.run(y, f, fu_mean=1.0, batch=20)
    assert limits.shape == (3, 2)


def test_the_weight_minimises_the_width():
    rng = np.random.default_rng(1)
    f = rng.normal(size=1000)
    y = 0.7 * f + rng.normal(size=1000)
    fu = rng.normal(size=2000)
    widths = {
        lam: np.diff(ppi.AnytimeMean(prior=None, lam=lam).run(y, f, fu)[-1])[0]
        for lam in ("optimal", "paper", 0.0, 1.0)
    }
    assert widths["optimal"] == min(widths.values()) < 0.95 * widths[0.0]


def missed(sequence, reps, bias, seed=0):
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(reps):
        f = rng.normal(size=600)
        y = f + rng.normal(size=600)
        limits = sequence.run(y, f + bias, fu_mean=bias)[39:]
        count += np.any((limits[:, 0] > 0) | (limits[:, 1] < 0))
    return count / reps


@dataclasses.dataclass(frozen=True)
class FixedTime(ppi.AnytimeMean):
    """Mutant: an ordinary interval at every look."""

    def _plain(self, sd, t, alpha, t_opt=None):
        return 1.645 * sd / jnp.sqrt(t)


def test_sequences_cover_all_looks_and_an_ordinary_interval_does_not():
    for prior in (None, ("normal", 0.1), ("t", 2.0, 0.1), ("laplace", 0.1)):
        sequence = ppi.AnytimeMean(prior=prior, lam=1.0)
        # 99.9 % binomial limit of 100 replications at miscoverage 0.1
        assert missed(sequence, 100, 0.0) <= 0.21
    assert missed(FixedTime(prior=None, lam=1.0), 100, 0.0) > 0.3


def test_betting_covers_from_the_first_label_and_with_known_propensities():
    rng = np.random.default_rng(0)
    reps, misses = 100, 0
    for _ in range(reps):
        p = rng.beta(1, 4, size=300)
        y = (rng.uniform(size=300) < p).astype(float)
        pi = np.where(p > 0.2, 0.8, 0.3)
        labeled = rng.uniform(size=300) < pi
        limits = ppi.BettingMean(grid=201).run(
            np.where(labeled, y, 0.0), p, labeled=labeled, propensity=pi, smallest=0.3
        )
        misses += np.any((limits[:, 0] > 0.2) | (limits[:, 1] < 0.2))
    assert misses / reps <= 0.21
    assert limits[-1, 1] - limits[-1, 0] < 0.5


def test_horseshoe_density_and_slope_equal_quadrature():
    for y in (0.0, 0.5, 2.0, 6.0):

        def integrand(k, y=y):  # k = 1 / (1 + scale squared) is Beta(1/2, 1/2)
            return np.exp(-k * y**2 / 2) / np.sqrt(2 * np.pi) / (np.pi * np.sqrt(1 - k))

        total = integrate.quad(
            lambda s, y=y: integrand(1 - s**2, y) * 2 * s, 0, 1, epsrel=1e-12, epsabs=0
        )[0]
        assert abs(horseshoe_log_density(y) - np.log(total)) < 1e-10
    h = 1e-5
    for y in (-3.0, 1e-5, 0.7, 9.0):
        numeric = (horseshoe_log_density(y + h) - horseshoe_log_density(y - h)) / (2 * h)
        assert abs(horseshoe_slope(y) - numeric) < 1e-8


@pytest.mark.parametrize("prior", ["horseshoe", ("normal", 1.0)])
def test_regions_have_their_level_at_every_mean(prior):
    rng = np.random.default_rng(0)
    density = horseshoe_log_density
    if prior != "horseshoe":
        density = stats.norm(0, np.sqrt(2)).logpdf
    for b in (0.0, 1.0, 3.0, 6.0):
        low, high = acceptance(np.array([b]), density, 0.1)
        assert abs(stats.norm.cdf(high - b) - stats.norm.cdf(low - b) - 0.9)[0] < 1e-9
        hits = 0
        for y in b + rng.normal(size=400):
            pieces = region(float(y), prior, 0.1)
            hits += np.any((pieces[:, 0] <= b) & (b <= pieces[:, 1]))
        assert abs(hits / 400 - 0.9) < 0.05
    assert 0.791 < np.ptp(region(0.0, "horseshoe", 0.1)) / 3.28971 < 0.801
    np.testing.assert_allclose(np.ptp(region(20.0, "horseshoe", 0.1)), 3.28971, rtol=1e-5)
    assert np.ptp(region(30.0, ("normal", 1.0), 0.1)) > 10  # unbounded, unlike the horseshoe


def test_fab_on_galaxies_has_the_known_widths():
    y, f = galaxies()
    rng = np.random.default_rng(0)
    width = np.zeros(3)
    for _ in range(150):
        order = rng.permutation(len(y))
        a, b = order[:300], order[300:]
        fits = [ppi.fab(y[a], f[a], f[b], m_error=m) for m in ("ignore", "minkowski")]
        low, high = fits[0].ppi.conf_int()[0]
        width += np.array([*(r.width for r in fits), high - low]) / 150
    np.testing.assert_allclose(width, [0.0462, 0.0613, 0.0564], rtol=0.03)
    assert any("wider" in note for note in fits[1].notes)


def test_bayes_covers_with_twenty_labels():
    rng = np.random.default_rng(0)
    for kind in ("chain", "difference"):
        hits = 0
        for i in range(400):
            truth = rng.uniform(size=320) < 0.4
            judge = np.where(rng.uniform(size=320) < 0.85, truth, ~truth)
            y, f = truth.astype(float), judge.astype(float)
            result = ppi.bayes(y[:20], f[:20], f[20:], kind=kind, draws=1000, key=i)
            low, high = result.conf_int()[0]
            hits += low <= 0.4 <= high
        assert 0.85 < hits / 400 < 0.97, kind
    x = rng.gamma(2, size=300)
    found = ppi.bayes(x[:30] + 0.1 * rng.normal(size=30), x[:30], x[30:], key=0)
    assert abs(found.params[0] - 2) < 4 * found.bse[0] and "difference" in repr(found)
