"""NumPyro's handlers around a model: the density is NumPyro's, or they are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import potential_energy

import probinf as pi
from probinf.errors import ModelError
from probinf.fronts import discovery

Y = np.array([0.3, 1.2, -0.4])


def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    with numpyro.plate("rows", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, sd))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def half_known(y):
    """The same with sd = .5, its prior density counted."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.factor("sd", dist.HalfNormal(1.0).log_prob(0.5))
    with numpyro.plate("rows", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, 0.5))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def done(y):
    """The same with sd = .5 where it is used, and a prior that nothing hangs on."""
    numpyro.sample("sd", dist.HalfNormal(1.0))
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, 0.5))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def non_centred(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    with numpyro.plate("rows", 3):
        z = numpyro.sample("theta_decentered", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + sd * z)
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def scoped(y):
    mu = numpyro.sample("a/mu", dist.Normal(0.0, 2.0))
    sd = numpyro.sample("a/sd", dist.HalfNormal(1.0))
    with numpyro.plate("a/rows", 3):
        theta = numpyro.sample("a/theta", dist.Normal(mu, sd))
        numpyro.sample("a/y", dist.Normal(theta, 1.0), obs=y)


def with_param(y):
    scale = numpyro.param("scale", 2.0, constraint=dist.constraints.positive)
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0.0, scale)), 1.0), obs=y[0])


def lifted(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0.0, scale)), 1.0), obs=y[0])


def tripled(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[0])


HALF = {"sd": jnp.array(0.5)}
CASES: dict[str, tuple[Any, Callable[..., Any]]] = {
    "condition, a parameter": (handlers.condition(model, HALF), half_known),
    "condition, data": (handlers.condition(model, {"y": jnp.asarray(Y)}), model),
    "do": (handlers.do(model, HALF), done),
    "reparam": (handlers.reparam(model, {"theta": LocScaleReparam(0.0)}), non_centred),
    "seed": (handlers.seed(model, 0), model),
    "scope": (handlers.scope(model, "a"), scoped),
    "mask, all": (handlers.mask(model, mask=True), model),
    "substitute, a param": (handlers.substitute(with_param, {"scale": jnp.array(3.0)}), tripled),
    "lift": (handlers.lift(with_param, {"scale": dist.HalfNormal(1.0)}), lifted),
    "do, with reparam": (
        handlers.do(handlers.reparam(model, {"theta": LocScaleReparam(0.0)}), HALF),
        lambda y: handlers.do(non_centred, HALF)(y),
    ),
}


def total(program: pi.Program, x: dict[str, Any]) -> float:
    return float(sum(program.score(x, program.data)))


@pytest.mark.filterwarnings("ignore:numpyro.param")
@pytest.mark.parametrize("name", CASES)
def test_the_density_is_that_of_the_model_written_by_hand(name: str) -> None:
    wrapped, by_hand = (pi.from_numpyro(fn, Y) for fn in CASES[name])
    assert set(wrapped.template()) == set(by_hand.template())
    x = {
        n: 0.3 * jnp.arange(1.0, 1 + v.size).reshape(v.shape) for n, v in by_hand.template().items()
    }
    assert total(wrapped, x) == pytest.approx(total(by_hand, x), rel=1e-5)
    draws = wrapped.constrain(x, wrapped.data)
    for site, value in by_hand.constrain(x, by_hand.data).items():
        np.testing.assert_allclose(draws[site], value, rtol=1e-5)
    simulated = jax.eval_shape(wrapped.simulate, jax.random.key(0), x, wrapped.data)
    assert set(simulated) == {n for n in wrapped.observations.get(wrapped.data) if n != "sd"}


@pytest.mark.parametrize("wrapped", [handlers.scale(model, 0.5), handlers.mask(model, mask=False)])
def test_weights_of_sites_are_numpyro_s(wrapped: Any) -> None:
    """Scales and masks change the density of the user's values, not of their coordinates."""
    program = pi.from_numpyro(wrapped, Y)
    x = {"mu": jnp.array(0.3), "sd": jnp.array(-0.4), "theta": jnp.array([0.1, 0.5, -0.2])}
    theirs = -float(potential_energy(wrapped, (Y,), {}, x))
    assert total(program, x) == pytest.approx(theirs, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (handlers.substitute(model, HALF), r"'sd' has a value .*substitute or replay.*condition\("),
        (handlers.block(model, hide=["sd"]), r"block hides a random site.*do or"),
        (handlers.uncondition(model), r"uncondition forgets .* pi.prior_predictive"),
        (handlers.collapse(model), "collapse leaves a lazy expression"),
    ],
)
def test_others_are_refused_by_name(wrapped: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        pi.from_numpyro(wrapped, Y)


def test_values_that_are_ignored_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken twin without the refusal infers the site that the user has given."""
    monkeypatch.setattr(discovery.Anywhere, "refuse", lambda self, name, site: None)
    with pytest.raises(pytest.fail.Exception):
        test_others_are_refused_by_name(handlers.substitute(model, HALF), "has a value")
