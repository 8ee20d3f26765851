"""Functions of nested parameters, and of one log likelihood per datum."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import ModelError

Y = np.random.default_rng(0).normal(1.0, 1.0, size=15)
PRIOR = {"noise": dist.HalfNormal(1.0), "planet": {"mass": dist.Normal(0.0, 2.0)}}


def terms(theta, y):
    return dist.Normal(theta["planet"]["mass"], theta["noise"]).log_prob(y)


def total(theta, y):
    return terms(theta, y).sum()


def by_hand(y):
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    mass = numpyro.sample("mass", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(mass, noise), obs=y)


def test_a_vector_of_log_likelihoods_is_the_same_measure_and_has_loo() -> None:
    programs = {
        "pointwise": pi.from_log_likelihood(terms, PRIOR, Y, pointwise=True),
        "sum": pi.from_log_likelihood(total, PRIOR, Y),
        "by hand": pi.from_numpyro(by_hand, Y),
    }
    mass = {"pointwise": "planet.mass", "sum": "planet.mass", "by hand": "mass"}
    at = {
        name: program.score({"noise": jnp.array(0.2), mass[name]: jnp.array(0.7)}, program.data)
        for name, program in programs.items()
    }
    for name in ("sum", "by hand"):
        np.testing.assert_allclose(at[name], at["pointwise"], rtol=1e-6)
    del programs["sum"]
    method = pi.Importance(draws=4_000)
    fits = {n: pi.sample(p, method, key=0, progress=False) for n, p in programs.items()}
    assert list(fits["pointwise"].draws) == ["noise", "planet.mass"]
    found = {name: pi.loo(fit, max_draws=4_000).elpd.value for name, fit in fits.items()}
    assert found["pointwise"] == pytest.approx(found["by hand"], abs=0.1)
    tree = fits["pointwise"].to_datatree(log_likelihood=True)
    assert tree["log_likelihood"]["log_likelihood"].shape == (1, 4_000, 15)


def test_what_is_no_vector_is_refused() -> None:
    with pytest.raises(ModelError, match=r"one log likelihood per datum, got a scalar. Leave the"):
        pi.from_log_likelihood(total, PRIOR, Y, pointwise=True)
    with pytest.raises(ModelError, match=r"got \(15,\). Sum over the data; or say pointwise=True"):
        pi.from_log_likelihood(terms, PRIOR, Y)
    clash = {"a": {"b": dist.Normal(0, 1)}, "a.b": dist.Normal(0, 1)}
    with pytest.raises(ModelError, match=r"two parameters are named 'a.b'"):
        pi.from_log_likelihood(total, clash, Y)
    with pytest.raises(ModelError, match=r"prior of 'planet.mass' must be a NumPyro distribution"):
        pi.from_log_likelihood(total, {"planet": {"mass": 1.0}}, Y)


class Pair(NamedTuple):
    first: object
    second: object


def of_pairs(theta):
    return -(theta["p"].first ** 2) - (theta["l"][1] - 1.0) ** 2 + 0 * theta["l"][0]


def on_the_host(theta):
    return float(of_pairs(theta))


def test_lists_and_named_tuples_keep_their_order() -> None:
    normal = dist.Normal(0.0, 1.0)
    prior = {"p": Pair(normal, normal), "l": [normal, normal]}
    names = ["p.first", "p.second", "l.0", "l.1"]
    x = {name: jnp.array(float(k)) for k, name in enumerate(names)}
    hosted = pi.from_callback(on_the_host, prior)
    assert set(hosted.template()) == set(names)
    found = pi.sample(
        hosted, pi.Importance(draws=50), key=0, progress=False, check=False, precision="single"
    )
    at = {name: found[name][0] for name in names}
    w = -(at["p.first"] ** 2) - (at["l.1"] - 1) ** 2
    np.testing.assert_allclose(found.log_weights[0], w - w.max(), atol=1e-4)
    program = pi.from_log_likelihood(of_pairs, prior)
    assert float(program.score(x, program.data).log_weight) == pytest.approx(-4.0)


def nested_density(theta):
    return -(theta["a"]["b"] ** 2).sum() - theta["c"] ** 2


def test_a_nested_starting_point() -> None:
    initial = {"a": {"b": np.zeros(2)}, "c": 0.0}
    program = pi.from_log_density(nested_density, initial=initial)
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=100, draws=50)
    found = pi.sample(program, method, key=0, progress=False)
    assert {n: v.shape for n, v in found.draws.items()} == {"a.b": (2, 50, 2), "c": (2, 50)}
