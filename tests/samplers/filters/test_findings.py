"""A filter says when an observation was where hardly any particle is."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.samplers.filters.findings import few_particles
from probinf.samplers.populations.pooling import pooled_evidence
from tests.cases import linear_gaussian as case
from tests.samplers.filters.test_lines import series

PLACE = 10


def with_outlier(size: float) -> np.ndarray:
    """Twenty steps, one of them so many standard deviations of the emission away."""
    y = series(20)
    y[PLACE] += size * case.R
    return y


def run(y: np.ndarray, key: int = 0, **options) -> pi.Posterior:
    method = pi.ParticleFilter(1000, **options)
    return pi.sample(case.program(y), method, key=key, progress=False, check=False)


def test_an_outlier_is_found_and_widens_the_error() -> None:
    """At each of twenty keys, where the evidence is one to ten too low (z-scores down to -8)."""
    found = run(with_outlier(8.0), islands=4)
    assert "few_particles" in found.diagnose().codes
    assert any(f"step {PLACE} rests on" in f.message for f in found.diagnose().findings)
    assert found.history["ess"][:, PLACE].min() < 10
    usual = run(series(20), islands=4)
    assert "few_particles" not in usual.diagnose().codes
    assert abs(usual.log_evidence.z(case.exact(series(20))[0])) < 5


@pytest.mark.slow
def test_the_finding_widens_the_error(monkeypatch) -> None:
    """Root mean square of z over forty filters; the mutant, who finds nothing, has more."""
    y = with_outlier(6.0)
    exact = case.exact(y)[0]

    def size() -> float:
        return float(
            np.sqrt(np.mean([run(y, key).log_evidence.z(exact) ** 2 for key in range(40)]))
        )

    honest = size()
    monkeypatch.setattr("probinf.samplers.filters.particle_filter.few_particles", lambda *_: ())
    assert honest < 0.85 * size()


def proposal(x, observation, rho, q, r):
    both = q**2 + r**2
    return dist.Normal((rho * x * r**2 + observation * q**2) / both, q * r / both**0.5)


def look_ahead(x, observation, rho, q, r):
    return dist.Normal(rho * x, (q**2 + r**2) ** 0.5).log_prob(observation)


def test_a_proposal_that_looks_at_the_observation_mends_it() -> None:
    y = with_outlier(8.0)
    found = run(y, proposal=proposal, auxiliary=look_ahead)
    assert "few_particles" not in found.diagnose().codes
    assert abs(found.log_evidence.z(case.exact(y)[0])) < 5


def test_particles_of_parameters_too(monkeypatch) -> None:
    """It holds at each of twelve keys; the error is told that its parts are too small."""
    method = pi.SMC2(particles=200, state_particles=50)
    widened: list[bool] = []

    def told(*args, uneven: bool) -> pi.Estimate:
        widened.append(uneven)
        return pooled_evidence(*args, uneven=uneven)

    monkeypatch.setattr("probinf.samplers.populations.base.pooled_evidence", told)

    def codes(y: np.ndarray) -> list[str]:
        free = {"rho": dist.Uniform(0.3, 0.99), "q": case.Q, "r": case.R}
        program = pi.from_state_space(
            case.initial, case.transition, case.emission, y, parameters=free
        )
        found = pi.sample(program, method, key=0, progress=False, check=False)
        if "few_particles" in found.diagnose().codes:
            assert any(f"step {PLACE} rests on" in f.message for f in found.diagnose().findings)
        return found.diagnose().codes

    assert "few_particles" in codes(with_outlier(8.0))
    assert "few_particles" not in codes(series(20))
    assert widened == [True, False]


def test_islands_that_die_count_as_none() -> None:
    """Their weights, all zero, are no thousand equal ones."""

    def transition(x):
        return dist.Normal(x, 1.0)

    def emission(x):
        return dist.Uniform(x - 1.0, x + 1.0)

    y = np.array([0.0, 0.0, 0.0, 3.5, 3.5])
    program = pi.from_state_space(lambda: dist.Normal(0.0, 1.0), transition, emission, y)
    method = pi.ParticleFilter(100, islands=8)
    found = pi.sample(program, method, key=0, progress=False, check=False)
    assert np.isneginf(found.history["log_increment"]).any()
    assert "few_particles" in found.diagnose().codes


def test_what_is_said_of_steps() -> None:
    ess = np.full((3, 5), 400.0)
    assert few_particles(ess, 1000) == ()
    ess[:, 2], ess[0, 1], ess[1, 4] = 2.0, 1.0, np.nan
    (one,) = few_particles(ess, 1000)
    assert "step 2 rests on 2.0 of 1000" in one.message
    assert "more" not in one.message.split("):")[0]
    assert few_particles(np.full((2, 3), 2.0), 8) == ()  # of eight, as many as there can be
    assert few_particles(np.array([[1.0], [400.0]]), 1000)  # half of the islands
    ess[:, 3] = 1.0
    (two,) = few_particles(ess, 1000)
    assert "step 2 rests" in two.message
    assert "fewer than 10 at 1 more" in two.message
