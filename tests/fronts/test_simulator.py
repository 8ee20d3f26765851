"""from_simulator: an ABC posterior is exact for the blurred model, with the key a coordinate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.core.program import Program
from probinf.errors import ModelError, StructureError

OBSERVED, TOLERANCE = 0.8, 0.5


def noisy(key, theta):
    return theta + jax.random.normal(key)


def gap(a, b):
    return jnp.abs(a - b)


def pair(key, parameters):
    first, second = jax.random.split(key)
    draws = parameters["mean"] + parameters["sd"] * jax.random.normal(first, (4,))
    return {"mean": draws.mean(), "count": jax.random.poisson(second, 3.0).astype(float)}


def pair_gap(a, b):
    return jnp.sqrt((a["mean"] - b["mean"]) ** 2 + (a["count"] - b["count"]) ** 2)


def broken(a, b):
    return jnp.where(a > 0, jnp.nan, jnp.abs(a - b))


def build(**options: Any) -> Program:
    settings = {"tolerance": TOLERANCE, **options}
    return pi.from_simulator(dist.Normal(0, 1), noisy, gap, OBSERVED, **settings)


@jax.jit
def at(program: Program, z: float, key: jax.Array) -> Any:
    return program.score(({"x": jnp.asarray(z)}, key), program.data)


def test_the_weight_is_the_kernel_at_the_distance_of_the_keys_own_simulation() -> None:
    keys = jax.random.split(jax.random.key(0), 20)
    distances = np.array([abs(noisy(k, 0.3) - OBSERVED) for k in keys])
    for kernel, expected in (
        ("gaussian", -0.5 * (distances / TOLERANCE) ** 2),
        ("uniform", np.where(distances <= TOLERANCE, 0.0, -np.inf)),
    ):
        program = build(kernel=kernel)
        score = jax.vmap(at, (None, None, 0))(program, 0.3, keys)
        np.testing.assert_allclose(score.log_weight, expected, rtol=1e-5)
        np.testing.assert_allclose(score.log_base, stats.norm.logpdf(0.3), rtol=1e-5)
        again = at(program, 0.3, keys[3])
        np.testing.assert_allclose(again.log_weight, expected[3], rtol=1e-5)
    assert 0 < np.isinf(expected).mean() < 1


def test_the_abc_posterior_is_exact_for_the_blurred_model() -> None:
    """Prior N(0, 1), data N(theta, 1) blurred by N(0, tolerance): everything is normal."""
    posterior = pi.sample(build(), pi.Importance(draws=40_000), key=1, progress=False)
    variance = 1 + TOLERANCE**2
    log_z = stats.norm.logpdf(OBSERVED, 0, np.sqrt(1 + variance))
    log_z += 0.5 * np.log(2 * np.pi) + np.log(TOLERANCE)  # the kernel is 1 at distance zero
    assert posterior.log_evidence.error < 0.02
    assert abs(posterior.log_evidence.z(log_z)) < 4.5
    row = posterior.summary()["x"]
    assert abs(row["mean"] - OBSERVED / (1 + variance)) < 4.5 * row["mcse"]
    assert row["sd"] == pytest.approx(np.sqrt(variance / (1 + variance)), rel=0.05)


def test_position_draws_and_simulations() -> None:
    program = build()

    @jax.jit
    def draws(keys: jax.Array) -> Any:
        theta, inner = jax.vmap(program.draw, (0, None))(keys, program.data)
        values = jax.vmap(program.constrain, (0, None))((theta, inner), program.data)
        seen = jax.vmap(program.simulate, (0, 0, None))(keys, (theta, inner), program.data)
        return theta, jax.random.key_data(inner), values, seen

    theta, inner, values, seen = draws(jax.random.split(jax.random.key(4), 2000))
    np.testing.assert_array_equal(values["x"], theta["x"])
    assert len(np.unique(np.asarray(inner), axis=0)) == 2000
    assert stats.ks_1samp(np.asarray(theta["x"]), stats.norm.cdf).pvalue > 1e-4
    assert stats.ks_1samp(np.asarray(seen["y"]), stats.norm(0, np.sqrt(2)).cdf).pvalue > 1e-4


def test_parameters_by_name_and_observables_by_name() -> None:
    observed = {"mean": 0.5, "count": 2.0}
    prior = {"mean": dist.Normal(0, 1), "sd": dist.HalfNormal(1)}
    program = pi.from_simulator(prior, pair, pair_gap, observed, tolerance=1.0)
    x = ({"mean": jnp.asarray(0.2), "sd": jnp.asarray(-0.5)}, jax.random.key(3))
    values = program.constrain(x, program.data)
    np.testing.assert_allclose(values["sd"], np.exp(-0.5), rtol=1e-6)
    simulated = pair(jax.random.key(3), values)
    expected = -0.5 * float(pair_gap(simulated, observed)) ** 2
    np.testing.assert_allclose(program.score(x, program.data).log_weight, expected, rtol=1e-5)
    new = {"mean": jnp.asarray(9.0)}
    moved = pi.condition(program, new)
    assert moved.observations.get(moved.data) == {"mean": 9.0, "count": 2.0}
    expected = -0.5 * float(pair_gap(simulated, {"mean": 9.0, "count": 2.0})) ** 2
    np.testing.assert_allclose(moved.score(x, moved.data).log_weight, expected, rtol=1e-5)


def test_new_observations_and_tolerances_are_dynamic() -> None:
    first, second = build(), build(tolerance=0.1)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    moved = pi.condition(first, {"y": jnp.asarray(5.0)})
    assert jax.tree.structure(moved) == jax.tree.structure(first)
    distance = abs(noisy(jax.random.key(2), 0.3) - 5.0)
    np.testing.assert_allclose(
        at(moved, 0.3, jax.random.key(2)).log_weight, -0.5 * (distance / TOLERANCE) ** 2, rtol=1e-5
    )
    with pytest.raises(StructureError, match=r"no observed site named \['z'\].*\['y'\]"):
        pi.condition(first, {"z": jnp.zeros(())})


def test_a_nan_distance_stays_a_nan_weight() -> None:
    for kernel in ("gaussian", "uniform"):
        program = pi.from_simulator(
            dist.Normal(0, 1), noisy, broken, OBSERVED, tolerance=9.0, kernel=kernel
        )
        weights = jax.vmap(at, (None, None, 0))(
            program, 0.0, jax.random.split(jax.random.key(1), 50)
        ).log_weight
        assert 0.2 < np.isnan(weights).mean() < 0.8
        assert np.isfinite(weights[~np.isnan(weights)]).all()


def vector_gap(a, b):
    return jnp.abs(a - b)[None]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tolerance": 0.0}, "tolerance must be positive, got 0.0"),
        ({"tolerance": float("nan")}, "tolerance must be positive, got nan"),
        ({"observed": np.zeros(3)}, r"simulator returns .*shape=\(\).*observed holds .*\(3,\)"),
        ({"observed": {"a": 0.0}}, "same structure and shapes"),
        ({"distance": vector_gap}, r"distance must be a scalar, got shape \(1,\)"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], says: str) -> None:
    settings = {
        "prior": dist.Normal(0, 1),
        "simulate": noisy,
        "distance": gap,
        "observed": OBSERVED,
        "tolerance": TOLERANCE,
        **changes,
    }
    with pytest.raises(ModelError, match=says):
        pi.from_simulator(**settings)
