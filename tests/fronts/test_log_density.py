"""from_log_density and from_log_likelihood: which measure they denote, and what they refuse."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

import probinf as pi
from probinf.core.population import importance
from probinf.core.program import Program
from probinf.diagnostics import ess_mean
from probinf.errors import EvidenceError, ImproperPriorError, ModelError

TRACES = {"count": 0}


def bowl(x, centre):
    TRACES["count"] += 1
    return -0.5 * jnp.sum((x - centre) ** 2)


def counts(parameters, y):
    return jnp.sum(y * jnp.log(parameters["rate"]) - parameters["rate"]) - parameters["b"] ** 2


def gamma_shape(x):
    return 2 * jnp.log(x) - 3 * x  # integrates to 2 / 27 over the positive numbers


@jax.jit
def at(program: Program, x: Any) -> Any:
    return program.score(x, program.data)


# --- prior times likelihood -------------------------------------------------------------------


def test_a_single_prior_gives_the_function_an_array() -> None:
    prior = dist.Normal(1.0, 2.0).expand([2]).to_event(1)
    program = pi.from_log_likelihood(bowl, prior, np.array([0.5, -0.5]))
    x = np.array([0.2, 0.7])
    score = at(program, {"x": jnp.asarray(x)})
    np.testing.assert_allclose(score.log_base, stats.norm.logpdf(x, 1, 2).sum(), rtol=1e-6)
    np.testing.assert_allclose(score.log_weight, -0.5 * np.sum((x - [0.5, -0.5]) ** 2), rtol=1e-6)
    values = program.constrain({"x": jnp.asarray(x)}, program.data)
    assert list(values) == ["x"]


def test_a_dict_of_priors_gives_a_dict_in_the_users_coordinates() -> None:
    y = np.array([1.0, 3.0])
    program = pi.from_log_likelihood(
        counts, {"rate": dist.Gamma(2.0, 1.0), "b": dist.Normal(0, 1)}, y
    )
    z, b = 0.4, -0.3
    rate = np.exp(z)
    score = at(program, {"rate": jnp.asarray(z), "b": jnp.asarray(b)})
    base = stats.gamma.logpdf(rate, 2) + z + stats.norm.logpdf(b)
    np.testing.assert_allclose(score.log_base, base, rtol=1e-5)
    np.testing.assert_allclose(score.log_weight, np.sum(y * np.log(rate) - rate) - b**2, rtol=1e-5)


def test_new_data_and_new_prior_parameters_trace_nothing() -> None:
    def build(centre: float, scale: float) -> Program:
        prior = dist.Normal(0.0, np.asarray(scale))
        return pi.from_log_likelihood(bowl, prior, np.asarray(centre))

    first, second = build(0.0, 1.0), build(2.0, 3.0)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    one = at(first, {"x": jnp.asarray(0.5)})
    before = TRACES["count"]
    two = at(second, {"x": jnp.asarray(0.5)})
    assert TRACES["count"] == before
    np.testing.assert_allclose(one, (stats.norm.logpdf(0.5), -0.125), rtol=1e-5)
    np.testing.assert_allclose(two, (stats.norm.logpdf(0.5, 0, 3), -1.125), rtol=1e-5)


# --- a density over a base ----------------------------------------------------------------------


@partial(jax.jit, static_argnames=("n",))
def clouds(program: Program, key: jax.Array, n: int) -> jax.Array:
    return jax.vmap(lambda k: importance(k, program, n).log_z)(jax.random.split(key, 50))


@pytest.mark.parametrize("base", [dist.Exponential(2.0), dist.LogNormal(0.0, 1.0)], ids=type)
def test_with_a_base_the_mass_is_the_integral_of_the_density(base: dist.Distribution) -> None:
    program = pi.from_log_density(gamma_shape, base=base)
    z = 0.3
    score = at(program, {"x": jnp.asarray(z)})
    x = np.exp(z)
    np.testing.assert_allclose(score.log_base, base.log_prob(x) + z, rtol=1e-5)
    np.testing.assert_allclose(sum(score), 2 * z - 3 * x + z, rtol=1e-5)  # density + Jacobian
    mass = np.exp(np.asarray(clouds(program, jax.random.key(1), 400), float))
    error = mass.std(ddof=1) / np.sqrt(mass.size)
    assert error < 0.03 * 2 / 27
    assert abs(mass.mean() - 2 / 27) < 4.5 * error


def test_the_mass_is_over_the_bases_support_only() -> None:
    program = pi.from_log_density(bowl, np.asarray(0.0), base=dist.Uniform(-0.5, 1.0))
    exact = integrate.quad(lambda v: np.exp(-0.5 * v**2), -0.5, 1.0)[0]
    mass = np.exp(np.asarray(clouds(program, jax.random.key(2), 400), float))
    assert abs(mass.mean() - exact) < 4.5 * mass.std(ddof=1) / np.sqrt(mass.size)


# --- a density alone ----------------------------------------------------------------------------


def on_tree(parameters, scale):
    return -jnp.sum(parameters["a"] ** 2) / scale - jnp.sum(parameters["b"] ** 2)


def test_a_density_alone_has_coordinates_but_no_base() -> None:
    initial = {"a": np.array([10.0, 20.0]), "b": 3}
    program = pi.from_log_density(on_tree, np.asarray(2.0), initial=initial)
    x = {"a": jnp.array([1.0, 2.0]), "b": jnp.asarray(3.0)}
    score = at(program, x)
    assert score.log_base == 0
    np.testing.assert_allclose(score.log_weight, -2.5 - 9.0, rtol=1e-6)
    assert program.constrain(x, program.data) is x
    starts = jax.vmap(program.start, (0, None))(
        jax.random.split(jax.random.key(0), 2000), program.data
    )
    assert {k: v.shape for k, v in starts.items()} == {"a": (2000, 2), "b": (2000,)}
    for values, centre in ((starts["a"][:, 1], 20.0), (starts["b"], 3.0)):
        assert stats.ks_1samp(np.asarray(values), stats.norm(centre, 1).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(starts["a"][:, 0], starts["b"])[0, 1]) < 4.5 / np.sqrt(2000)


def test_a_density_alone_serves_mcmc_but_nothing_that_draws() -> None:
    program = pi.from_log_density(bowl, np.array([1.0, -2.0]), initial=np.zeros(2))
    for method in (pi.SMC(particles=8), pi.Importance(draws=8)):
        with pytest.raises(ImproperPriorError, match=r"without base=.*Pass base=.*NUTS"):
            pi.sample(program, method, key=0, progress=False)
    method = pi.NUTS(chains=2, warmup=200, draws=500)
    posterior = pi.sample(program, method, key=1, progress=False)
    assert list(posterior.draws) == ["x"]
    table = posterior.summary()
    for name, centre in (("x[0]", 1.0), ("x[1]", -2.0)):
        row = table[name]
        assert abs(row["mean"] - centre) < 4.5 * row["mcse"]
        # draws of NUTS repel each other: the bulk is known better than the squares
        squares = (posterior.draws["x"][..., int(name[2])] - centre) ** 2
        assert abs(squares.mean() - 1) < 4.5 * np.sqrt(2 / float(ess_mean(squares)))
    with pytest.raises(EvidenceError, match=r"does not estimate the evidence.*SMC"):
        _ = posterior.log_evidence


# --- refusals -----------------------------------------------------------------------------------


def per_datum(x, y):
    return -((x - y) ** 2)


def nothing(x):
    return None


def test_functions_that_are_not_scalar_are_refused() -> None:
    for build, name in (
        (lambda: pi.from_log_likelihood(per_datum, dist.Normal(0, 1), np.zeros(3)), "likelihood"),
        (lambda: pi.from_log_density(per_datum, np.zeros(3), base=dist.Normal(0, 1)), "density"),
        (lambda: pi.from_log_density(per_datum, np.zeros(3), initial=0.0), "density"),
    ):
        with pytest.raises(ModelError, match=rf"from_log_{name}: .*scalar.*\(3,\).*Sum over"):
            build()
    with pytest.raises(ModelError, match=r"scalar log density, got NoneType"):
        pi.from_log_likelihood(nothing, dist.Normal(0, 1))


def test_shapes_must_be_known() -> None:
    with pytest.raises(ModelError, match=r"pass base=.*or initial="):
        pi.from_log_density(bowl, np.zeros(2))


def test_priors_must_be_distributions() -> None:
    build = inspect.unwrap(pi.from_log_likelihood)  # without the tests' own type checks
    with pytest.raises(ModelError, match=r"prior of 'b' must be a NumPyro distribution, got 3\.0"):
        build(nothing, {"a": dist.Normal(0, 1), "b": 3.0})


def in_numpy(x):
    return float(np.sum(-0.5 * np.asarray(x) ** 2))


def in_python(x):
    return -x if x > 0 else x


def simulate_in_numpy(key, x):
    return np.random.default_rng(0).normal(np.asarray(x))


@pytest.mark.parametrize(("fn", "remedy"), [(in_numpy, "jnp.exp"), (in_python, "jnp.where")])
def test_functions_that_jax_cannot_trace_are_named(fn, remedy):
    normal = dist.Normal(0.0, 1.0)
    for make in (
        lambda: pi.from_log_likelihood(fn, normal),
        lambda: pi.from_log_density(fn, base=normal),
        lambda: pi.from_log_density(fn, initial=np.array(0.0)),
        lambda: pi.from_simulator(
            normal, lambda key, x: fn(x), lambda a, b: abs(a - b), 0.0, tolerance=1.0
        ),
    ):
        with pytest.raises(ModelError, match=remedy):
            make()
    with pytest.raises(ModelError, match="from_simulator: the function hands"):
        pi.from_simulator(
            normal, simulate_in_numpy, lambda a, b: abs(a - b), np.array(0.0), tolerance=1.0
        )
