"""Supports hold whatever NumPyro's switches say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan

import probinf as pi
from probinf.fronts.catalogue import ARGUMENTS, example
from probinf.fronts.distributions.enforcing import enforced

Y = np.array([1.0, 2.0, 3.0])


@pytest.fixture(params=[True, False], ids=["on", "off"])
def switch(request: pytest.FixtureRequest) -> Iterator[None]:
    with dist.distribution.validation_enabled(request.param):
        yield


def plain(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))
    numpyro.sample("y", dist.Uniform(0, top), obs=y)


def unvalidated(y):
    top = numpyro.sample("top", dist.Uniform(0, 10, validate_args=False))
    numpyro.sample("y", dist.Uniform(0, top, validate_args=False), obs=y)


def plated(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))
    with numpyro.plate("n", 3), handlers.mask(mask=jnp.ones(3, bool)):
        numpyro.sample("y", dist.Uniform(0, top), obs=y)


def wrapped(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))
    numpyro.sample("y", dist.Uniform(0, top).expand([3]).to_event(1), obs=y)


def scanned(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))

    def step(carry, y_t):
        numpyro.sample("y", dist.Uniform(0, top), obs=y_t)
        return carry, None

    scan(step, 0.0, y)


def mixed(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))
    even = dist.Categorical(probs=jnp.array([0.5, 0.5]))
    numpyro.sample("y", dist.MixtureGeneral(even, [dist.Uniform(0, top)] * 2), obs=y)


def transformed(y):
    top = numpyro.sample("top", dist.Uniform(0, 10))
    doubled = dist.transforms.AffineTransform(0.0, 2.0)
    numpyro.sample("y", dist.TransformedDistribution(dist.Uniform(0, top / 2), doubled), obs=y)


MODELS = [plain, unvalidated, plated, wrapped, scanned, mixed, transformed]


@pytest.mark.usefixtures("switch")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_likelihood_is_zero_where_data_are_impossible(model: Any) -> None:
    program = pi.from_numpyro(model, Y)
    for top, expected in [(2.5, -np.inf), (4.0, -3 * np.log(4.0))]:
        x = {"top": jnp.log(top / (10 - top))}
        weight = jax.jit(program.score)(x, program.data).log_weight
        np.testing.assert_allclose(weight, expected, rtol=1e-5)


@pytest.mark.usefixtures("switch")
def test_priors_given_as_distributions_are_enforced_too() -> None:
    program = pi.from_log_density(_bowl, base=dist.Uniform(0, 1, validate_args=False))
    assert np.isfinite(jax.jit(program.score)({"x": jnp.zeros(())}, program.data)).all()


def _bowl(x: Any) -> Any:
    return -(x**2)


@pytest.mark.parametrize("form", ["plain", "mixture"])
def test_every_distribution_is_the_same_under_both_switches(form: str) -> None:
    values = jnp.array([-7.0, -0.5, 0.0, 0.4, 0.9, 1.5, 2.5, 40.0])
    different = []
    for name in ARGUMENTS:
        with dist.distribution.validation_enabled(False):
            try:
                fn = example(name, form)
            except Exception:  # NumPyro does not make it
                continue
            if fn.shape() != () or fn.support is None or fn.support.is_discrete:
                continue
            off = np.asarray(jax.jit(enforced(fn).log_prob)(values))
        on = np.asarray(jax.jit(example(name, form).log_prob)(values))
        if not np.array_equal(on, off, equal_nan=True):
            different.append(name)
    assert not different


def test_a_distribution_that_needs_nothing_is_left_alone() -> None:
    fn = dist.TransformedDistribution(dist.Normal(0, 1), dist.transforms.ExpTransform())
    assert enforced(fn) is fn
    bare = dist.Uniform(0, 1, validate_args=False)
    assert enforced(bare) is not bare and not bare._validate_args
