"""A likelihood learned under one prior serves any other; a learned posterior belongs to its own."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.reparam import LocScaleReparam

import probinf as pi
from probinf.amortized import NLE, NPE, load
from probinf.amortized.neural import weighing
from probinf.amortized.neural.marginals import Marginals, Stretched
from probinf.amortized.neural.parameters import Parameters
from probinf.core.coordinates import flatten, vector_of
from probinf.errors import RangeWarning, StructureError

SMALL = {"layers": 2, "hidden": (16, 16), "bins": 6}
Y = np.array(3.0)


def located(prior, y=None):
    m = numpyro.sample("m", prior)
    numpyro.sample("y", dist.Normal(m, 0.5), obs=y)


def program(prior):
    return pi.from_numpyro(located, prior, y=Y)


@pytest.fixture(scope="module")
def learned():
    source = program(dist.Uniform(0.0, 10.0))
    return NLE(simulations=2000, **SMALL).fit(source, key=0, steps=600, progress=False)


def moments(posterior):
    """Mean and sd of the only parameter, on a grid of its unconstrained coordinate."""
    flat, _ = flatten(posterior)
    x = jnp.linspace(-14.0, 14.0, 4001)[:, None]

    @jax.jit
    @jax.vmap
    def both(x):
        return sum(flat.score(x, flat.data)), flat.constrain(x, flat.data)["m"]

    log_p, value = (np.asarray(v, float) for v in both(x))
    w = np.exp(np.asarray(log_p, float) - np.max(log_p))
    w /= w.sum()
    mean = w @ value
    return mean, np.sqrt(w @ (value - mean) ** 2)


PRIORS = {
    "trained": dist.Uniform(0.0, 10.0),
    "half": dist.Uniform(0.0, 5.0),
    "positive": dist.LogNormal(1.0, 0.4),
    "real": dist.Normal(4.0, 1.0),
}


def on_grid(prior, log_likelihood):
    m = np.linspace(0.01, 9.99, 4001)
    inside = np.asarray(prior.support(m))
    m = m[inside]
    log_p = prior.log_prob(m) + log_likelihood(m)
    w = np.exp(np.asarray(log_p, float))
    w /= w.sum()
    mean = w @ m
    return mean, np.sqrt(w @ (m - mean) ** 2)


def exact(prior):
    return on_grid(prior, lambda m: dist.Normal(m, 0.5).log_prob(Y))


@pytest.mark.parametrize("name", PRIORS)
def test_the_prior_may_have_any_support(learned, name):
    prior = PRIORS[name]
    found = moments(learned.posterior(program=program(prior)))
    np.testing.assert_allclose(found, exact(prior), atol=0.2)

    def network(m):
        theta = jnp.asarray(m, float)[:, None]
        return jax.jit(jax.vmap(lambda v: learned.network.log_likelihood(v, jnp.asarray([3.0]))))(
            theta
        )

    np.testing.assert_allclose(found, on_grid(prior, network), atol=0.01)


def test_a_network_in_unconstrained_coordinates_is_off(learned, monkeypatch):
    """The mutant: what was learned of the coordinate is asked about the coordinate."""

    def old(self, x, data):
        ten = 10 * jax.nn.sigmoid(vector_of(x["m"]).reshape(1))  # what the coordinate was
        terms = jax.vmap(data[1].network.log_likelihood, (None, 0))(ten, data[1].data)
        return self.score(x, data[0])._replace(log_weight=jnp.sum(terms))

    monkeypatch.setattr(weighing.Learned, "__call__", old)
    assert abs(moments(learned.posterior(program=program(PRIORS["half"])))[0] - 1.5) < 0.1


def test_priors_beyond_the_training_are_named(learned):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned.posterior(program=program(dist.Uniform(0.0, 10.0)))
        learned.posterior(program=program(dist.Uniform(1.0, 5.0)))
    for prior in (dist.Uniform(0.0, 20.0), dist.Normal(0.0, 3.0)):
        with pytest.warns(RangeWarning, match="of the prior of 'm' lie outside"):
            learned.posterior(program=program(prior))


def test_the_scale_is_kept_in_a_file(learned, tmp_path):
    learned.save(tmp_path / "nle.safetensors")
    again = load(tmp_path / "nle.safetensors").with_program(program(PRIORS["half"]))
    np.testing.assert_allclose(
        moments(again.posterior(Y)), moments(learned.posterior(program=program(PRIORS["half"])))
    )


def two(y=None):
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.Exponential(1.0))
    numpyro.sample("y", dist.Normal(m, s), obs=y)


def test_other_parameters_are_refused(learned):
    with pytest.raises(StructureError, match=r"knows the coordinates \{'m'.*has \{'m'.*'s'"):
        learned.posterior(program=pi.from_numpyro(two, y=Y))


def centred(scale, y=None):
    m = numpyro.sample("m", dist.Normal(1.0, scale))
    numpyro.deterministic("twice", 2 * m)
    numpyro.sample("y", dist.Normal(m, 0.5), obs=y)


decentred = numpyro.handlers.reparam(centred, config={"m": LocScaleReparam(0.0)})


def test_a_reparametrised_site_is_itself():
    for model in (centred, decentred):
        found = Parameters.of(pi.from_numpyro(model, 3.0, y=Y))
        assert (found.names, found.shapes) == (("m",), ((),))


def test_a_learned_posterior_refuses_another_prior():
    source = program(dist.Uniform(0.0, 10.0))
    fitted = NPE(simulations=500, **SMALL).fit(source, key=0, steps=20, progress=False)
    fitted.posterior(program=program(dist.Uniform(0.0, 10.0)))
    for prior in (dist.Uniform(0.0, 5.0), dist.Gamma(2.0, 1.0), dist.Normal(3.0, 3.0)):
        with pytest.raises(StructureError, match="the prior of 'm' is not the one of the training"):
            fitted.posterior(program=program(prior))
        with pytest.raises(StructureError, match="is not the one of the training"):
            fitted.with_program(program(prior))
    # the remedy of the message
    other = program(dist.Uniform(0.0, 5.0))
    found = pi.refine(other, fitted.posterior(Y), key=1, progress=False).summary()["m"]
    mean, _ = exact(dist.Uniform(0.0, 5.0))
    assert abs(found["mean"] - mean) < 4 * found["mcse"]


def test_values_over_many_orders_of_magnitude_keep_their_lower_end():
    values = np.random.default_rng(0).lognormal(0.0, 4.0, (4000, 1))
    scores = jax.vmap(Stretched.of(values))(jnp.asarray(values, float))
    low = np.argsort(values[:, 0])[:400]
    assert np.corrcoef(np.log(values[low, 0]), np.asarray(scores)[low, 0])[0, 1] > 0.95
    plain = jax.vmap(lambda v: Marginals.of(values)(v)[0])(jnp.asarray(values, float))
    assert np.ptp(np.asarray(plain)[low, 0]) < 0.1 < np.ptp(np.asarray(scores)[low, 0])
