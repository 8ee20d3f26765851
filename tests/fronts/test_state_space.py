"""from_state_space: the joint density by hand, what its functions may ask for, and refusals."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.errors import ImproperPriorError, ModelError, ObservationError, StructureError
from tests.cases import linear_gaussian as linear

Y = np.array([0.4, 1.1, 0.9, -0.3, -1.0])


def initial():
    return dist.Normal(0.0, 1.0)


def transition(x, rho, q):
    return dist.Normal(rho * x, q)


def emission(x, r):
    return dist.Normal(x, r)


PARAMETERS = {"rho": dist.Uniform(-1, 1), "q": 0.6, "r": 0.5}


@jax.jit
def looked_at(p, key):
    """A draw of the base: position, score, sites, and log likelihood of each datum."""
    x = p.draw(key, p.data)
    each = p.pointwise(x, p.data)
    return x, p.score(x, p.data), p.constrain(x, p.data), each


def program(y=Y, **options):
    options.setdefault("parameters", PARAMETERS)
    return pi.from_state_space(initial, transition, emission, y, **options)


def test_prior_and_likelihood_by_hand() -> None:
    with jax.enable_x64(True):
        p = program()
        x, found, sites, _ = looked_at(p, jax.random.key(0))
    states, rho = np.asarray(x["states"]), float(sites["rho"])
    base = stats.norm.logpdf(states[0])
    base += stats.norm.logpdf(states[1:], rho * states[:-1], 0.6).sum()
    u = (rho + 1) / 2  # a uniform law in its logit
    base += np.log(u * (1 - u))
    np.testing.assert_allclose(found.log_base, base, rtol=1e-9)
    np.testing.assert_allclose(found.log_weight, stats.norm.logpdf(Y, states, 0.5).sum(), rtol=1e-9)


def positive_initial():
    return dist.Gamma(2.0, 1.0)


def positive_transition(x, dt, push):
    return dist.Gamma(3.0, 3.0 / (x * dt + push))


def counts(x):
    return dist.Poisson(x)


def test_positive_states_covariates_and_gaps_by_hand() -> None:
    y, push, times = np.array([1, 3, 0, 2]), np.array([9.0, 0.1, 0.2, 0.3]), [0.0, 1.0, 1.5, 4.0]
    with jax.enable_x64(True):
        p = pi.from_state_space(
            positive_initial,
            positive_transition,
            counts,
            y,
            covariates={"push": push},
            times=times,
        )
        _, found, sites, _ = looked_at(p, jax.random.key(1))
    v = np.asarray(sites["states"])
    mean = v[:-1] * np.diff(times) + push[1:]
    base = stats.gamma.logpdf(v[0], 2) + stats.gamma.logpdf(v[1:], 3, scale=mean / 3).sum()
    np.testing.assert_allclose(found.log_base, base + np.log(v).sum(), rtol=1e-8)
    np.testing.assert_allclose(found.log_weight, stats.poisson.logpmf(y, v).sum(), rtol=1e-8)


def lagged_initial():
    return {"x": dist.Normal(0.0, 1.0), "lag": dist.Normal(0.0, 1.0)}


def lagged_transition(state, a):
    return {
        "x": dist.Normal(a[0] * state["x"] + a[1] * state["lag"], 0.3),
        "lag": dist.Delta(state["x"]),
    }


def of_x(state):
    return dist.Normal(state["x"], 0.2)


def test_what_follows_from_the_state_before_is_no_coordinate() -> None:
    a = np.array([0.5, -0.3])
    with jax.enable_x64(True):
        p = pi.from_state_space(lagged_initial, lagged_transition, of_x, Y, parameters={"a": a})
        x, found, path, _ = looked_at(p, jax.random.key(1))
    assert {name: v.shape for name, v in x.items()} == {"x": (5,), "lag": (1,)}
    v, lag = np.asarray(path["x"]), np.asarray(path["lag"])
    np.testing.assert_allclose(lag[1:], v[:-1])
    base = stats.norm.logpdf([v[0], lag[0]]).sum()
    base += stats.norm.logpdf(v[1:], a[0] * v[:-1] + a[1] * lag[:-1], 0.3).sum()
    np.testing.assert_allclose(found.log_base, base, rtol=1e-9)


def test_missing_observations_count_for_nothing() -> None:
    gap = np.where(np.arange(5) == 2, np.nan, Y)
    p, full = program(gap, missing="nan"), program()
    x, _, _, whole = looked_at(full, jax.random.key(0))
    _, _, _, each = looked_at(p, jax.random.key(0))
    assert each["observations"][2] == 0
    np.testing.assert_allclose(
        np.delete(each["observations"], 2), np.delete(whole["observations"], 2), rtol=1e-5
    )
    slopes = jax.jit(jax.grad(lambda x: sum(p.score(x, p.data))))(x)
    assert np.isfinite(slopes["states"]).all()
    masked = program(missing=np.arange(5) == 2)
    same = looked_at(masked, jax.random.key(0))[3]
    np.testing.assert_allclose(each["observations"], same["observations"])
    assert np.isnan(p.observations.get(p.data)["observations"][2])


def test_draws_have_the_law_of_their_density() -> None:
    """The mean of exp(weight) over draws is the evidence that the sequence's own filter finds."""
    p = program(parameters={"rho": 0.8, "q": 0.6, "r": 0.5})
    prior, sequence = p.state_space(p.data)
    assert prior.template() == {}
    sequence = dataclasses.replace(sequence, data=({}, sequence.data))
    cloud = jax.jit(lambda key: pi.particle_filter(key, sequence, 20_000))(jax.random.key(1))
    found = jax.jit(lambda key: pi.importance(key, p, 200_000))(jax.random.key(2))
    np.testing.assert_allclose(cloud.log_z, -6.0102512, atol=0.05)
    np.testing.assert_allclose(found.log_z, -6.0102512, atol=0.05)


def model_of_parameters():
    numpyro.deterministic("q", 2 * numpyro.sample("half", dist.HalfNormal(1.0)))


def test_parameters_as_a_model_or_a_program() -> None:
    for given in (model_of_parameters, pi.from_numpyro(model_of_parameters)):
        found = pi.from_state_space(
            initial, partial_transition, partial_emission, Y, parameters=given
        )
        assert {n: v.shape for n, v in found.template().items()} == {"half": (), "states": (5,)}


def partial_transition(x, q):
    return dist.Normal(0.5 * x, q)


def partial_emission(x):
    return dist.Normal(x, 0.5)


def wide_transition(x):
    return dist.Normal(jnp.stack([x, x]), 1.0)


def unknown_argument(x, sigma):
    return dist.Normal(x, sigma)


def no_law(x):
    return x + 1.0


def flat_start():
    return dist.ImproperUniform(dist.constraints.real, (), ())


def pair(x):
    return dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2))


NAN = np.where(np.arange(5) == 3, np.nan, Y)


@pytest.mark.parametrize(
    ("error", "told", "change"),
    [
        (ObservationError, "first at step 3.*missing='nan'", {"observations": NAN}),
        (ObservationError, "series 'a'.*step 3", {"observations": {"a": NAN, "b": Y}}),
        (ObservationError, "lengths", {"observations": {"a": Y, "b": Y[:3]}}),
        (ObservationError, "at least 2", {"observations": Y[:1]}),
        (ObservationError, r"one step of it \(2,\)", {"observations": np.ones((5, 2))}),
        (ObservationError, "shape", {"missing": np.zeros(4, bool)}),
        (ObservationError, "Boolean", {"missing": np.zeros(5)}),
        (ObservationError, "'nan' or a mask", {"missing": "none"}),
        (ModelError, "must keep the names and shapes", {"transition": wide_transition}),
        (ModelError, "argument 'sigma'.*nothing is known", {"transition": unknown_argument}),
        (ModelError, "must return a NumPyro distribution", {"transition": no_law}),
        (ImproperPriorError, "cannot be drawn", {"initial": flat_start}),
        (ModelError, "step 2 is at 1 after 1", {"times": [0, 1, 1, 2, 3]}),
        (ModelError, "times has shape", {"times": [0, 1]}),
        (ModelError, "one entry per step", {"covariates": {"u": np.ones(4)}}),
        (ModelError, "step 1", {"covariates": {"u": np.array([0, np.nan, 0, 0, 0])}}),
        (ModelError, "more than one thing", {"covariates": {"rho": np.ones(5)}}),
        (ModelError, "finite number", {"parameters": {**PARAMETERS, "q": np.nan}}),
        (
            ObservationError,
            "only some entries",
            {
                "observations": np.where(np.eye(5)[:, :2] > 0, np.nan, 1.0),
                "missing": "nan",
                "emission": pair,
            },
        ),
        (
            ObservationError,
            "outside the support",
            {"emission": counts, "observations": -np.ones(5)},
        ),
    ],
)
def test_refusals(error, told, change) -> None:
    given = {
        "initial": initial,
        "transition": transition,
        "emission": emission,
        "observations": Y,
        "parameters": PARAMETERS,
    }
    with pytest.raises(error, match=told):
        pi.from_state_space(**{**given, **change})


def test_with_parameters_fixes_all_of_them() -> None:
    unknown = {"rho": dist.Uniform(-1, 1), "q": dist.HalfNormal(1.0), "r": 0.9}
    functions = (linear.initial, linear.transition, linear.emission)
    program = pi.from_state_space(*functions, linear.Y, parameters=unknown, missing="nan")
    known = pi.with_parameters(program, {"rho": linear.RHO, "q": linear.Q, "r": linear.R})
    x = known.template()
    point = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), x)
    truth = linear.program()
    assert jax.tree.structure(x) == jax.tree.structure(truth.template())
    for a, b in zip(known.score(point, known.data), truth.score(point, truth.data), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ModelError, match=r"the parameters \['q'\] have no value"):
        pi.with_parameters(program, {"rho": 0.5})
    with pytest.raises(ModelError, match=r"'s' is no parameter; there are \['q', 'r', 'rho'\]"):
        pi.with_parameters(program, {"rho": 0.5, "q": 1.0, "s": 1.0})
    with pytest.raises(ModelError, match=r"'q' has shape \(\), its value \(2,\)"):
        pi.with_parameters(program, {"rho": 0.5, "q": np.ones(2)})
    with pytest.raises(StructureError, match="tells its parameters"):
        pi.with_parameters(pi.from_log_density(lambda x: -x @ x, initial=np.zeros(2)), {})
