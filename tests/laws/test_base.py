"""Law 1: ``draw`` matches ``log_base``."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from tests.cases import targets


def shapes() -> None:
    """Simplex, Cholesky factor, ordered vector, interval with a moving end."""
    scale = numpyro.sample("scale", dist.HalfCauchy(1.0))
    numpyro.sample("share", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    numpyro.sample("factor", dist.LKJCholesky(3, 2.0))
    numpyro.sample("below", dist.Uniform(0.0, scale))
    numpyro.sample("late", dist.LogNormal(0.0, 0.5))


@pytest.mark.parametrize("make", targets.ALL, ids=lambda make: make.__name__)
def test_targets(make) -> None:
    result = pi.validity.check_base(make().program, key=1, draws=10_000)
    assert result, result


def test_constrained_shapes() -> None:
    program = pi.from_numpyro(shapes)
    result = pi.validity.check_base(program, key=2)
    assert result, result


def test_pushed_and_bound() -> None:
    program = targets.correlated().program
    pushed = pi.push(program, dist.transforms.AffineTransform(jnp.ones(2), jnp.array([2.0, 0.5])))
    assert pi.validity.check_base(pushed, key=3, draws=10_000)
    bound = pi.bind(program, noise)
    assert pi.validity.check_base(bound, key=4, draws=10_000)


def _noise_model(mean: jnp.ndarray) -> None:
    numpyro.sample("z", dist.Normal(mean, 0.3))


def noise(x: dict, data: tuple) -> pi.Program:
    return pi.from_numpyro(_noise_model, x["x"][0])
