"""loo and compare: exact answers where they exist, ArviZ's numbers, weights, and warnings."""

from __future__ import annotations

import dataclasses

import arviz_base
import arviz_stats
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import probinf as pi
from probinf.core.psis import psis
from probinf.errors import StructureError
from probinf.evidence.loo import _stacking

RNG = np.random.default_rng(0)
Y = RNG.normal(1.0, 1.0, 30)


def location(y, scale=3.0):
    mu = numpyro.sample("mu", dist.Normal(0, scale))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def two_sites(y):
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)
    numpyro.sample("w", dist.Normal(mu, 1), obs=y[:5])


def exact(y: np.ndarray, scale: float = 3.0) -> np.ndarray:
    """Leave-one-out predictive densities of the conjugate model."""
    n = len(y) - 1
    variance = 1 / (n + scale**-2)
    return norm.logpdf(y, variance * (y.sum() - y), np.sqrt(1 + variance))


def as_posterior(y: np.ndarray, draws: np.ndarray, log_w: np.ndarray | None = None) -> pi.Posterior:
    """Given draws of mu as a posterior of the location model."""
    chains = draws.reshape(4, -1)
    return pi.Posterior(
        draws={"mu": chains},
        log_weights=np.zeros(chains.shape) if log_w is None else log_w.reshape(chains.shape),
        stats={},
        history={},
        unconstrained=chains[..., None],
        provenance={},
        kind="chains" if log_w is None else "weighted",
        clusters=None if log_w is None else np.arange(chains.size).reshape(chains.shape),
        program=pi.from_numpyro(location, y),
    )


def conjugate(y: np.ndarray, n: int = 4000) -> pi.Posterior:
    variance = 1 / (len(y) + 1 / 9)
    return as_posterior(y, norm.rvs(variance * y.sum(), variance**0.5, n, random_state=1))


def test_the_exact_answer() -> None:
    found = pi.loo(conjugate(Y))
    np.testing.assert_allclose(found.pointwise, exact(Y), atol=0.02)
    truth = exact(Y)
    assert found.elpd.value == pytest.approx(truth.sum(), abs=0.1)
    assert found.elpd.error == pytest.approx(np.sqrt(30 * truth.var(ddof=1)), rel=0.05)
    assert found.p_loo == pytest.approx(1.0, abs=0.4) and found.unreliable == []
    assert found.labels[3] == "y[3]" and "over 30 data" in str(found)
    # the mutant that forgets to leave out is far from it, by p_loo
    assert abs(found.elpd.value + found.p_loo - truth.sum()) > 0.5


def test_weights_are_respected() -> None:
    """Draws of a wide proposal with their importance weights give the same answer."""
    variance = 1 / (30 + 1 / 9)
    x = norm.rvs(variance * Y.sum(), 2 * variance**0.5, 8000, random_state=2)
    log_w = norm.logpdf(x, variance * Y.sum(), variance**0.5)
    log_w -= norm.logpdf(x, variance * Y.sum(), 2 * variance**0.5)
    found = pi.loo(as_posterior(Y, x, log_w), max_draws=8000)
    np.testing.assert_allclose(found.pointwise, exact(Y), atol=0.03)
    ignored = pi.loo(as_posterior(Y, x), max_draws=8000)
    assert ignored.p_loo > 2 * found.p_loo


def test_arviz_agrees() -> None:
    posterior = conjugate(Y)
    mu = posterior.draws["mu"]
    log_l = norm.logpdf(Y, mu[..., None], 1)
    data = arviz_base.from_dict({"posterior": {"mu": mu}, "log_likelihood": {"y": log_l}})
    theirs = arviz_stats.loo(data, pointwise=True, reff=1.0)
    ours = pi.loo(posterior)
    assert ours.elpd.value == pytest.approx(float(theirs.elpd), abs=0.02)
    assert ours.p_loo == pytest.approx(float(theirs.p), abs=0.02)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k.values, atol=0.05)


def test_an_outlier_is_named() -> None:
    y = np.append(Y, 25.0)
    found = pi.loo(conjugate(y))
    assert found.unreliable[0] == "y[30]" and found.pareto_k[30] > 0.7
    assert "y[30]" in str(found) and "heavier tails" in str(found)


def test_compare() -> None:
    good = conjugate(Y)
    tight = dataclasses.replace(
        as_posterior(Y, 0.01 * np.random.default_rng(3).normal(size=4000)),
        program=pi.from_numpyro(location, Y, scale=0.01),
    )
    found = pi.compare({"tight": tight, "good": good})
    assert list(found.loos) == ["good", "tight"]
    assert found.differences["good"].value == 0 and found.differences["tight"].value < -5
    assert found.weights["good"] > 0.8 and sum(found.weights.values()) == pytest.approx(1)
    assert str(found).splitlines()[1].startswith("good")


def test_stacking_mixes_models_that_are_right_for_different_data() -> None:
    log_p = np.log(np.array([[0.9, 0.9, 0.1, 0.9], [0.1, 0.1, 0.9, 0.1]]))
    share = _stacking(log_p)[0]
    grid = np.linspace(0.001, 0.999, 999)
    score = np.log(grid[:, None] * np.exp(log_p[0]) + (1 - grid[:, None]) * np.exp(log_p[1]))
    assert share == pytest.approx(grid[score.sum(axis=1).argmax()], abs=0.002)


def test_refusals() -> None:
    posterior = conjugate(Y)
    with pytest.raises(StructureError, match="needs its program"):
        pi.loo(dataclasses.replace(posterior, program=None))
    with pytest.raises(StructureError, match=r"no observed site named 'z'; there are \['y'\]"):
        pi.loo(posterior, site="z")
    several = dataclasses.replace(posterior, program=pi.from_numpyro(two_sites, Y))
    with pytest.raises(StructureError, match=r"say whose.*site="):
        pi.loo(several)
    assert len(pi.loo(several, site="w").labels) == 5
    with pytest.raises(StructureError, match="same data"):
        pi.compare({"a": posterior, "b": conjugate(Y[:10])})
    with pytest.raises(StructureError, match="at least two"):
        pi.compare({"a": posterior})


def test_rounded_weights_keep_their_shape() -> None:
    """Ties at the edge of the tail, from single precision, say nothing about its shape."""
    log_w = 0.3 * np.random.default_rng(0).normal(size=4000)
    exact_k = psis(log_w)[1]
    for digits in (2, 3, 4):
        assert psis(np.round(log_w, digits))[1] == pytest.approx(exact_k, abs=0.1)


def test_one_number_is_no_likelihood_per_datum() -> None:
    total = pi.from_log_likelihood(squared, dist.Normal(0, 1))
    posterior = pi.sample(total, pi.Importance(draws=200), key=0, progress=False)
    with pytest.raises(StructureError, match="known as one number"):
        pi.loo(posterior)


def squared(x):
    return -(x**2)
