"""The learned harmonic mean against evidences in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.harmonic import normal_gamma_draws
from probinf.errors import EvidenceError, MethodError
from probinf.evidence import harmonic, harmonic_mean
from probinf.evidence.flow_fitting import flow_of


def normal_gamma(tau0: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, Any, float]:
    """As four chains: draws, log density; log likelihood and the log evidence."""
    x, log_density, log_l, log_z = normal_gamma_draws(tau0, seed, count)
    return x.reshape(4, -1, 2), log_density.reshape(4, -1), log_l, log_z


@pytest.mark.parametrize(
    "tau0", [1e-4, *(pytest.param(t, marks=pytest.mark.slow) for t in (1e-2, 1.0))]
)
def test_the_evidence_of_the_normal_gamma_model(tau0: float) -> None:
    x, log_density, log_l, log_z = normal_gamma(tau0, 2000, seed=1)
    found = harmonic(x, log_density=log_density)
    assert abs(found.estimate.value - log_z) < 0.05
    assert abs(found.estimate.z(log_z)) < 4 and found.estimate.error < 0.02
    assert found, found
    if tau0 == 1e-4:  # the estimator that learns nothing, with the prior in the flow's place
        naive = harmonic_mean.averaged(-log_l.reshape(4, -1), {}, 1.0)
        assert abs(naive.estimate.value - log_z) > 2.0


@pytest.fixture(scope="module")
def bent() -> tuple[np.ndarray, Any]:
    """Draws far from normal, so that a flow has work to do, and the flow that is fitted to them."""
    x = np.exp(np.random.default_rng(0).normal(size=(4, 500, 2)))
    first = x[:, :250].reshape(-1, 2)
    equal, factor = np.full(1000, 1e-3), np.linalg.cholesky(np.cov(first.T))
    return x, flow_of(first, equal, first.mean(axis=0), factor, np.float32)


def test_without_the_change_of_volume_it_fails(bent: Any, monkeypatch: Any) -> None:
    """The mutant: the density of the noise is taken for that of the draws."""

    def without(flow: Any, z: Any) -> Any:
        noise, change = right(flow, z)
        return noise, 0.0 * change

    x, law = bent
    log_density = stats.lognorm(1.0).logpdf(x).sum(axis=2)
    right = harmonic_mean._noise
    monkeypatch.setattr(harmonic_mean, "flow_of", lambda *given: law)
    assert abs(harmonic(x, log_density=log_density).estimate.value) < 0.1
    monkeypatch.setattr(harmonic_mean, "_noise", without)
    assert abs(harmonic(x, log_density=log_density).estimate.value) > 0.3


def test_draws_of_another_law_are_noticed(bent: Any, monkeypatch: Any) -> None:
    x, law = bent
    monkeypatch.setattr(harmonic_mean, "flow_of", lambda *given: law)
    found = harmonic(x, log_density=stats.lognorm(0.7).logpdf(x).sum(axis=2))
    assert not found and "temperatures" in found.diagnose().codes


def test_errors_are_calibrated_and_the_mean_is_right() -> None:
    """With any normalised density, of draws as correlated as those of chains."""
    rng, z, rho = np.random.default_rng(0), [], 0.6
    for _ in range(300):
        x = rng.normal(size=(2, 200, 3))
        for k in range(1, 200):
            x[:, k] = rho * x[:, k - 1] + np.sqrt(1 - rho**2) * x[:, k]
        log_p = stats.norm.logpdf(x).sum(axis=2) + 5.0

        def ratios(t: float, x: np.ndarray = x, log_p: np.ndarray = log_p) -> np.ndarray:
            return stats.norm(0, np.sqrt(t)).logpdf(x).sum(axis=2) - log_p

        found = harmonic_mean.averaged(ratios(0.7), {0.9: ratios(0.9)}, 0.7)
        z.append([found.estimate.z(5.0), found.by_temperature[0.9][1]])
    spread, mean = np.std(z, axis=0), np.mean(z, axis=0)
    assert ((spread > 0.8) & (spread < 1.3)).all(), spread
    assert (abs(mean) < 5 / np.sqrt(300)).all(), mean


def test_what_cannot_be_done_is_said() -> None:
    x = np.random.default_rng(0).normal(size=(4, 100, 2))
    log_density = stats.norm.logpdf(x).sum(axis=2)
    with pytest.raises(EvidenceError, match="pass log_density="):
        harmonic(x)
    with pytest.raises(EvidenceError, match=r"got \(4, 100, 2\) and \(4, 99\)"):
        harmonic(x, log_density=log_density[:, 1:])
    with pytest.raises(EvidenceError, match="at least 96 are needed"):
        harmonic(x[:1, :60], log_density=log_density[:1, :60])
    with pytest.raises(EvidenceError, match="never moves"):
        harmonic(np.zeros_like(x), log_density=log_density)
    with pytest.raises(MethodError, match=r"temperature must lie in \(0, 1\), got 1.5"):
        harmonic(x, log_density=log_density, temperature=1.5)
