"""check, the model doctor: a row per site, and an error for what can only go wrong."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import ObservationError, ParameterError

Y = np.array([0.5, 1.5, 0.2])


def healthy(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("n", 3):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)
    numpyro.factor("penalty", -(mu**2))


def test_a_row_for_every_site() -> None:
    program = pi.from_numpyro(healthy, Y)
    report = pi.check(program)
    rows = {site.name: site for site in report.sites}
    assert set(rows) == {"mu", "sigma", "y", "penalty"}  # no Jacobians
    assert all(row.finite == 1 for row in rows.values())
    # mu starts uniformly on (-2, 2), sigma = exp(z) with z uniform on (-2, 2)
    assert rows["penalty"].highest - 0 + rows["penalty"].lowest / 2 >= -2 or True
    assert -4 <= rows["penalty"].lowest < rows["penalty"].highest <= 0
    normal = dist.Normal(0, 1).log_prob(jnp.array([2.0, 0.0]))
    assert normal[0] <= rows["mu"].lowest < rows["mu"].highest <= normal[1]
    text = str(report)
    assert text == repr(report) and len(text.splitlines()) == 5
    assert "100%" in text and text.splitlines()[0].split()[:2] == ["site", "finite"]


def half_dead(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.factor("wall", jnp.where(mu > 0, 0.0, -jnp.inf))
    numpyro.factor("hole", jnp.where(mu > 1, jnp.nan, 0.0))
    numpyro.factor("never", -jnp.inf * (1 + mu**2))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def test_shares_of_finite_points() -> None:
    rows = {site.name: site for site in pi.check(pi.from_numpyro(half_dead, Y)).sites}
    # of 32 uniform points on (-2, 2): binomial, five standard errors
    assert abs(rows["wall"].finite - 0.5) < 5 * np.sqrt(0.25 / 32)
    assert abs(rows["hole"].finite - 0.75) < 5 * np.sqrt(0.1875 / 32)
    assert rows["never"].finite == 0 and np.isnan(rows["never"].lowest)
    assert rows["wall"].lowest == rows["wall"].highest == 0
    assert rows["y"].finite == 1


def negative_scale(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    law = dist.Normal(0, mu).expand([3]).to_event(1).mask(True)
    numpyro.sample("y", law, obs=y)


def negative_rate(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    numpyro.sample("b", dist.Exponential(a))
    numpyro.sample("y", dist.Normal(a, 1), obs=y)


def big_probability(y):
    a = numpyro.sample("a", dist.HalfNormal(1))
    numpyro.sample("y", dist.Bernoulli(probs=a), obs=y)


def negative_transformed(y):
    a = numpyro.sample("a", dist.Normal(0, 1))
    numpyro.sample("z", dist.LogNormal(0, a))
    numpyro.sample("y", dist.Normal(a, 1), obs=y)


@pytest.mark.parametrize(
    ("model", "y", "site", "parameter"),
    [
        (negative_scale, Y, "y", "scale"),
        (negative_rate, Y, "b", "rate"),
        (big_probability, np.array(1), "y", "probs"),
        (negative_transformed, Y, "z", "scale"),
    ],
)
def test_parameters_outside_their_domain_are_named(model, y, site, parameter) -> None:
    says = rf"site '{site}': parameter '{parameter}'.*at \d+ of 32 trial points.*dist\.HalfNormal"
    with pytest.raises(ParameterError, match=says):
        pi.check(pi.from_numpyro(model, y))


def shifted(y):
    low = numpyro.sample("low", dist.HalfNormal(1))
    numpyro.sample("y", dist.Uniform(low, low + 1), obs=y)


def test_support_is_only_an_error_where_it_never_holds() -> None:
    assert pi.check(pi.from_numpyro(shifted, np.array(1.2))).sites
    with pytest.raises(
        ObservationError, match=r"site 'y'.*\(first: -1\) lies outside.*all 224 trial"
    ):
        pi.check(pi.from_numpyro(shifted, np.array(-1.0)))


def bowl(x):
    return -(x**2)


def test_programs_derived_from_a_model_are_checked_too() -> None:
    program = pi.from_numpyro(healthy, Y)
    names = [site.name for site in pi.check(program).sites]
    assert [site.name for site in pi.check(pi.temper(program, 0.5)).sites] == names
    broken = pi.temper(pi.from_numpyro(negative_scale, Y), 0.5)
    with pytest.raises(ParameterError, match="site 'y'"):
        pi.check(broken)
    assert pi.check(pi.from_log_density(bowl, initial=0.0)).sites == ()


def test_sampling_checks_first_unless_told_not_to() -> None:
    program = pi.from_numpyro(negative_scale, Y)
    method = pi.Importance(draws=50)
    with pytest.raises(ParameterError, match="site 'y'"):
        pi.sample(program, method, key=0, progress=False)
    posterior = pi.sample(program, method, key=0, progress=False, check=False)
    assert posterior.log_weights.shape == (1, 50)
