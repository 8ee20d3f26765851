"""Broken twins of the approximate engines, each of which a law of theirs must catch."""

from __future__ import annotations

import jax
import numpy as np
from scipy.stats import chi2

import probinf as pi
from probinf.core.laws import FactorNormal
from probinf.samplers.approximate import climbing, pathfinder, reporting, variational
from probinf.validity import check_base
from tests.cases import targets
from tests.laws import test_approximate as law


def test_laplace_at_the_mode_of_the_user_is_not_laplace(monkeypatch) -> None:
    """A forgotten Jacobian: the top of the density in the user's coordinates."""
    program = pi.from_numpyro(law.scale_only, law.Y)
    engine = pi.Laplace(starts=2, draws=1000)
    right = law.run(program, engine).provenance["approximation"]["log_density"]

    def without(program, x, user):
        return climbing.log_density(program, x) - program.log_jacobian(x, program.data)

    jax.clear_caches()
    monkeypatch.setattr(climbing, "objective", without)
    broken = law.run(program, engine)
    jax.clear_caches()
    grid = np.linspace(0.3, 3.0, 270_001)
    log_p = -grid - len(law.Y) * np.log(grid) - 0.5 * (law.Y**2).sum() / grid**2
    with_jacobian, bare = (grid[v.argmax()] for v in (log_p + np.log(grid), log_p))
    at = float(np.exp(broken.approximation.mean[0]))
    assert abs(at - bare) < 1e-3 < abs(at - with_jacobian)
    assert broken.provenance["approximation"]["log_density"] != right


def test_the_wrong_sign_of_the_entropy_is_no_fit(monkeypatch) -> None:
    def wrong(log_p, log_q):
        gap, fine = right(log_p, -log_q)
        return gap, fine

    right = variational._entropy_and_energy
    engine = pi.VI("full_rank", draws=1000, max_steps=1000)
    jax.clear_caches()
    monkeypatch.setattr(variational, "_entropy_and_energy", wrong)
    broken = law.run(targets.correlated().program, engine)
    jax.clear_caches()
    covariance = law.correlated_posterior()[2]
    x = broken.unconstrained.reshape(-1, 2)
    assert np.abs(np.cov(x.T) - covariance).max() > 0.15
    assert not broken.provenance["approximation"]["pareto_k"] < 0.5


def test_ignored_weights_give_modes_the_wrong_mass(monkeypatch) -> None:
    def ignored(log_ratio):
        return np.full(log_ratio.size, -np.log(log_ratio.size)), 0.0

    monkeypatch.setattr(reporting, "psis", ignored)
    monkeypatch.setattr(pathfinder, "psis", ignored)
    assert abs(law.share_of_the_low_mode() - 0.1) > 0.05


def test_a_forgotten_determinant_fails_the_base_law(monkeypatch) -> None:
    def without(self, x):
        return right(self, x) + self.log_diagonal.sum()

    right = FactorNormal.log_density
    program = targets.correlated().program
    posterior = law.run(program, pi.Laplace(starts=1, draws=1000))
    assert check_base(posterior.as_program(), key=1, draws=4000)
    jax.clear_caches()
    monkeypatch.setattr(FactorNormal, "log_density", without)
    result = check_base(posterior.as_program(), key=1, draws=4000)
    jax.clear_caches()
    assert not result


def test_a_part_of_the_data_without_its_scale_is_biased() -> None:
    """What a minibatch would be if it were not scaled up: a flatter likelihood."""
    y = np.random.default_rng(0).normal(1.0, 2.0, 500)
    program = pi.from_numpyro(law.minibatched, y)
    x = {"mu": np.float32(0.5), "sigma": np.float32(0.3)}
    whole = float(program.score(x, program.data).log_weight)
    part = float(
        program.subsampled((("data", 500),), jax.random.key(0), x, program.data).log_weight
    )
    tenth = program.subsampled((("data", 50),), jax.random.key(0), x, program.data).log_weight
    assert abs(part / whole - 1) < 0.2
    assert abs(float(tenth) / whole - 1) < 0.6 and abs(float(tenth) / 10 / whole - 1) > 0.6


def test_an_evidence_from_draws_of_the_law_alone_is_too_small(monkeypatch) -> None:
    monkeypatch.setattr(reporting, "widened", lambda run, law, seen, key: seen)
    z = law.z_of_an_exponential_tail(pi.Laplace(starts=2), range(10))
    assert chi2.sf(z @ z, z.size) < 1e-5
