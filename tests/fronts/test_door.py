"""Mistakes of a first hour, at the door of from_numpyro and in the doctor's first look."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan

import probinf as pi
from probinf.core.doctor import indefinite
from probinf.errors import ModelError, ObservationError, ParameterError

Y3 = np.array([0.1, 0.2, 0.3])
from_numpyro = inspect.unwrap(pi.from_numpyro)  # as without the type checks of tests


def normal(y, x=0.0):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu + x, 1), obs=y)


def bernoulli(y):
    numpyro.sample("y", dist.Bernoulli(numpyro.sample("p", dist.Beta(2, 2))), obs=y)


# --- Python numbers ---------------------------------------------------------------------------


def closed():
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=0.3)


@pytest.mark.parametrize(("model", "number"), [(normal, 0.3), (bernoulli, 1), (bernoulli, True)])
def test_a_number_is_an_observation_like_any_other(model: Any, number: Any) -> None:
    given, array = (pi.from_numpyro(model, v) for v in (number, np.asarray(number)))
    x = jax.tree.map(lambda v: 0.3 * jnp.ones(v.shape), given.template())
    np.testing.assert_allclose(given.score(x, given.data), array.score(x, array.data), rtol=1e-6)
    report = pi.check(given, gradients=False)
    assert [site.finite for site in report.sites] == [1, 1]


def test_a_number_inside_the_model_is_one_too() -> None:
    report = pi.check(pi.from_numpyro(closed), gradients=False)
    assert [site.finite for site in report.sites] == [1, 1]


# --- nothing observed -------------------------------------------------------------------------


def forgotten(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1).expand(y.shape).to_event(1))


def prior(y=None):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=y)


def factored(x):
    numpyro.factor("f", -((numpyro.sample("mu", dist.Normal(0, 1)) - x) ** 2).sum())


def hyper(mean):
    numpyro.sample("mu", dist.Normal(mean, 1).to_event(1))


def test_data_that_nothing_observes_are_said_at_once() -> None:
    says = r"forgotten is given data of shape \(3,\) that it does not.*sites 'mu', 'y' .*obs=y"
    with pytest.warns(UserWarning, match=says):
        pi.from_numpyro(forgotten, Y3)
    with pytest.warns(UserWarning, match="observes 'y' without any value"):
        pi.from_numpyro(normal, np.zeros(0))


def test_a_prior_on_purpose_and_factors_are_not() -> None:
    assert pi.from_numpyro(prior) and pi.from_numpyro(prior, y=None)
    assert pi.from_numpyro(factored, Y3) and pi.from_numpyro(hyper, Y3)


# --- missing, masked, listed ------------------------------------------------------------------


def regression(X, y):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(X @ b, 1), obs=y)


def indexed(index, y):
    with numpyro.plate("groups", 3):
        mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu[index], 1), obs=y)


def sized(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def filled(x, y):
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(jnp.where(jnp.isnan(x), 0.0, b * x), 1), obs=y)


HOLE = np.array([1.0, np.nan, 2.0])
MASKED = np.ma.masked_array(Y3, mask=[False, True, False])
X = np.ones((3, 2))


@pytest.mark.parametrize(
    ("model", "args", "error", "says"),
    [
        (normal, (Y3, HOLE), ModelError, "argument 2 holds 1 NaN or inf.* of 3 values.*at [1]"),
        (normal, (Y3, np.array([1, np.inf, 2.0])), ModelError, "argument 2 holds 1 .*at [1]"),
        (regression, (X * HOLE[:, None], Y3), ModelError, "argument 1 holds 2 .*at [1, 0]"),
        (normal, (MASKED,), ModelError, "argument 1 has 1 masked of 3 .*at [1].*obs_mask"),
        (normal, (Y3, {"x": MASKED}), ModelError, "argument 2['x'] has 1 masked"),
        (normal, (Y3, [1.0, 2.0, 3.0]), ModelError, "argument 2 is a Python list.*np.asarray(x)"),
        (sized, ([1.0, 2.0],), ModelError, "argument 1 is a Python list.*no attribute 'shape'"),
        (
            regression,
            (np.ones((3, 4)), Y3),
            ModelError,
            "shapes do not match.*X @ b.*(4,) and (2,)",
        ),
        (indexed, (np.zeros(3), Y3), ModelError, "floats is used as an index.*index.astype(int)"),
        (sized, (np.zeros(0),), ModelError, "plate 'rows' has size 0"),
        (normal, (), ModelError, "the model normal(y, x=0.0) does not take.*argument: 'y'"),
        (normal, (Y3, 0.0, 1.0), ModelError, "does not take.*too many positional"),
        (normal, ("text",), ObservationError, "site 'y': the observed value is a Python str"),
        (normal, (Y3 + 1j,), ObservationError, "site 'y': the observed values are complex"),
    ],
)
def test_the_argument_is_named(model: Any, args: Any, error: Any, says: str) -> None:
    with pytest.raises(error) as caught:
        from_numpyro(model, *args)
    assert type(caught.value) is error
    left = str(caught.value)
    for part in says.split(".*"):
        assert part in left, f"{part!r} is not in: {caught.value}"
        left = left.split(part, maxsplit=1)[1]


def test_what_is_kept_out_may_be_missing() -> None:
    assert pi.from_numpyro(filled, HOLE, Y3)
    whole = np.ma.masked_array(Y3)
    assert isinstance(pi.from_numpyro(normal, whole).observations.get, object)
    with pytest.raises(ModelError, match="must be a model"):
        from_numpyro(Y3)


def test_other_errors_say_where_they_were_raised() -> None:
    def broken(y):
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=y["v"])

    with pytest.raises(KeyError) as caught:
        pi.from_numpyro(broken, {"w": Y3})
    assert "test_door.py" in "".join(caught.value.__notes__)


# --- partials and closures ----------------------------------------------------------------------


def test_what_a_partial_holds_is_an_argument() -> None:
    first = pi.from_numpyro(functools.partial(normal, x=np.ones(3)), Y3)
    again = pi.from_numpyro(functools.partial(normal, x=np.zeros(3)), Y3)
    assert first.score == again.score and hash(first.score) == hash(again.score)
    assert (first.data.arguments["x"] == 1).all()


def made(x):
    def closure(y):
        normal(y, x)

    return closure


def test_a_model_that_is_made_anew_is_noted_once() -> None:
    pi.from_numpyro(made(1.0), Y3)
    with pytest.warns(UserWarning, match=r"the model closure is made anew.*module level"):
        pi.from_numpyro(made(1.0), Y3)
    pi.from_numpyro(made(1.0), Y3)  # an error here, were it told again
    method = pi.Importance(draws=10)
    told = pi.sample(pi.from_numpyro(made(1.0), Y3), method, key=0, progress=False).provenance
    assert "made anew" in told["recompiles"]
    kept = pi.sample(pi.from_numpyro(normal, Y3), method, key=0, progress=False).provenance
    assert "recompiles" not in kept


# --- the doctor's first look ----------------------------------------------------------------------


def low_ends(y):
    with numpyro.plate("n", len(y)):
        t = numpyro.sample("t", dist.Uniform(0, 10))
        numpyro.sample("y", dist.Pareto(t, 1.5), obs=y)


def low_end(y):
    numpyro.sample("y", dist.Pareto(numpyro.sample("t", dist.Uniform(0, 10)), 1.5), obs=y)


def test_supports_far_from_every_start_are_legal() -> None:
    far = pi.from_numpyro(low_ends, 0.3 + 0.02 * np.arange(20))
    assert pi.check(far, gradients=False).sites
    y = np.array([0.6, 1.0, 2.0, 5.0])
    assert pi.check(pi.from_numpyro(low_end, y), gradients=False).sites


def test_chains_begin_in_a_support_far_from_every_start() -> None:
    program = pi.from_numpyro(low_end, np.array([0.6, 1.0]))
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=1, warmup=5, draws=6)
    posterior = pi.sample(program, method, key=0, progress=False)
    assert (posterior.draws["t"] < 0.6).all()


@pytest.mark.slow
def test_chains_find_a_support_far_from_every_start() -> None:
    y = np.array([0.6, 1.0, 2.0, 5.0])
    program = pi.from_numpyro(low_end, y)
    posterior = pi.sample(program, pi.NUTS(chains=2, warmup=200, draws=300), key=0, progress=False)
    # the density of t is that of t**6 up to the smallest datum
    summary = posterior.summary()
    assert abs(summary.columns["mean"][0] - 0.6 * 7 / 8) < 5 * summary.columns["mcse"][0]


def exploding(y):
    rate = numpyro.sample("rate", dist.Normal(0, 1))

    def step(h, y_t):
        h = 1.1 * h + rate
        numpyro.sample("y", dist.Normal(0, jnp.exp(h)), obs=y_t)
        return h, None

    scan(step, 0.0, y)


def seldom(y):
    a, b = (numpyro.sample(name, dist.Normal(0, 1)) for name in "ab")
    numpyro.sample("y", dist.Normal(0, 2.5 + a + b), obs=y)


def test_a_scale_that_overflows_somewhere_is_only_warned_of() -> None:
    program = pi.from_numpyro(exploding, np.full(60, 0.1))
    with pytest.warns(UserWarning, match=r"site 'y': parameter 'scale'.*overflows.*site 'rate'"):
        assert pi.check(program, gradients=False).sites
    with pytest.warns(UserWarning, match=r"'scale'.*outside its domain.*counts as zero"):
        pi.check(pi.from_numpyro(seldom, Y3))


def two_scales(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    log_tau = numpyro.sample("log_tau", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 2 * log_tau), obs=y)


def correlated(y):
    r = numpyro.sample("r", dist.Normal(0, 2))
    cov = jnp.eye(2) + r * jnp.array([[0.0, 1.0], [1.0, 0.0]])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(2), cov), obs=y)


def singular(y):
    a = numpyro.sample("a", dist.HalfNormal(1))
    cov = a * jnp.array([[1.0, 2.0], [2.0, 1.0]])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(2), cov), obs=y)


def test_the_site_behind_a_parameter_is_named() -> None:
    says = r"site 'y': parameter 'scale'.*It is computed from site 'log_tau'\. Give 'log_tau' a"
    with pytest.raises(ParameterError, match=says):
        pi.check(pi.from_numpyro(two_scales, Y3))


def test_a_matrix_that_is_no_covariance_is_named() -> None:
    says = r"site 'y': the Cholesky decomposition of 'covariance_matrix' fails at \d+%.*diagonal"
    with pytest.warns(UserWarning, match=says):
        pi.check(pi.from_numpyro(correlated, np.zeros(2)), gradients=False)
    assert "site 'y'" in indefinite(pi.from_numpyro(correlated, np.zeros(2)))
    assert indefinite(pi.from_numpyro(normal, Y3)) == ""
    with pytest.raises(ParameterError, match=says.replace(r"\d+", "100")):
        pi.check(pi.from_numpyro(singular, np.zeros(2)), gradients=False)


def beta(y):
    a, b = (numpyro.sample(name, dist.HalfNormal(1)) for name in "ab")
    numpyro.sample("y", dist.Beta(a, b), obs=y)


def dirichlet(y):
    a = numpyro.sample("a", dist.HalfNormal(1))
    numpyro.sample("y", dist.Dirichlet(jnp.full(3, 0.0) + a), obs=y)


def flat_at_zero(y):
    b = numpyro.sample("b", dist.HalfNormal(1))
    numpyro.sample("y", dist.Beta(1.0, b), obs=y)


def scaled_beta(y):
    s = numpyro.sample("s", dist.HalfNormal(1))
    scale = dist.transforms.AffineTransform(0.0, s, domain=dist.constraints.unit_interval)
    numpyro.sample("z", dist.TransformedDistribution(dist.Beta(2, 2), scale), obs=y)


@pytest.mark.parametrize(
    ("model", "y", "says"),
    [
        (beta, np.array([0.2, 0.0, 1.0]), r"2 of 3.*edge.*first: 0\.0 at \[1\]"),
        (beta, np.array(1.0), r"1 of 1.*edge.*first: 1\.0\)"),
        (dirichlet, np.array([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0]]), r"1 of 2.*0\. *\] at \[1\]"),
    ],
)
def test_data_on_the_edge_are_named(model: Any, y: Any, says: str) -> None:
    with pytest.raises(ObservationError, match=f"site 'y': {says}"):
        pi.check(pi.from_numpyro(model, y), gradients=False)


def test_an_edge_with_a_density_and_supports_that_move_are_legal() -> None:
    for model, y in [(flat_at_zero, [0.0, 0.5]), (scaled_beta, [0.1, 0.2])]:
        assert pi.check(pi.from_numpyro(model, np.array(y)), gradients=False).sites
    assert pi.__version__
