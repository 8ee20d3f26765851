"""Bad input: each kind gets its own error with the site, the value seen and a remedy."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import probinf as pi
from probinf.errors import (
    DiscreteLatentError,
    ImproperPriorError,
    MethodError,
    ModelError,
    ObservationError,
    ParameterError,
    ZeroLikelihoodError,
)

Y = np.array([0.1, -0.4, 1.2])


def normal(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def gamma(y=None):
    rate = numpyro.sample("rate", dist.HalfNormal(1))
    numpyro.sample("y", dist.Gamma(2.0, rate), obs=y)


def counts(y=None):
    rate = numpyro.sample("rate", dist.HalfNormal(1))
    numpyro.sample("y", dist.Poisson(rate), obs=y)


def column(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([3, 1]).to_event(2))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def plated(n, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", n):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def plated_parameters(n, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("rows", n):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def twice(y=None):
    numpyro.sample("mu", dist.Normal(0, 1))
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def flat(y=None):
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
    if y is not None:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def discrete(y=None):
    k = numpyro.sample("k", dist.Bernoulli(0.3))
    numpyro.sample("y", dist.Normal(1.0 * k, 1.0), obs=y)


def negative_scale(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(0.0, mu), obs=y)


def constant_scale(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, -1.0), obs=y)


def subsampled(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", 3, subsample_size=2) as index:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])


def with_param(y=None):
    shift = numpyro.param("shift", 0.5)
    mu = numpyro.sample("mu", dist.Normal(shift, 1))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def branching(flag, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    if flag:
        mu = mu + 1
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def nothing_latent(y=None):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def impossible(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    numpyro.factor("never", -jnp.inf * (1 + mu**2))


def build(model, *args, **kwargs):
    return lambda: pi.from_numpyro(model, *args, **kwargs)


def fit(model, method, *args, **kwargs):
    return lambda: pi.sample(pi.from_numpyro(model, *args, **kwargs), method, key=0, progress=False)


CASES = {
    "NaN": (
        build(normal, y=np.array([0.0, np.nan, 1.0])),
        ObservationError,
        ["site 'y'", "1 of 3", "NaN", "[1]", "obs_mask"],
    ),
    "out of support": (
        build(gamma, y=np.array([1.0, -1.0])),
        ObservationError,
        ["site 'y'", "-1.0 at [1]", "support", "Gamma"],
    ),
    "not an integer": (
        build(counts, y=np.array([1.0, 1.5])),
        ObservationError,
        ["site 'y'", "1.5", "not an integer", "counts"],
    ),
    "silent broadcasting": (
        build(column, y=np.zeros(3)),
        ObservationError,
        ["site 'y'", "(3,)", "(3, 1)", "(3, 3)", "allow_broadcast"],
    ),
    "plate length": (
        build(plated, 4, y=Y),
        ObservationError,
        ["site 'y'", "rows", "4", "(3,)"],
    ),
    "plate against parameters": (
        build(plated_parameters, 4, y=np.zeros(4)),
        ModelError,
        ["'y", "rows", "size 4", "plate"],
    ),
    "duplicate site": (build(twice, y=Y), ModelError, ["mu", "rename"]),
    "improper without likelihood": (
        build(flat),
        ImproperPriorError,
        ["site 'mu'", "ImproperUniform", "proper prior"],
    ),
    "improper prior by SMC": (
        fit(flat, pi.SMC(), y=Y),
        ImproperPriorError,
        ["site 'mu'", "ImproperUniform", "NUTS"],
    ),
    "improper prior by importance": (
        fit(flat, pi.Importance(), y=Y),
        ImproperPriorError,
        ["site 'mu'", "ImproperUniform", "NUTS"],
    ),
    "discrete latent": (
        build(discrete, y=Y),
        DiscreteLatentError,
        ["site 'k'", "Bernoulli", "MixtureSameFamily"],
    ),
    "negative scale": (
        fit(negative_scale, pi.NUTS(), y=Y),
        ParameterError,
        ["site 'y'", "'scale'", "of 32", "HalfNormal"],
    ),
    "constant negative scale": (build(constant_scale, y=Y), ParameterError, ["scale"]),
    "plate subsampling": (build(subsampled, y=Y), ModelError, ["rows", "2 of 3", "subsample_size"]),
    "array as a flag": (
        build(branching, np.array(True), y=Y),
        ModelError,
        ["traced array", "bool", "jnp.where"],
    ),
    "array as a size": (build(plated, np.array(3), y=Y), ModelError, ["int"]),
    "nothing latent": (build(nothing_latent, y=Y), ModelError, ["no latent site", "'y'"]),
    "strings": (build(normal, y=np.array(["a", "b"])), ModelError, ["dtype", "codes"]),
    "zero likelihood by NUTS": (
        fit(impossible, pi.NUTS(chains=2, warmup=10, draws=10), y=Y),
        ZeroLikelihoodError,
        ["'never'", "-inf", "100 tries"],
    ),
    "zero likelihood by SMC": (
        fit(impossible, pi.SMC(particles=20), y=Y),
        ZeroLikelihoodError,
        ["'never'", "-inf", "80 particles"],
    ),
    "zero likelihood by importance": (
        fit(impossible, pi.Importance(draws=50), y=Y),
        ZeroLikelihoodError,
        ["'never'", "-inf", "50 draws"],
    ),
    "overflow in float32": (
        fit(normal, pi.NUTS(chains=2, warmup=10, draws=10), y=np.array([1e30])),
        ZeroLikelihoodError,
        ["'y'", "float32", "rescale"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_error_names_site_value_and_remedy(name):
    call, error, words = CASES[name]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


def test_numpyro_param_warns():
    with pytest.warns(UserWarning, match="'shift' is not inferred"):
        pi.from_numpyro(with_param, y=Y)


def test_meant_broadcasting_can_be_allowed():
    program = pi.from_numpyro(column, y=np.zeros(3), allow_broadcast=True)
    assert program.pointwise is not None


def test_improper_prior_serves_mcmc():
    program = pi.from_numpyro(flat, y=Y)
    posterior = pi.sample(program, pi.NUTS(chains=2, warmup=200, draws=300), key=1, progress=False)
    row = posterior.summary()["mu"]
    assert abs(row["mean"] - Y.mean()) < 4 * row["mcse"]


def test_random_key_programs_refuse_gradients():
    program = pi.from_simulator(dist.Normal(0.0, 1.0), noisy, gap, jnp.asarray(0.0), tolerance=0.5)
    with pytest.raises(MethodError, match="RandomWalk"):
        pi.sample(program, pi.NUTS(), key=0)
    with pytest.raises(MethodError, match="RandomWalk"):
        pi.sample(program, pi.SMC(kernel=pi.kernels.HMC()), key=0)
    with pytest.raises(ModelError, match="tolerance must be positive, got 0"):
        pi.from_simulator(dist.Normal(0.0, 1.0), noisy, gap, jnp.asarray(0.0), tolerance=0.0)


def noisy(key, parameters):
    import jax

    return parameters + jax.random.normal(key)


def gap(simulated, observed):
    return jnp.abs(simulated - observed)


def test_density_must_be_a_scalar():
    with pytest.raises(ModelError, match="scalar"):
        pi.from_log_likelihood(vector_valued, dist.Normal(0.0, 1.0), Y)
    with pytest.raises(ModelError, match="base= .* or initial="):
        pi.from_log_density(vector_valued, Y)


def vector_valued(x, y):
    return -((x - y) ** 2)


def test_clean_models_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pi.from_numpyro(plated, 3, y=Y)
