"""ParticleFilter: its evidence is unbiased, its smoothers agree with algebra, its refusals."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf import resampling
from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.errors import MethodError, StructureError, ZeroLikelihoodError
from tests.cases import linear_gaussian as case

RUNS = 4000
FILTERS = {
    "bootstrap": {},
    "guided": {"proposal": case.proposal, "initial_proposal": case.initial_proposal},
    "auxiliary": {"auxiliary": case.first_stage},
    "auxiliary, sometimes": {"auxiliary": "mean", "resample_below": 0.5},
    "guided auxiliary": {"auxiliary": case.first_stage, "proposal": case.proposal},
}
RESAMPLERS = ("systematic", "stratified", "multinomial", "residual", "killing", "ssp")


@partial(jax.jit, static_argnums=0)
def clouds(method: pi.ParticleFilter, program: Program, key: jax.Array):
    """Mass, and mass times tanh of the last state, of many small filters."""

    def one(key):
        cloud = method.populate(key, program)
        value = jnp.sum(jnp.exp(cloud.log_w) * jnp.tanh(cloud.x["states"]))
        return cloud.log_z, value

    return jax.lax.map(one, jax.random.split(key, RUNS), batch_size=500)


def scores(method: pi.ParticleFilter, key: int = 0) -> np.ndarray:
    """z-scores of the mean mass, and of the mean mass times a bounded function."""
    log_z, mean, covariance = case.exact()
    found, values = map(np.asarray, clouds(method, case.program(), jax.random.key(key)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = weights @ np.tanh(mean[-1] + np.sqrt(covariance[-1, -1]) * nodes) / weights.sum()
    mass = np.exp(found - log_z)
    both = np.stack([mass - 1, mass * values - truth])
    return both.mean(1) / (both.std(1) / np.sqrt(RUNS))


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_properly_weighted(name: str) -> None:
    """4,000 filters of 8 particles, |z| < 4.5 (1e-5 each)."""
    assert np.abs(scores(pi.ParticleFilter(8, **FILTERS[name]))).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_with_every_resampler(name: str, resampler: str) -> None:
    """The same for each pair, |z| < 4.5; over 20 keys their mean square is that of noise."""
    method = pi.ParticleFilter(
        8, resampler=getattr(resampling, resampler), **{"resample_below": 0.7} | FILTERS[name]
    )
    found = np.array([scores(method, key) for key in range(20)])
    assert np.abs(found).max() < 4.5
    assert np.abs(found.mean(0)).max() * np.sqrt(20) < 4.5


def smoothed(smoother: str, key: int, **options) -> pi.Posterior:
    method = pi.ParticleFilter(2000, islands=2, smoother=smoother, paths=4000, **options)
    return pi.sample(case.program(), method, key=key, progress=False, check=False)


@pytest.mark.parametrize(
    ("smoother", "options"),
    [
        ("backward", {}),
        pytest.param("backward", {"proposal": case.proposal}, marks=pytest.mark.slow),
        pytest.param("rejection", {}, marks=pytest.mark.slow),
        ("mcmc", {}),
        ("fixed lag", {"lag": 5}),
        pytest.param("genealogy", {"resampler": resampling.ssp}, marks=pytest.mark.slow),
    ],
)
def test_smoothers_agree_with_algebra(smoother: str, options: dict) -> None:
    """Means and covariances of all steps; errors of 2,000 particles are about 2 per cent of sd."""
    _, mean, covariance = case.exact()
    found = smoothed(smoother, 1, **options)
    paths = found.draws["states"].reshape(-1, case.Y.size)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((paths.mean(0) - mean) / sd, 0, atol=0.15)
    if smoother != "fixed lag":  # whose steps do not belong together
        np.testing.assert_allclose(
            np.cov(paths.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.2
        )
    assert abs(found.log_evidence.z(case.exact()[0])) < 5


@pytest.mark.slow
@pytest.mark.parametrize("smoother", ["backward", "rejection", "mcmc", "genealogy"])
def test_smoothed_moments_within_their_errors(smoother: str) -> None:
    """Means and covariances over 30 keys; |z| < 4.5 for each of 27 numbers."""
    _, mean, covariance = case.exact()
    rows = []
    for key in range(30):
        paths = smoothed(smoother, key).draws["states"].reshape(-1, case.Y.size)
        rows.append(np.concatenate([paths.mean(0), np.cov(paths.T)[np.triu_indices(6)]]))
    rows = np.array(rows)
    truth = np.concatenate([mean, covariance[np.triu_indices(6)]])
    z = (rows.mean(0) - truth) / (rows.std(0, ddof=1) / np.sqrt(len(rows)))
    assert np.abs(z).max() < 4.5


def test_paths_are_draws_of_the_program() -> None:
    found = smoothed("rejection", 3)
    assert found.draws["states"].shape == (2, 4000, 6)
    assert found.unconstrained.shape == (2, 4000, 6)
    ahead = found.predict(key=0, steps=3)
    assert ahead["observations"].shape == (2, 4000, 3)
    again = found.predict(key=0)["observations"]
    assert again.shape == (2, 4000, 6)


def test_last_states_and_summaries(tmp_path) -> None:
    found = pi.sample(
        case.program(),
        pi.ParticleFilter(2000, islands=2, quantiles=(0.05, 0.95)),
        key=0,
        progress=False,
    )
    assert found.draws["states"].shape == (2, 2000)
    assert found.history["mean:states"].shape == (2, 6)
    assert found.history["quantiles:states"].shape == (2, 6, 2)
    _, mean, covariance = case.exact()
    assert abs(found.history["mean:states"][:, -1].mean() - mean[-1]) < 0.06
    assert abs(found.history["sd:states"][:, -1].mean() - np.sqrt(covariance[-1, -1])) < 0.05
    found.save(tmp_path / "filtered")
    again = pi.load(tmp_path / "filtered", program=case.program())
    np.testing.assert_array_equal(again.draws["states"], found.draws["states"])
    with pytest.raises(StructureError, match=r"predict\(steps=\), or draw paths"):
        again.predict(key=1)
    ahead = again.predict(key=1, steps=2)
    spread = np.sqrt(case.RHO**2 * covariance[-1, -1] + case.Q**2)
    one = ahead["states"][..., 0]
    assert abs(one.mean() - case.RHO * mean[-1]) < 0.1
    assert abs(one.std() - spread) < 0.06


def far(x, r):
    return dist.Uniform(x - r, x + r)


def test_all_weights_zero_names_the_step() -> None:
    y = np.array([0.1, 0.0, 0.2, 900.0, 0.0])
    program = pi.from_state_space(
        case.initial, case.transition, far, y, parameters={"rho": 0.8, "q": 0.6, "r": 1.0}
    )
    with pytest.raises(ZeroLikelihoodError, match=r"zero at step 3 \(observed: 900.0\)"):
        pi.sample(program, pi.ParticleFilter(200), key=0, progress=False, check=False)


def test_unknown_parameters_and_other_programs_are_refused() -> None:
    program = pi.from_state_space(
        case.initial,
        case.transition,
        case.emission,
        np.zeros(4),
        parameters={"rho": dist.Uniform(-1, 1), "q": 0.6, "r": 0.5},
    )
    with pytest.raises(MethodError, match=r"\['rho'\] are unknown"):
        pi.sample(program, pi.ParticleFilter(), key=0, progress=False)
    other = pi.from_log_density(lambda x: -x @ x, initial=np.zeros(2))
    with pytest.raises(MethodError, match="needs a state-space program"):
        pi.sample(other, pi.ParticleFilter(), key=0, progress=False)
    with pytest.raises(MethodError, match="must be drawn anew at every step"):
        pi.ParticleFilter(smoother="mcmc", resample_below=0.5)
    with pytest.raises(MethodError, match="GiB"):
        pi.ParticleFilter(10**9, smoother="backward").plan(
            case.program(), Layout.of(case.program())
        )
