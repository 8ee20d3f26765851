"""predict with another program: sites by name, more or fewer of them, forecasts, refusals."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.handlers import condition

import probinf as pi
from probinf.errors import ModelError, NewSitesWarning, StructureError

GROUPS = np.repeat(np.arange(5), 4)
LEVELS = np.array([105.0, 97.0, 100.0, 110.0, 95.0])
Y = LEVELS[GROUPS]
SERIES = jnp.linspace(1.0, 2.0, 6)
N = 400


def grouped(n, group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 100.0))
    log_tau = numpyro.sample("log_tau", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", n):
        theta = numpyro.sample("theta", dist.Normal(mu, jnp.exp(log_tau)))
    numpyro.sample("y", dist.Normal(theta[group], 0.1).to_event(1), obs=y)


def fitted(program: pi.Program, **values: Any) -> pi.Posterior:
    """A posterior with given draws of real coordinates, and a little noise around them."""
    rng = np.random.default_rng(0)
    draws = {
        name: (np.asarray(values[name]) + 1e-3 * rng.normal(size=(2, N, *np.shape(values[name]))))
        for name in sorted(values)
    }
    draws = {name: np.asarray(v, np.float32) for name, v in draws.items()}
    flat = np.concatenate([v.reshape(2, N, -1) for v in draws.values()], axis=2)
    return pi.Posterior(draws, np.zeros((2, N)), {}, {}, flat, {}, "chains", program=program)


@pytest.fixture(scope="module")
def groups() -> pi.Posterior:
    program = pi.from_numpyro(grouped, 5, GROUPS, Y)
    return fitted(program, mu=101.0, log_tau=np.log(6.0), theta=LEVELS)


def predicted(posterior: pi.Posterior, program: pi.Program, said: str = "") -> dict[str, Any]:
    """Predictions, and whether what is drawn from the prior is said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = posterior.predict(key=1, program=program)
    assert [w.category for w in caught] == ([NewSitesWarning] if said else [])
    assert said in " ".join(str(w.message) for w in caught)
    return {name: v.reshape(-1, *v.shape[2:]) for name, v in found.items()}


@pytest.mark.parametrize("y", [np.zeros(3), None], ids=["placeholder", "left out"])
def test_fewer_groups_take_their_own_draws(groups: pi.Posterior, y: Any) -> None:
    fewer = pi.from_numpyro(grouped, 2, np.array([0, 1, 1]), y)
    found = predicted(groups, fewer, "'theta' has shape (2,), in the fit (5,): the first")
    assert list(found) == ["y"]
    np.testing.assert_allclose(found["y"].mean(axis=0), [105.0, 97.0, 97.0], atol=0.03)
    np.testing.assert_allclose(found["y"].std(axis=0), 0.1, rtol=0.2)


def test_new_groups_are_drawn_from_their_prior_given_the_rest(groups: pi.Posterior) -> None:
    more = pi.from_numpyro(grouped, 7, np.arange(7))
    found = predicted(groups, more, "what the fit lacks is drawn from its prior given the rest")
    np.testing.assert_allclose(found["y"][:, :5].mean(axis=0), LEVELS, atol=0.03)
    assert found["theta"].shape == (2 * N, 7)
    new = found["y"][:, 5:]
    assert np.abs(new.mean(axis=0) - 101.0).max() < 5 * 6 / np.sqrt(2 * N)
    np.testing.assert_allclose(new.std(axis=0), 6.0, rtol=5 / np.sqrt(4 * N))
    assert abs(np.corrcoef(new.T)[0, 1]) < 5 / np.sqrt(2 * N)


def test_data_left_out_are_predicted_as_if_they_were_there(groups: pi.Posterior) -> None:
    own = groups.predict(key=1)["y"].reshape(-1, len(Y))
    found = predicted(groups, pi.from_numpyro(grouped, 5, GROUPS))
    np.testing.assert_allclose(found["y"], own, atol=1e-3)


def with_slope(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 100.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(mu + x @ slope, 0.1).to_event(1), obs=y)


def elsewhere(y=None):
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(level, 1.0), obs=y)


def another_support(group, y=None):
    mu = numpyro.sample("mu", dist.Uniform(0.0, 50.0))
    numpyro.sample("y", dist.Normal(mu, 0.1), obs=y)


def joint(n, group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 100.0))
    numpyro.sample("log_tau", dist.Normal(0.0, 1.0))
    theta = numpyro.sample("theta", dist.MultivariateNormal(jnp.full(n, mu), jnp.eye(n)))
    numpyro.sample("y", dist.Normal(theta[group], 0.1), obs=y)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (lambda: pi.from_numpyro(elsewhere, 0.5), r"sites \['level'\] are not in the fit"),
        (lambda: pi.from_numpyro(with_slope, np.ones((3, 2)), np.ones(3)), r"\['slope'\].*'theta'"),
        (lambda: pi.from_numpyro(another_support, GROUPS, Y), r"800 of 800 draws of site 'mu'"),
        (lambda: pi.from_numpyro(joint, 6, GROUPS, Y), r"'theta' \(Multiv.*\(5,\) in the fit"),
        (lambda: pi.from_numpyro(joint, 4, np.zeros(2, int), np.ones(2)), r"'theta'.*\(4,\) in"),
    ],
)
def test_what_does_not_match_is_refused_by_name(groups, program, said) -> None:
    with pytest.raises(StructureError, match=f"(?s){said}"):
        groups.predict(key=0, program=program())


def test_a_site_more_is_drawn_from_its_prior_and_said() -> None:
    def wider(y=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 100.0))
        extra = numpyro.sample("extra", dist.Normal(mu, 3.0))
        numpyro.sample("y", dist.Normal(extra, 0.1), obs=y)

    only_mu = fitted(pi.from_numpyro(only, np.ones(1)), mu=4.0)
    found = predicted(only_mu, pi.from_numpyro(wider, 1.0), "'extra' is not in the fit")
    assert set(found) == {"y", "extra"}
    assert abs(found["y"].mean() - 4.0) < 5 * 3 / np.sqrt(2 * N)


def only(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 100.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def walk(steps, y=None):
    log_s = numpyro.sample("log_s", dist.Normal(0.0, 1.0))

    def step(x, now):
        x = numpyro.sample("x", dist.Normal(x, jnp.exp(log_s)))
        numpyro.sample("y", dist.Normal(x, 0.1), obs=now)
        return x, None

    scan(step, 0.0, y, length=steps)


def test_a_longer_scan_goes_on_from_the_last_step() -> None:
    fit = fitted(pi.from_numpyro(walk, 6, SERIES), log_s=np.log(0.5), x=SERIES)
    ahead = predicted(fit, pi.from_numpyro(walk, 9), "'x' has shape (9,), in the fit (6,)")
    np.testing.assert_allclose(ahead["y"][:, :6].mean(axis=0), SERIES, atol=0.03)
    sd = np.sqrt(0.25 * np.arange(1, 4) + 0.01)
    assert (np.abs(ahead["y"][:, 6:].mean(axis=0) - 2.0) < 5 * sd / np.sqrt(2 * N)).all()
    np.testing.assert_allclose(ahead["y"][:, 6:].std(axis=0), sd, rtol=5 / np.sqrt(4 * N))
    shorter = predicted(fit, pi.from_numpyro(walk, 2), "the first entries")
    np.testing.assert_allclose(shorter["y"].mean(axis=0), SERIES[:2], atol=0.03)


def autoregression(steps, y=None):
    phi = numpyro.sample("phi", dist.Normal(0.0, 1.0))

    def step(before, now):
        now = numpyro.sample("y", dist.Normal(phi * before, 0.1), obs=now)
        return now, None

    scan(step, 1.0, y, length=steps)


def test_a_series_given_in_part_is_forecast_from_its_end() -> None:
    """NumPyro's idiom for forecasts; it ended in a bare AssertionError."""
    fit = fitted(pi.from_numpyro(autoregression, 6, SERIES), phi=0.9)
    longer = pi.from_numpyro(condition(autoregression, {"y": SERIES}), 8)
    found = predicted(fit, longer)["y"]
    np.testing.assert_allclose(found[:, :6], np.tile(SERIES, (2 * N, 1)), rtol=1e-6)
    np.testing.assert_allclose(found[:, 6:].mean(axis=0), [1.8, 1.62], atol=0.03)
    np.testing.assert_allclose(found[:, 6:].std(axis=0), [0.1, 0.1345], rtol=5 / np.sqrt(4 * N))
    with pytest.raises(ModelError, match=r"gives 6 of its 8 steps.*predict\(program=\) only"):
        pi.sample(longer, key=0)


def scaled(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfCauchy(50.0))
    numpyro.sample("y", dist.Normal(mu, scale).expand([5]).to_event(1), obs=y)


def inside(y):
    with condition(data={"scale": jnp.asarray(1.0)}):
        scaled(y)


def fixed_in_scan(steps, y=None):
    """As ``walk``, with a scale for each step that a handler fixes."""

    def step(x, now):
        s = numpyro.sample("s", dist.HalfCauchy(50.0))
        x = numpyro.sample("x", dist.Normal(x, s))
        return x, numpyro.sample("y", dist.Normal(x, 0.1), obs=now)

    scan(step, 0.0, y, length=steps)


def spread(program: pi.Program) -> dict[str, float]:
    """Of simulated data, all draws together."""

    def one(key):
        first, second = jax.random.split(key)
        return program.simulate(second, program.draw(first, program.data), program.data)

    out = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 1000))
    return {name: float(value.std()) for name, value in out.items()}


FIVE = np.array([1.2, 0.4, 2.2, 1.0, 0.9])


@pytest.mark.parametrize(
    ("program", "sd"),
    [
        (lambda: pi.from_numpyro(condition(scaled, {"scale": 1.0}), FIVE), 2**0.5),
        (lambda: pi.from_numpyro(condition(scaled, {"scale": 1.0, "y": FIVE})), 2**0.5),
        (lambda: pi.from_numpyro(condition(scaled, condition_fn=one_for_scale), FIVE), 2**0.5),
        (lambda: pi.from_numpyro(inside, FIVE), 2**0.5),
        (
            lambda: pi.condition(
                pi.from_numpyro(condition(scaled, {"scale": 1.0}), FIVE),
                {"scale": jnp.asarray(3.0)},
            ),
            10**0.5,
        ),
        (lambda: pi.from_numpyro(condition(fixed_in_scan, {"s": np.ones(5)}), 5, FIVE), 3.01**0.5),
    ],
)
def test_what_a_handler_fixes_stays_as_it_is(program, sd) -> None:
    found = spread(program())
    assert list(found) == ["y"]
    assert found["y"] == pytest.approx(sd, rel=0.1)


def one_for_scale(site):
    return 1.0 if site["name"] == "scale" else None


def test_data_given_by_a_handler_are_drawn_anew() -> None:
    given, passed = condition(scaled, {"y": FIVE}), pi.from_numpyro(scaled, FIVE)
    assert spread(pi.from_numpyro(given)) == spread(passed)


def half(x):
    return -0.5 * x**2


def factors_only():
    numpyro.factor("weight", -(numpyro.sample("x", dist.Normal(0.0, 1.0)) ** 2))


@pytest.mark.parametrize(
    "program",
    [
        lambda: pi.from_log_likelihood(half, dist.Normal(0.0, 1.0)),
        lambda: pi.from_numpyro(factors_only),
    ],
)
def test_nothing_observed_is_said(program) -> None:
    with pytest.raises(StructureError, match=r"no observed site, only factors.*obs="):
        fitted(program(), x=0.5).predict(key=0)
