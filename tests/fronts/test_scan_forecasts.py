"""Time series as users write them with ``scan``: sampled by NUTS, forecast by a longer scan."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan

import probinf as pi

T, AHEAD = 24, 4
pytestmark = pytest.mark.filterwarnings("ignore::probinf.errors.NewSitesWarning")


def local_level(steps, y=None):
    drift = numpyro.sample("drift", dist.HalfNormal(1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))

    def step(level, value):
        level = numpyro.sample("level", dist.Normal(level, drift))
        numpyro.sample("y", dist.Normal(level, noise), obs=value)
        return level, None

    scan(step, jnp.asarray(0.0), y, length=steps)


def autoregression(steps, y=None):
    a = numpyro.sample("a", dist.Normal(jnp.zeros(2), 0.5).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))

    def step(last, value):
        mean = a[0] * last[0] + a[1] * last[1]
        value = numpyro.sample("y", dist.Normal(mean, noise), obs=value)
        return jnp.stack([value, last[0]]), None

    scan(step, jnp.zeros(2), y, length=steps)


def volatility(steps, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    rho = numpyro.sample("rho", dist.Uniform(-1.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))

    def step(h, value):
        h = numpyro.sample("h", dist.Normal(mu + rho * (h - mu), sigma))
        numpyro.sample("y", dist.Normal(0.0, jnp.exp(h / 2)), obs=value)
        return h, None

    scan(step, mu, y, length=steps)


def series(kind) -> np.ndarray:
    rng = np.random.default_rng(4)
    if kind is local_level:
        return np.cumsum(0.5 * rng.standard_normal(T)) + 0.5 * rng.standard_normal(T)
    if kind is volatility:
        return rng.standard_normal(T)
    y = np.zeros(T + 2)
    for t in range(2, T + 2):
        y[t] = 0.6 * y[t - 1] - 0.3 * y[t - 2] + 0.5 * rng.standard_normal()
    return y[2:]


@pytest.mark.slow
@pytest.mark.parametrize("model", [local_level, volatility])
def test_latent_states_move_on(model) -> None:
    """The forecast begins where the path of each draw ends."""
    y = series(model)
    fit = pi.sample(
        pi.from_numpyro(model, T, y),
        pi.NUTS(chains=2, warmup=400, draws=500),
        key=0,
        progress=False,
    )
    ahead = fit.predict(key=1, program=pi.from_numpyro(model, T + AHEAD))
    state = "level" if model is local_level else "h"
    path, longer = fit.draws[state], ahead[state]
    assert longer.shape == (2, 500, T + AHEAD)
    np.testing.assert_allclose(longer[..., :T], path, rtol=1e-5)
    if model is local_level:
        step, spread = longer[..., T] - path[..., -1], fit.draws["drift"]
    else:
        mu, rho, spread = (fit.draws[n] for n in ("mu", "rho", "sigma"))
        step = longer[..., T] - mu - rho * (path[..., -1] - mu)
    z = (step / spread).ravel()
    assert abs(z.mean()) < 4.5 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4.5 / np.sqrt(2 * z.size)


@pytest.mark.slow
def test_autoregressions_are_forecast_from_what_was_observed() -> None:
    """Observed values are given to a longer scan, which draws the others after them."""
    y = series(autoregression)
    fit = pi.sample(
        pi.from_numpyro(autoregression, T, y),
        pi.NUTS(chains=2, warmup=400, draws=1000),
        key=0,
        progress=False,
    )
    given = numpyro.handlers.condition(autoregression, {"y": y})
    found = fit.predict(key=1, program=pi.from_numpyro(given, T + AHEAD))["y"]
    a, noise = fit.draws["a"], fit.draws["noise"]
    z = ((found[..., T] - a[..., 0] * y[-1] - a[..., 1] * y[-2]) / noise).ravel()
    assert abs(z.mean()) < 4.5 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4.5 / np.sqrt(2 * z.size)
