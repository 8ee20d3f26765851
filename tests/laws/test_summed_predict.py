"""Predictions of a program that sums discrete sites out: they are drawn given what is known.

All joint values are written out: what is given (a draw of the fit, the beginning of a series)
weights them, and what is new does not.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from scipy.stats import chi2, norm

import probinf as pi
from probinf.fronts.enumeration.predicting import SummedPredict
from probinf.fronts.predicting import NumpyroPredict

DRAWS = 20_000
pytestmark = pytest.mark.filterwarnings("ignore::probinf.errors.NewSitesWarning")


def groups(n, y=None):
    mean = numpyro.sample("mean", dist.Normal(1.0, 1.0))
    kind = numpyro.sample("kind", dist.Bernoulli(0.4))
    with numpyro.plate("items", n):
        z = numpyro.sample("z", dist.Bernoulli(0.2 + 0.5 * kind))
        x = numpyro.sample("x", dist.Normal(mean * z, 1.0))
        numpyro.sample("y", dist.Normal(x + 10.0 * z, 0.1), obs=y)


def hidden_markov(steps, y=None):
    mean = numpyro.sample("mean", dist.Normal(1.0, 1.0))

    def step(z, now):
        z = numpyro.sample("z", dist.Bernoulli(jnp.where(z == 1, 0.7, 0.2)))
        numpyro.sample("y", dist.Normal(mean * z, 1.0), obs=now)
        return z, None

    scan(step, 0, y, length=steps)


def switching(steps, series, y=None):
    mean = numpyro.sample("mean", dist.Normal(1.0, 1.0))

    def step(carry, now):
        with numpyro.plate("series", series):
            z, level = carry
            z = numpyro.sample("z", dist.Bernoulli(jnp.where(z == 1, 0.7, 0.2)))
            level = numpyro.sample("level", dist.Normal(0.5 * level + mean * z, 1.0))
            numpyro.sample("y", dist.Normal(level, 0.5), obs=now)
        return (z, level), None

    scan(step, (jnp.zeros(series, int), jnp.zeros(series)), y, length=steps)


X = np.array([1.8, -0.4, 0.9])
LEVEL = np.array([[1.9], [0.2], [2.0]])
MEAN = 1.3


def chain(z, values, before=0.0):
    """Log probability of a path that starts from state 0, and of the values seen on its way."""
    p = np.where(np.concatenate([[0], z[:-1]]) == 1, 0.7, 0.2)
    total = np.log(np.where(z == 1, p, 1 - p)).sum()
    past = before * np.concatenate([[0.0], values[:-1]])
    return total + norm.logpdf(values, past + MEAN * z[: len(values)]).sum()


def weigh(name, z):
    """Log probability of all discrete values, up to a constant."""
    if name == "groups":
        kind, items = z[0], z[1:]
        p = 0.2 + 0.5 * kind
        total = np.log(0.4 if kind else 0.6) + np.log(np.where(items == 1, p, 1 - p)).sum()
        return total + norm.logpdf(X, MEAN * items[:3]).sum()
    if name == "fixed":
        return np.logaddexp(*(weigh("groups", np.append(kind, z)) for kind in (0, 1)))
    if name == "hidden Markov":
        return chain(z, X)
    paths = z.reshape(4, 2)
    return chain(paths[:, 0], LEVEL[:, 0], 0.5) + chain(paths[:, 1], np.zeros(0))


def program_of(name):
    """A program for what is to be predicted, and the draws that it is given."""
    if name == "groups":
        return pi.from_numpyro(groups, 4), {"mean": jnp.asarray(MEAN), "x": jnp.asarray(X)}
    if name == "fixed":
        known = handlers.condition(groups, {"x": X})
        return pi.from_numpyro(known, 3, np.zeros(3)), {"mean": jnp.asarray(MEAN)}
    if name == "hidden Markov":
        begun = handlers.condition(hidden_markov, {"y": X})
        return pi.from_numpyro(begun, 5), {"mean": jnp.asarray(MEAN)}
    values = {"mean": jnp.asarray(MEAN), "level": jnp.asarray(LEVEL)}
    return pi.from_numpyro(switching, 4, 2), values


def check(name, seed=0):
    program, values = program_of(name)
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    run = program.simulate if name == "fixed" else program.predict
    found = jax.jit(jax.vmap(run, (0, None, None)))(keys, values, program.data)
    if name == "fixed":  # a site that is known and no datum; discrete values show in the data
        rows = np.asarray(found["y"] - X > 5).astype(int)
    else:
        names = program.score.model.summed.names
        rows = np.concatenate([np.asarray(found.summed[n]).reshape(DRAWS, -1) for n in names], 1)
    joint = np.array(list(itertools.product((0, 1), repeat=rows.shape[1])))
    logs = np.array([weigh(name, z) for z in joint])
    expected = DRAWS * np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    counts = np.bincount(rows @ 2 ** np.arange(rows.shape[1])[::-1], minlength=len(joint))
    often = expected >= 5
    a, e = (np.append(v[often], v[~often].sum()) for v in (counts, expected))
    a, e = a[e > 0], e[e > 0]
    p = chi2.sf(((a - e) ** 2 / np.maximum(e, 1)).sum(), len(e) - 1)
    assert p > 1e-4, p
    if name == "fixed":
        return
    z = np.asarray(found.summed["z"])
    if name == "groups":  # the data agree with the discrete values that were drawn
        assert np.abs(found.latents["y"] - found.latents["x"] - 10 * z).max() < 1.0
        return
    new = np.asarray(found.latents["y" if name == "hidden Markov" else "level"])
    last, before = new[:, 3], new[:, 2] * (0.5 if name == "switching" else 0.0)
    residual = (last - before - MEAN * z[:, 3]).ravel()
    assert abs(residual.mean()) < 5 / np.sqrt(residual.size)
    assert abs(residual.std() - 1) < 5 / np.sqrt(2 * residual.size)


CASES = ["groups", "fixed", "hidden Markov", pytest.param("switching", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", CASES)
def test_discrete_sites_are_drawn_given_what_is_known(name: str) -> None:
    check(name)


@pytest.mark.usefixtures("fresh_traces")
def test_draws_from_their_prior_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SummedPredict, "given", NumpyroPredict.given)
    with pytest.raises(AssertionError):
        check("groups")


def test_data_are_replaced_inside_a_chain() -> None:
    """As calibration does; NumPyro has no way to condition a scan that is summed out."""
    y, other = np.array([0.3, 1.2, -0.4]), np.array([2.0, 0.1, 1.0])
    program = pi.condition(pi.from_numpyro(hidden_markov, 3, y), {"y": other})
    fixed = pi.from_numpyro(handlers.condition(hidden_markov, {"y": other}), 3)
    written = pi.from_numpyro(hidden_markov, 3, other)
    x: Any = {"mean": jnp.asarray(0.7)}
    want, *found = (sum(jax.jit(p.score)(x, p.data)) for p in (written, program, fixed))
    assert np.abs(np.array(found) - want).max() < 1e-5
