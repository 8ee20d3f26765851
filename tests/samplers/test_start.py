"""start=: chains begin where the user says."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.coordinates import flatten
from probinf.core.keys import as_key
from probinf.errors import MethodError, StructureError, ZeroLikelihoodError
from probinf.samplers.given_starts import given_starts


def model(y: np.ndarray) -> None:
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    numpyro.deterministic("variance", scale**2)
    numpyro.sample("below", dist.Uniform(0.0, scale))
    numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, scale).expand(y.shape).to_event(1), obs=y)


Y = np.array([0.2, 1.1, -0.4])
QUICK = pi.NUTS(chains=2, warmup=50, draws=20)
ALL = {"scale": 1.5, "below": 0.7, "share": np.array([0.2, 0.3, 0.5]), "mu": np.array([0.4, -0.6])}


def program() -> pi.Program:
    return pi.from_numpyro(model, Y)


def begun(start: object, method: pi.samplers.Method = QUICK, key: int = 1) -> dict[str, np.ndarray]:
    """Where the chains begin, in the user's coordinates."""
    states = given_starts(method, program(), as_key(key), start)
    flat, _ = flatten(program())
    own = states.own.chains if isinstance(method, pi.ChEES) else states.own.kernel
    x = np.asarray(own.position).reshape(-1, 5)
    rows = [flat.constrain(jnp.asarray(row), flat.data) for row in x]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_chains_begin_at_the_values() -> None:
    found = begun(ALL)
    np.testing.assert_allclose(found["scale"], [1.5, 1.5], rtol=1e-5)
    np.testing.assert_allclose(found["below"], [0.7, 0.7], rtol=1e-5)
    np.testing.assert_allclose(found["share"], [ALL["share"]] * 2, rtol=1e-5)
    np.testing.assert_allclose(found["mu"], [0.4, -0.6], rtol=1e-5)


def test_sites_without_a_value_begin_where_they_would() -> None:
    found = begun({"scale": np.array([1.5, 3.0])})
    np.testing.assert_allclose(found["scale"], [1.5, 3.0], rtol=1e-5)
    assert (found["below"] < found["scale"]).all() and len(set(found["mu"].tolist())) == 2


def test_all_chains_of_chees_begin_at_theirs() -> None:
    mu = np.linspace(-1, 1, 8)
    found = begun({"mu": mu}, pi.ChEES(chains=8, superchains=4, warmup=20, draws=8))
    np.testing.assert_allclose(found["mu"], mu, rtol=1e-5)


def test_a_posterior_and_its_draws_are_starts() -> None:
    before = pi.sample(program(), QUICK, key=0, progress=False, precision="single")
    found = begun(before)
    same = begun(before.draws)
    for name, value in found.items():
        np.testing.assert_array_equal(value, same[name])
    rows = before["mu"].ravel()
    k = [int(np.abs(rows - mu).argmin()) for mu in found["mu"]]
    np.testing.assert_allclose(found["scale"], before["scale"].ravel()[k], rtol=1e-4)
    after = pi.sample(program(), QUICK, key=0, progress=False, precision="single", start=before)
    assert after.provenance["start"] == "given" and after["mu"].shape == (2, 20)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (
            {"scale": -1.0},
            r"'scale' of chain 0 begins at -1.0, outside its support .*lower_bound=0",
        ),
        (
            {"scale": 1.0, "below": np.array([0.5, 2.0])},
            r"'below' of chain 1 begins at 2.0, outside",
        ),
        ({"mu": np.nan}, "'mu' of chain 0 begins at nan, outside its support"),
        ({"mu": np.zeros(3)}, r"has shape \(\), got \(3,\)"),
        ({"nu": 1.0}, "no site named 'nu'; there are"),
        ({"variance": 1.0}, "'variance' follows from others"),
        ({}, "must be a dict of values by site"),
    ],
)
def test_bad_starts_are_refused_by_name(start: dict, said: str) -> None:
    with pytest.raises(StructureError, match=said):
        pi.sample(program(), QUICK, key=0, progress=False, start=start)


def test_engines_without_starts_say_so() -> None:
    for method in (pi.SMC(), pi.ParallelTempering(temperatures=4)):
        with pytest.raises(MethodError, match="start"):
            pi.sample(program(), method, key=0, progress=False, start={"mu": 0.0})
    with pytest.raises(MethodError, match="cannot begin both"):
        pi.sample(program(), pi.NUTS(start="pathfinder"), key=0, progress=False, start={"mu": 0.0})


def walled(x: dict) -> jnp.ndarray:
    return jnp.where(x["a"] > 1.0, -x["a"], -jnp.inf)


def test_a_start_without_density_is_refused() -> None:
    cut = pi.from_log_likelihood(walled, {"a": dist.Normal(0.0, 2.0)})
    with pytest.raises(ZeroLikelihoodError, match="at the start= of chain 1"):
        pi.sample(cut, QUICK, key=0, progress=False, start={"a": np.array([2.0, -1.0])})
