"""Paths: temper, above and prefix change the weight alone, by values that are dynamic."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.program import Observations, Program, Score
from probinf.core.transformations.paths import data_count, power
from probinf.errors import StructureError


def draw(key, data):
    return jax.random.normal(key)


def terms(x, data):
    """Six data in a table and one alone; impossible below -1, NaN above 2."""
    table = -0.5 * (x - data) ** 2
    alone = jnp.where(x > 2, jnp.nan, jnp.where(x < -1, -jnp.inf, -x))
    return {"table": table, "alone": alone}


def score(x, data):
    found = terms(x, data)
    base = -0.5 * x**2 - 0.5 * jnp.log(2 * jnp.pi)
    return Score(base, found["table"].sum() + found["alone"])


def constrain(x, data):
    return {"x": x}


def simulate(key, x, data):
    return {"table": x + jax.random.normal(key, (2, 3))}


def get(data):
    return {"table": data}


def put(data, values):
    return values["table"]


TABLE = jnp.arange(6.0).reshape(2, 3) / 4


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(
        draw=draw,
        start=draw,
        score=score,
        constrain=constrain,
        simulate=simulate,
        pointwise=terms,
        observations=Observations(get, put),
        data=TABLE,
    )


def at(program: Program, x: float) -> Score:
    return program.score(jnp.asarray(x), program.data)


INSIDE, IMPOSSIBLE, NOT_A_NUMBER = 0.7, -1.5, 2.5


# --- temper -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 1e-4, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("x", [INSIDE, IMPOSSIBLE])
def test_temper_multiplies_the_log_weight_alone(program: Program, beta: float, x: float) -> None:
    whole, tempered = at(program, x), at(pi.temper(program, beta), x)
    assert tempered.log_base == whole.log_base
    expected = 0.0 if beta == 0 else beta * whole.log_weight
    np.testing.assert_allclose(tempered.log_weight, expected, rtol=1e-6)


@pytest.mark.parametrize("x", [INSIDE, IMPOSSIBLE, NOT_A_NUMBER])
def test_the_power_zero_is_the_base_also_where_the_likelihood_is_zero_or_nan(
    program: Program, x: float
) -> None:
    assert at(pi.temper(program, 0.0), x).log_weight == 0
    assert power(jnp.asarray(-jnp.inf), jnp.asarray(0.0)) == 0
    assert power(jnp.asarray(jnp.nan), jnp.asarray(0.0)) == 0


def test_positive_powers_keep_nan_visible(program: Program) -> None:
    assert jnp.isnan(at(pi.temper(program, 0.5), NOT_A_NUMBER).log_weight)


def test_tempering_twice_multiplies_the_powers(program: Program) -> None:
    twice = at(pi.temper(pi.temper(program, 0.5), 0.4), INSIDE)
    np.testing.assert_allclose(twice, at(pi.temper(program, 0.2), INSIDE), rtol=1e-6)


def test_tempered_terms_sum_to_the_tempered_weight(program: Program) -> None:
    tempered = pi.temper(program, 0.3)
    found = tempered.pointwise(jnp.asarray(INSIDE), tempered.data)
    assert {name: value.shape for name, value in found.items()} == {"table": (2, 3), "alone": ()}
    np.testing.assert_allclose(
        sum(value.sum() for value in found.values()), at(tempered, INSIDE).log_weight, rtol=1e-6
    )


def test_everything_else_passes_through(program: Program) -> None:
    for path in (pi.temper(program, 0.3), pi.prefix(program, 2)):
        key, x = jax.random.key(0), jnp.asarray(INSIDE)
        assert path.draw(key, path.data) == program.draw(key, program.data)
        assert path.constrain(x, path.data) == {"x": x}
        np.testing.assert_array_equal(
            path.simulate(key, x, path.data)["table"], program.simulate(key, x, TABLE)["table"]
        )
        np.testing.assert_array_equal(path.observations.get(path.data)["table"], TABLE)
    new = {"table": TABLE + 1}
    first = at(pi.condition(pi.temper(program, 0.3), new), INSIDE)
    second = at(pi.temper(pi.condition(program, new), 0.3), INSIDE)
    np.testing.assert_array_equal(first, second)
    assert first.log_weight != at(pi.temper(program, 0.3), INSIDE).log_weight


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (pi.temper, (0.0, 1.0, np.float64(0.2), jnp.asarray(0.5))),
        (pi.above, (-3.0, -np.inf, np.float64(0.2), jnp.asarray(0.5))),
        (pi.prefix, (0, 7, jnp.asarray(2))),
    ],
    ids=["temper", "above", "prefix"],
)
def test_the_structure_does_not_depend_on_the_parameter(
    program: Program, path: Any, values: tuple
) -> None:
    built = [path(program, value) for value in values]
    structures = {jax.tree.structure(p) for p in built}
    kinds = {tuple((v.shape, v.dtype, v.weak_type) for v in jax.tree.leaves(p)) for p in built}
    assert len(structures) == 1
    assert len(kinds) == 1


# --- above ------------------------------------------------------------------------------------


def test_above_is_strict_and_keeps_the_base(program: Program) -> None:
    level = float(at(program, INSIDE).log_weight)
    assert at(pi.above(program, level), INSIDE).log_weight == -jnp.inf
    below = at(pi.above(program, float(np.nextafter(np.float32(level), -np.inf))), INSIDE)
    assert below.log_weight == 0
    assert below.log_base == at(program, INSIDE).log_base


def test_above_minus_infinity_is_the_support_of_the_likelihood(program: Program) -> None:
    support = pi.above(program, -np.inf)
    assert at(support, INSIDE).log_weight == 0
    assert at(support, IMPOSSIBLE).log_weight == -jnp.inf
    assert at(support, NOT_A_NUMBER).log_weight == -jnp.inf
    assert support.pointwise is None and support.simulate is None


# --- prefix -----------------------------------------------------------------------------------


def test_prefix_counts_data_site_by_site_in_c_order(program: Program) -> None:
    assert data_count(program) == 7
    found = terms(jnp.asarray(INSIDE), TABLE)
    flat = np.concatenate([np.ravel(found["table"]), np.ravel(found["alone"])])
    for t in range(8):
        kept = pi.prefix(program, t)
        value = at(kept, INSIDE)
        np.testing.assert_allclose(value.log_weight, flat[:t].sum(), rtol=1e-6)
        assert value.log_base == at(program, INSIDE).log_base
        pieces = kept.pointwise(jnp.asarray(INSIDE), kept.data)
        np.testing.assert_allclose(
            np.concatenate([np.ravel(pieces["table"]), np.ravel(pieces["alone"])]),
            np.where(np.arange(7) < t, flat, 0.0),
            rtol=1e-6,
        )


def test_data_not_yet_seen_cannot_make_a_point_impossible(program: Program) -> None:
    for x in (IMPOSSIBLE, NOT_A_NUMBER):  # both come from the last datum
        assert np.isfinite(at(pi.prefix(program, 6), x).log_weight)
        assert not np.isfinite(at(pi.prefix(program, 7), x).log_weight)
    assert at(pi.prefix(program, 7), IMPOSSIBLE).log_weight == -jnp.inf


@pytest.mark.parametrize("t", [-1, 5.5])
def test_there_are_only_so_many_data(t: float) -> None:
    program = pi.from_numpyro(iid, np.arange(5.0))
    with pytest.raises(StructureError, match="between 0 and the 5 data"):
        pi.prefix(program, t)


def iid(y: np.ndarray) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def test_prefix_needs_pointwise_terms() -> None:
    density = pi.from_log_density(_bowl, initial=0.0)
    for refused in (lambda: pi.prefix(density, 1), lambda: data_count(density)):
        with pytest.raises(StructureError, match="no pointwise log likelihood"):
            refused()


def _bowl(x):
    return -(x**2)


def two_sites(first, second):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    numpyro.sample("b", dist.Normal(mean, 1), obs=first)
    numpyro.sample("a", dist.Normal(mean, 2), obs=second)


def test_the_data_of_a_model_come_in_the_order_of_its_sites() -> None:
    first, second = np.array([0.5, 1.5]), np.array([[2.0, -1.0]])
    model = pi.from_numpyro(two_sites, first, second)
    assert data_count(model) == 4
    logs = np.concatenate(
        [dist.Normal(0.2, 1).log_prob(first), dist.Normal(0.2, 2).log_prob(second)[0]]
    )

    @jax.jit
    def weight(t: jax.Array) -> jax.Array:
        path = pi.prefix(model, t)
        return path.score({"mean": jnp.asarray(0.2)}, path.data).log_weight

    for t in range(5):
        np.testing.assert_allclose(weight(jnp.asarray(t)), logs[:t].sum(), rtol=1e-5)
