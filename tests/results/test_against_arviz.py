"""Our ESS, R-hat and PSIS against ArviZ's, on chains that are easy and hard."""

from __future__ import annotations

import numpy as np
import pytest

from probinf import diagnostics

base = pytest.importorskip("arviz_stats.base")


def chains(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(4, 500, 3))
    if kind == "independent":
        return noise
    if kind == "heavy":
        return rng.standard_t(1.5, size=(4, 500, 3))
    if kind == "ties":
        return np.round(noise * 2)
    rho = {"slow": 0.95, "antithetic": -0.6}.get(kind, 0.5)
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0]
    for t in range(1, 500):
        draws[:, t] = rho * draws[:, t - 1] + noise[:, t]
    if kind == "apart":
        draws += np.arange(4)[:, None, None]
    return draws


KINDS = ["independent", "slow", "antithetic", "heavy", "ties", "apart"]


@pytest.mark.parametrize("kind", KINDS)
def test_effective_sizes_and_rhat(kind):
    draws = chains(kind)
    where = {"chain_axis": 0, "draw_axis": 1}
    pairs = [
        (diagnostics.ess_bulk(draws), base.array_stats.ess(draws, method="bulk", **where)),
        (
            diagnostics.ess_tail(draws),
            base.array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **where),
        ),
        (diagnostics.ess_mean(draws), base.array_stats.ess(draws, method="mean", **where)),
        (diagnostics.rhat(draws), base.array_stats.rhat(draws, method="rank", **where)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0.02)


def test_constant_and_broken_draws_have_no_numbers():
    draws = chains("independent")
    draws[..., 1] = 3.0
    draws[0, 5, 2] = np.nan
    for function in (diagnostics.ess_bulk, diagnostics.ess_mean, diagnostics.rhat):
        found = function(draws)
        assert np.isfinite(found[0])
        assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("degrees", [1.0, 2.0, 5.0])
def test_pareto_smoothing(degrees):
    rng = np.random.default_rng(2)
    log_w = np.log(np.abs(rng.standard_t(degrees, size=4000)))
    smoothed, k = diagnostics.psis(log_w)
    # ArviZ takes log likelihoods, whose inverses are the weights
    theirs, their_k = base.array_stats.psislw(-log_w)
    assert k == pytest.approx(float(their_k), abs=0.02)
    assert np.exp(smoothed).sum() == pytest.approx(1.0)
    difference = np.abs((smoothed - smoothed.mean()) - (theirs - np.mean(theirs)))
    assert np.median(difference) < 1e-3
    assert difference.max() < 0.05  # at the very top, where k is raised to a high power


@pytest.mark.parametrize("seed", range(20))
def test_weights_over_thousands_of_nats_are_smoothed_in_silence(seed):
    rng = np.random.default_rng(seed)
    log_w = -(rng.uniform(size=1600) ** rng.uniform(1, 4)) * 10 ** rng.uniform(2, 5)
    smoothed, _ = diagnostics.psis(log_w)  # a warning is an error here
    assert np.isclose(np.exp(smoothed).sum(), 1.0)
    kept = np.argsort(log_w)
    assert (np.diff(smoothed[kept]) >= 0).all()  # order is kept


@pytest.mark.parametrize("seed", range(20))
def test_what_rounding_leaves_of_equal_weights_is_no_tail(seed):
    rng = np.random.default_rng(seed)
    rounding = rng.standard_cauchy(4000).clip(-300, 300) * 1e-7  # as in the tails of a normal law
    assert diagnostics.pareto_k(rounding) == -np.inf
    assert diagnostics.pareto_k(np.where(np.arange(4000) % 2, rounding, -np.inf)) == -np.inf
    assert diagnostics.pareto_k(rounding * 1e7) > 0.7


def test_weights_that_cannot_be_judged():
    assert diagnostics.pareto_k(np.zeros(10)) == np.inf
    assert diagnostics.pareto_k(np.full(100, -np.inf)) == np.inf
    assert diagnostics.pareto_k(np.zeros(1000)) == -np.inf
    with pytest.raises(ValueError, match="NaN"):
        diagnostics.psis(np.array([0.0, np.nan]))


def test_weighted_quantiles_and_errors():
    rng = np.random.default_rng(3)
    values = rng.normal(size=4001)
    equal = np.full(4001, 1 / 4001)
    for q in (0.05, 0.5, 0.95):
        found = diagnostics.weighted_quantile(values, equal, q)
        assert found == pytest.approx(np.quantile(values, q), abs=0.01)
    assert diagnostics.weighted_quantile(np.array([1.0, 2.0, 9.0]), np.array([0, 1, 0]), 0.3) == 2
    assert diagnostics.kish_ess(np.zeros(50)) == pytest.approx(50)


def test_cluster_error_is_the_spread_over_replications():
    rng = np.random.default_rng(4)
    means, errors = [], []
    for _ in range(400):
        groups = np.repeat(np.arange(40), 5)
        values = (rng.normal(size=40)[groups] + 0.1 * rng.normal(size=200))[:, None]
        weights = rng.exponential(size=200)
        weights /= weights.sum()
        means.append(weights @ values[:, 0])
        errors.append(diagnostics.cluster_error(values, weights, groups)[0])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
    assert diagnostics.cluster_error(values, weights, np.zeros(200))[0] == np.inf
