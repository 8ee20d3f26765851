"""The eleven bad models: each is refused or warned of by name, with what was seen and a remedy."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import probinf as pi
from probinf import errors


def normal(y: Any, shape: tuple[int, ...] = ()) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand(shape).to_event(len(shape)))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def gamma(y: Any) -> None:
    numpyro.sample("y", dist.Gamma(numpyro.sample("a", dist.HalfNormal(1)), 1), obs=y)


def poisson(y: Any) -> None:
    numpyro.sample("y", dist.Poisson(numpyro.sample("rate", dist.HalfNormal(1))), obs=y)


def improper() -> None:
    numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), ()))


def negative_scale(y: Any) -> None:
    numpyro.sample("y", dist.Normal(0, numpyro.sample("mu", dist.Normal(0, 1))), obs=y)


def discrete(y: Any) -> None:
    numpyro.sample("y", dist.Normal(numpyro.sample("k", dist.Bernoulli(0.5)), 1), obs=y)


def plated(y: Any) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", 4):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def with_param(y: Any) -> None:
    scale = numpyro.param("scale", jnp.array(1.0))
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), scale), obs=y)


def twice(y: Any) -> None:
    numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=y)


Y = np.array([0.1, 0.2, 0.3], np.float32)
ELEVEN: dict[str, tuple[Any, tuple[Any, ...], type[Exception], tuple[str, ...]]] = {
    "NaN": (normal, (Y * np.array([1, np.nan, 1]),), errors.ObservationError,
            ("site 'y'", "1 of 3", "[1]", "Leave them out", "obs_mask")),
    "outside the support": (gamma, (np.array([1.0, -1.0]),), errors.ObservationError,
                            ("site 'y'", "Positive", "-1.0", "Choose a distribution")),
    "not an integer": (poisson, (np.array([1.0, 1.5]),), errors.ObservationError,
                       ("site 'y'", "not an integer", "1.5", "round the data")),
    "overflow": (normal, (np.array([1e30], np.float32),), errors.ZeroLikelihoodError,
                 ("site 'y'", "1e+30", "float32", "Rescale", "float64")),
    "broadcast": (normal, (Y, (3, 1)), errors.ObservationError,
                  ("site 'y'", "(3,)", "(3, 1)", "(3, 3)", "allow_broadcast")),
    "improper": (improper, (), errors.ImproperPriorError, ("site 'mu'", "proper prior")),
    "negative scale": (negative_scale, (Y,), errors.ParameterError,
                       ("site 'y'", "'scale'", "dist.HalfNormal")),
    "discrete": (discrete, (Y,), errors.DiscreteLatentError, ("site 'k'", "allow_discrete=True")),
    "plate": (plated, (Y,), errors.ObservationError, ("site 'y'", "plate 'rows' of size 4")),
    "param": (with_param, (Y,), UserWarning, ("'scale'", "numpyro.sample with a prior")),
    "duplicate": (twice, (Y,), errors.ModelError, ("mu",)),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEVEN)
def test_bad_models_are_named(name: str) -> None:
    model, args, error, says = ELEVEN[name]
    if issubclass(error, Warning):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pi.check(pi.from_numpyro(model, *args))
        message = str(caught[0].message)
    else:
        with pytest.raises(error) as raised:
            pi.check(pi.from_numpyro(model, *args))
        message = str(raised.value)
        shown = "".join(traceback.format_exception(raised.value))
        assert f"See docs/bad-input.md#{error.__name__.lower()}" in shown
    missing = [text for text in says if text not in message]
    assert not missing, f"{missing} not in: {message}"


def rooted(y: Any) -> None:
    x = numpyro.sample("x", dist.Normal(0, 1))
    z = numpyro.sample("z", dist.HalfNormal(1).expand([2]).to_event(1))
    numpyro.factor("edge", jnp.where(x > 0, jnp.sqrt(x), 0.0))
    numpyro.sample("y", dist.Normal(x + z.sum(), 1), obs=y)


def test_the_table_has_kinds_shapes_and_gradients() -> None:
    rows = {site.name: site for site in pi.check(pi.from_numpyro(rooted, Y)).sites}
    assert {name: row.kind for name, row in rows.items()} == {
        "x": "latent", "z": "latent", "edge": "factor", "y": "observed",
    }  # fmt: skip
    assert rows["z"].shape == (2,) and rows["y"].shape == (3,)
    # the root has no finite slope where x is not positive
    assert 0.2 < rows["x"].gradient < 0.8 and rows["z"].gradient == 1
    assert np.isnan(rows["y"].gradient)
    unasked = pi.check(pi.from_numpyro(rooted, Y), gradients=False).sites
    assert all(np.isnan(row.gradient) for row in unasked)
