"""SMC that is stopped on its way leaves particles of the measure it has reached, and says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError
from probinf.samplers.smc import SMC

Y = np.random.default_rng(0).normal(3.0, 1.0, 40)


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.fixture(
    scope="module", params=["temperature", pytest.param("data", marks=pytest.mark.slow)]
)
def stopped(request: pytest.FixtureRequest) -> pi.Posterior:
    method = pi.SMC(
        particles=400, islands=4, path=request.param, kernel=pi.kernels.RandomWalk(), moves=3
    )
    return pi.sample(pi.from_numpyro(model, Y), method, key=0, progress=False, max_seconds=0.0)


def test_the_particles_are_of_the_measure_reached(stopped: pi.Posterior) -> None:
    t = stopped.provenance["reached"]
    if "data" in stopped.history:
        powers = np.clip(t - np.arange(len(Y)), 0.0, 1.0)
    else:
        powers = np.full(len(Y), t)
    assert 0 < powers.sum() < len(Y)
    precision = 0.25 + powers.sum()
    row = stopped.summary()["mu"]
    assert abs(row["mean"] - powers @ Y / precision) < 5 * row["mcse"]
    assert row["sd"] == pytest.approx(precision**-0.5, rel=0.15)


def test_they_are_marked(stopped: pi.Posterior) -> None:
    found = stopped.diagnose()
    assert "tempered" in found.codes and not found
    said = " ".join(finding.message for finding in found.findings)
    assert "not of the posterior" in said and "checkpoint=" in said
    assert stopped.evidence is None and stopped.program is not None
    # its program is the one of its draws: what is computed from it is consistent
    assert np.isfinite(pi.fit(stopped).data[1].mean).all()


def test_islands_that_are_farther_are_weighted_back(stopped: pi.Posterior) -> None:
    last = stopped.history["data" if "data" in stopped.history else "beta"][:, -1]
    assert np.ptp(last) > 0 and stopped.provenance["reached"] == pytest.approx(last.min())


@pytest.mark.slow
def test_an_end_that_is_never_reached_is_still_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probinf.samplers.smc._MAX_STAGES", {"temperature": 1, "data": 1})
    method = dataclasses.replace(
        SMC(particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=1), target_ess=0.99
    )
    with pytest.raises(MethodError, match=r"not reached in 1 stages"):
        pi.sample(pi.from_numpyro(model, Y), method, key=0, progress=False)
