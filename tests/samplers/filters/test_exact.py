"""ExactFilter: moments by algebra, hidden Markov models by enumeration, and what it refuses."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError, StructureError, ZeroLikelihoodError
from tests.cases import linear_gaussian as case

pytest.importorskip("cuthbert")


def exactly(program: pi.Program, draws: int = 4000) -> pi.Posterior:
    return pi.sample(
        program, pi.ExactFilter(draws), key=0, progress=False, precision="double", check=False
    )


def test_linear_gaussian_by_algebra() -> None:
    log_z, mean, covariance = case.exact()
    found = exactly(case.program())
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found.log_evidence.value, log_z, rtol=1e-9)
    np.testing.assert_allclose(found.history["smoothed mean:states"][0], mean, rtol=1e-8)
    np.testing.assert_allclose(found.history["smoothed sd:states"][0], sd, rtol=1e-8)
    np.testing.assert_allclose(found.history["mean:states"][0, -1], mean[-1], rtol=1e-8)
    paths = found.draws["states"][0]
    z = (paths.mean(0) - mean) / (sd / np.sqrt(len(paths)))
    assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(
        np.cov(paths.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.1
    )
    assert found.predict(key=0, steps=2)["observations"].shape == (1, 4000, 2)


def test_parameters_in_single_precision() -> None:
    """As another fit's means are; nothing of the system is left in single precision."""

    def log_z(kind: type) -> float:
        known = {name: kind(value) for name, value in {"rho": 0.75, "q": 0.5, "r": 0.5}.items()}
        laws = case.initial, case.transition, case.emission
        program = pi.from_state_space(*laws, case.Y, parameters=known, missing="nan")
        return exactly(program, 10).log_evidence.value

    np.testing.assert_allclose(log_z(np.float32), log_z(float), rtol=1e-12)


def several_initial():
    return {
        "level": dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.3], [0.3, 2.0]])),
        "lag": dist.Normal(0.0, 1.0),
    }


def several_transition(state, dt, push):
    level = state["level"]
    return {
        "level": dist.MultivariateNormal(
            jnp.stack([level[0] + dt * level[1], 0.9 * level[1] + push]), 0.2 * jnp.eye(2)
        ),
        "lag": dist.Delta(level[0] - state["lag"]),
    }


def several_emission(state):
    level = state["level"]
    return {
        "a": dist.Normal(jnp.stack([level[0], level[1] + state["lag"]]), 0.5),
        "b": dist.Normal(2 * state["lag"] + 1, 0.7),
    }


def test_parts_of_the_state_several_series_gaps_and_covariates() -> None:
    """Importance sampling from the joint law knows nothing of Kalman."""
    y = {
        "a": np.array([[0.5, 0.1], [np.nan, 0.4], [1.0, 0.3]]),
        "b": np.array([0.9, 2.0, np.nan]),
    }
    program = pi.from_state_space(
        several_initial,
        several_transition,
        several_emission,
        y,
        missing="nan",
        times=[0.0, 0.5, 2.0],
        covariates={"push": np.array([0.0, 0.2, -0.1])},
    )
    found = exactly(program, 10)
    other = pi.sample(program, pi.Importance(200_000), key=0, progress=False, check=False)
    assert abs(other.log_evidence.z(found.log_evidence.value)) < 4.5
    w = np.exp(other.log_weights[0] - other.log_weights.max())
    for name in ("level", "lag"):
        mean = np.average(other.draws[name][0], axis=0, weights=w)
        np.testing.assert_allclose(mean, found.history[f"smoothed mean:{name}"][0], atol=0.06)
    ahead = found.predict(
        key=0, steps=2, covariates={"push": np.array([0.0, 1.0])}, times=[2.5, 3.0]
    )
    assert ahead["a"].shape == (1, 10, 2, 2)
    lag = found.draws["level"][0, :, -1, 0] - found.draws["lag"][0, :, -1]
    np.testing.assert_allclose(np.sort(ahead["lag"][0, :, 0]), np.sort(lag), atol=1e-4)
    with pytest.raises(StructureError, match="pass covariates="):
        found.predict(key=0, steps=2, times=[2.5, 3.0])
    with pytest.raises(StructureError, match="not evenly spaced"):
        found.predict(key=0, steps=2, covariates={"push": np.zeros(2)})


RATES = np.array([0.5, 3.0, 9.0])
MOVES = np.array([[0.8, 0.2, 0.0], [0.1, 0.7, 0.2], [0.3, 0.0, 0.7]])
BEGIN = np.array([0.5, 0.3, 0.2])
COUNTS = np.array([1, 0, 4, 8, 2])


def regime_initial():
    return dist.Categorical(jnp.array(BEGIN.tolist()))


def regime_transition(z):
    return dist.Categorical(jnp.array(MOVES.tolist())[z])


def regime_emission(z):
    return dist.Poisson(jnp.array(RATES.tolist())[z])


def by_enumeration():
    """Log likelihood, smoothed probabilities and the most probable path, over all 243 paths."""
    from scipy import stats

    paths = np.array(list(itertools.product(range(3), repeat=5)))
    p = BEGIN[paths[:, 0]] * np.prod(MOVES[paths[:, :-1], paths[:, 1:]], axis=1)
    p = p * np.prod(stats.poisson.pmf(COUNTS, RATES[paths]), axis=1)
    each = (paths[..., None] == np.arange(3)).transpose(1, 2, 0) @ p / p.sum()
    return np.log(p.sum()), each, paths[p.argmax()]


def regimes(transition=regime_transition) -> pi.Program:
    return pi.from_state_space(regime_initial, transition, regime_emission, COUNTS)


def test_hidden_markov_models_by_enumeration() -> None:
    log_z, each, best = by_enumeration()
    found = exactly(regimes())
    np.testing.assert_allclose(found.log_evidence.value, log_z, rtol=1e-8)
    np.testing.assert_allclose(found.history["smoothed probability:states"][0], each, atol=1e-8)
    np.testing.assert_array_equal(found.history["most probable:states"][0], best)
    paths = found.draws["states"][0]
    share = (paths[..., None] == np.arange(3)).mean(0)
    np.testing.assert_allclose(share, each, atol=4.5 * 0.5 / np.sqrt(len(paths)))


@pytest.mark.slow
def test_the_particle_filter_on_discrete_states() -> None:
    log_z, each, _ = by_enumeration()
    method = pi.ParticleFilter(4000, islands=4, smoother="backward", paths=1000)
    found = pi.sample(regimes(), method, key=1, progress=False, check=False)
    assert abs(found.log_evidence.z(log_z)) < 5
    share = (found.draws["states"].reshape(-1, 5)[..., None] == np.arange(3)).mean(0)
    np.testing.assert_allclose(share, each, atol=0.06)
    assert found.history["probability:states"].shape == (4, 5, 3)


def curved(x, rho, q):
    return dist.Normal(jnp.sin(rho * x), q)


def spreading(x, rho, q):
    return dist.Normal(rho * x, q * (1 + x**2))


def heavy(x, rho, q):
    return dist.StudentT(3.0, rho * x, q)


@pytest.mark.parametrize(
    ("transition", "told"),
    [
        (curved, "mean of the transition is not affine"),
        (spreading, "spread of the transition depends on the state"),
        (heavy, "transition of 'states' is StudentT"),
    ],
)
def test_refusals(transition, told) -> None:
    program = pi.from_state_space(
        case.initial,
        transition,
        case.emission,
        case.Y,
        parameters={"rho": 0.8, "q": 0.6, "r": 0.5},
        missing="nan",
    )
    with pytest.raises(MethodError, match=told):
        pi.sample(program, "exact", key=0, progress=False, check=False)


def impossible(z):
    return dist.Poisson(jnp.where(z < 5, 0.0, 1.0))


def test_impossible_observations_are_named() -> None:
    program = pi.from_state_space(regime_initial, regime_transition, impossible, COUNTS)
    with pytest.raises(ZeroLikelihoodError, match="no path of the states"):
        pi.sample(program, "exact", key=0, progress=False, check=False)
