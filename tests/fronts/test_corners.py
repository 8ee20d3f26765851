"""Priors whose mass lies in the corners of their support keep it, in single precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.distributions import biject_to, transforms
from scipy.special import betaln, gammaln
from scipy.stats import kstest

import probinf as pi
from probinf.core.estimate import log_mean_exp
from probinf.core.population import drawn, scored
from probinf.core.precision import precisely
from probinf.fronts import density, drawing
from probinf.fronts.distributions.completion import completed
from probinf.fronts.distributions.coordinates import law_of


def laws() -> dict[str, Any]:
    """Made in the precision of the test."""
    return {
        "Beta": dist.Beta(2.0, 3.0),
        "BetaProportion": dist.BetaProportion(0.3, 4.0),
        "Chi2": dist.Chi2(3.0),
        "Dagum": dist.Dagum(1.5, 2.0, 3.0),
        "Dirichlet": dist.Dirichlet(jnp.array([1.0, 2.0, 3.0, 0.7])),
        "Gamma": dist.Gamma(2.0, 3.0),
        "InverseGamma": dist.InverseGamma(3.0, 2.0),
        "Kumaraswamy": dist.Kumaraswamy(2.0, 0.7),
        "LogNormal": dist.LogNormal(1.0, 0.5),
        "LowerTruncatedPowerLaw": dist.LowerTruncatedPowerLaw(-2.5, 1.5),
        "Pareto": dist.Pareto(2.0, 1.5),
        "RelaxedBernoulli": dist.RelaxedBernoulliLogits(0.7, 0.3),
        "Weibull": dist.Weibull(2.0, 1.5),
        "batch": dist.Beta(2.0, jnp.array([1.0, 3.0])).expand([5, 2]).to_event(1),
        "mixture": dist.MixtureSameFamily(
            dist.Categorical(jnp.array([0.3, 0.7])),
            dist.Beta(jnp.array([2.0, 5.0]), jnp.array([4.0, 1])),
        ),
        "scaled Beta": dist.TransformedDistribution(
            dist.Beta(2.0, 3.0), transforms.AffineTransform(1.0, 4.0)
        ),
        "shifted Gamma": dist.TransformedDistribution(
            dist.Gamma(2.0, 3.0), transforms.AffineTransform(1.0, 4.0)
        ),
        "exponential of Student": dist.TransformedDistribution(
            dist.StudentT(5.0),
            [
                transforms.AffineTransform(0.2, 0.3),
                transforms.ExpTransform(),
                transforms.AffineTransform(0.5, 2.0),
            ],
        ),
    }


NAMES = [
    "Beta",
    "BetaProportion",
    "Chi2",
    "Dagum",
    "Dirichlet",
    "Gamma",
    "InverseGamma",
    "Kumaraswamy",
    "LogNormal",
    "LowerTruncatedPowerLaw",
    "Pareto",
    "RelaxedBernoulli",
    "Weibull",
    "batch",
    "exponential of Student",
    "mixture",
    "scaled Beta",
    "shifted Gamma",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_law_of_the_coordinates_is_that_of_the_values(name: str, x64: None) -> None:
    fn = completed(laws()[name], latent=True)
    law, transform = law_of(fn), biject_to(fn.support)
    x = law.sample(jax.random.key(0), (400,))
    value = transform(x)
    through = fn.log_prob(value)
    slope = transform.log_abs_det_jacobian(x, value)
    through = through + slope.reshape(*through.shape, -1).sum(-1)
    np.testing.assert_allclose(law.log_prob(x), through, rtol=1e-8, atol=1e-8)
    assert jnp.isfinite(jax.grad(lambda t: law.log_prob(t).sum())(x)).all()


UNIFORM = {
    "Beta": lambda x: dist.Beta(2.0, 3.0).cdf(jax.nn.sigmoid(x)),
    "Gamma": lambda x: dist.Gamma(2.0, 3.0).cdf(jnp.exp(x)),
    "Weibull": lambda x: dist.Weibull(2.0, 1.5).cdf(jnp.exp(x)),
    "Dagum": lambda x: dist.Dagum(1.5, 2.0, 3.0).cdf(jnp.exp(x)),
    "Kumaraswamy": lambda x: 1 - (1 - jax.nn.sigmoid(x) ** 2.0) ** 0.7,
    "Pareto": lambda x: 1 - (2.0 / (2.0 + jnp.exp(x))) ** 1.5,
    "LowerTruncatedPowerLaw": lambda x: 1 - ((1.5 + jnp.exp(x)) / 1.5) ** -1.5,
}


@pytest.mark.parametrize("name", sorted(UNIFORM))
def test_coordinates_are_drawn_from_their_law(name: str, x64: None) -> None:
    x = law_of(laws()[name]).sample(jax.random.key(1), (4000,))
    assert kstest(np.asarray(UNIFORM[name](x)), "uniform").pvalue > 1e-4


def test_sticks_are_drawn_from_their_law(x64: None) -> None:
    law = law_of(laws()["Dirichlet"])
    value = biject_to(laws()["Dirichlet"].support)(law.sample(jax.random.key(1), (4000,)))
    a = np.array([1.0, 2.0, 3.0, 0.7])
    for k in range(4):
        u = dist.Beta(a[k], a.sum() - a[k]).cdf(value[:, k])
        assert kstest(np.asarray(u), "uniform").pvalue > 1e-4


Y = np.array([0.3, -1.9, 2.2, 0.4, -3.1, 1.0, -0.2, 2.5, -1.4, 0.7])
SMALL, HALF = 1e-3, (Y**2).sum() / 2


def coin(y: Any) -> None:
    p = numpyro.sample("p", dist.Beta(0.1, 0.1))
    numpyro.sample("y", dist.Bernoulli(p), obs=y)


def coin_of_kumaraswamy(y: Any) -> None:
    p = numpyro.sample("p", dist.Kumaraswamy(1.0, 0.05))
    numpyro.sample("y", dist.Bernoulli(p), obs=y)


def die(y: Any) -> None:
    p = numpyro.sample("p", dist.Dirichlet(jnp.full(4, 0.05)))
    numpyro.sample("y", dist.Categorical(p), obs=y)


def precise(y: Any) -> None:
    t = numpyro.sample("t", dist.Gamma(SMALL, SMALL))
    numpyro.sample("y", dist.Normal(0.0, 1 / jnp.sqrt(t)), obs=y)


def varying(y: Any) -> None:
    v = numpyro.sample("v", dist.InverseGamma(SMALL, SMALL))
    numpyro.sample("y", dist.Normal(0.0, jnp.sqrt(v)), obs=y)


def vast(y: Any) -> None:
    s = numpyro.sample("s", dist.LogNormal(0.0, 300.0))
    numpyro.sample("y", dist.Bernoulli(jnp.where(s > 1.0, 0.9, 0.1)), obs=y)


ALPHA, COUNTS = np.full(4, 0.05), np.array([3, 0, 0, 1])
GAMMA = (
    SMALL * np.log(SMALL)
    - gammaln(SMALL)
    + gammaln(SMALL + 5)
    - (SMALL + 5) * np.log(SMALL + HALF)
    - 5 * np.log(2 * np.pi)
)
CORNERS: dict[str, Any] = {
    "Beta": (coin, np.ones(3, int), betaln(3.1, 0.1) - betaln(0.1, 0.1)),
    "Kumaraswamy": (coin_of_kumaraswamy, np.ones(3, int), np.log(0.05) + betaln(4, 0.05)),
    "Dirichlet": (
        die,
        np.array([0, 0, 0, 3]),
        gammaln(0.2) - gammaln(4.2) + (gammaln(ALPHA + COUNTS) - gammaln(ALPHA)).sum(),
    ),
    "Gamma": (precise, Y, GAMMA),
    "InverseGamma": (varying, Y, GAMMA),
    "LogNormal": (vast, np.ones(1, int), np.log(0.5)),
}


def evidence_by_draws(program: pi.Program, n: int) -> tuple[float, float, int]:
    """Log evidence and its error, and the draws whose likelihood was lost."""

    @jax.jit
    def population(key: jax.Array) -> Any:
        x = drawn(key, program, n)
        return scored(program, x)

    found = population(jax.random.key(2))
    estimate = log_mean_exp(np.asarray(found.log_weight, float))
    assert np.isfinite(np.asarray(found.log_base)).all()
    return (*estimate, int(found.lost))


@pytest.mark.parametrize("name", sorted(CORNERS))
def test_the_mass_in_the_corners_is_kept(name: str) -> None:
    model, y, right = CORNERS[name]
    value, error, lost = evidence_by_draws(pi.from_numpyro(model, y), 40_000)
    assert lost == 0
    assert error < 0.15 and abs(value - right) < 4.5 * error


@pytest.mark.slow
def test_the_posterior_share_that_lies_away_from_the_corner() -> None:
    program = pi.from_numpyro(coin, np.ones(3, int))
    posterior = pi.sample(program, pi.SMC(particles=4000), key=0, progress=False)
    share = (posterior.resampled().draws["p"] < 0.9).mean()
    assert abs(posterior.log_evidence.z(-0.8267)) < 4.5
    assert abs(share - 0.0961) < 0.02  # .113 to .117 where draws beyond single precision are cut


def test_coordinates_by_way_of_the_value_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: draws and densities go through a number that has no digits left."""
    monkeypatch.setattr(density, "law_of_coordinates", lambda *_: None)
    monkeypatch.setattr(drawing, "law_of_coordinates", lambda *_: None)
    program = pi.from_numpyro(varying, Y)
    x = jax.jit(lambda key: drawn(key, program, 20_000))(jax.random.key(2))
    assert not np.isfinite(np.asarray(scored(program, x).log_base)).all()


def in_a_loop(y: Any) -> None:
    def step(carry: Any, value: Any) -> tuple[Any, None]:
        p = numpyro.sample("p", dist.Beta(2.0, 3.0))
        numpyro.sample("y", dist.Bernoulli(p), obs=value)
        return carry, None

    scan(step, 0.0, y)


def test_inside_a_loop_the_law_is_the_same() -> None:
    program = pi.from_numpyro(in_a_loop, np.array([1, 1, 0]))
    with precisely("double"):
        x = jax.jit(program.draw)(jax.random.key(0), program.data)["p"]
        expected = laws()["Beta"].log_prob(jax.nn.sigmoid(x)) + jax.nn.log_sigmoid(x)
        expected = (expected + jax.nn.log_sigmoid(-x)).sum()
        found = program.score({"p": x}, program.data).log_base
    assert x.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
