"""Names of dimensions and labels: from plates or the user, through all that is read."""

from __future__ import annotations

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan

import probinf as pi
from probinf.core.axes import Axes
from probinf.errors import NewSitesWarning, StructureError

SIGMA = np.array([1.5, 1.0, 1.6])
Y = np.array([2.8, 0.8, -0.3])
NAMES = ["Choate", "Deerfield", "Exeter"]


def schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + z)
        numpyro.sample("y", dist.Normal(theta + beta.sum(), sigma), obs=y)


def program(names=NAMES, sigma=SIGMA, y=Y):
    return pi.from_numpyro(
        schools, sigma, y=y, dims={"beta": "column"}, coords={"school": names, "column": ["a", "b"]}
    )


@pytest.fixture(scope="module")
def fit() -> pi.Posterior:
    return pi.sample(program(), pi.Importance(draws=300), key=0, progress=False, precision="single")


def test_all_that_is_read_tells_labels(fit: pi.Posterior, tmp_path: pathlib.Path) -> None:
    rows = ["beta[a]", "beta[b]", "mu", *(f"{s}[{n}]" for s in ("theta", "z") for n in NAMES)]
    assert fit.summary().names == rows
    assert fit.summary("theta[Exeter]").names == ["theta[Exeter]"]
    assert list(fit.to_dataframe().columns) == [*rows, "log_weight"]
    fit.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit")
    assert again.summary().names == rows
    tree = again.to_datatree()
    for group in ("posterior", "weighted_posterior"):
        assert tree[group]["theta"].dims == ("chain", "draw", "school")
        assert tree[group]["theta"].sel(school="Exeter").shape == (1, 300)
    full = fit.to_datatree(predictive=0, log_likelihood=True, prior=0)
    for group in ("posterior_predictive", "log_likelihood", "prior_predictive", "observed_data"):
        assert list(full[group]["school"].values) == NAMES
        assert full[group]["y"].dims[-1] == "school"
    assert full["prior"]["beta"].dims == ("chain", "draw", "column")
    other = fit.with_dims(coords={"school": [2001, 2002, 2003]})
    assert other.summary("z").names == ["z[2001]", "z[2002]", "z[2003]"]


def test_predictions_follow_labels(fit: pi.Posterior) -> None:
    """The draws of a school are those of its name, wherever it stands in the new program."""
    key, quiet = jax.random.key(1), np.full(3, 1e-6)
    new = program(["Exeter", "Choate", "New"], quiet, None)
    with pytest.warns(NewSitesWarning, match=r"\['New'\] of 'z' are not in the fit"):
        found = fit.predict(key=key, program=new)
    base = fit.resampled(key)
    offset = base["mu"] + base["beta"].sum(-1)
    z = found["y"] - offset[..., None]
    np.testing.assert_allclose(z[..., 0], base["z"][..., 2], atol=1e-4)
    np.testing.assert_allclose(z[..., 1], base["z"][..., 0], atol=1e-4)
    assert abs(np.corrcoef(z[..., 2].ravel(), base["z"][..., 1].ravel())[0, 1]) < 0.3
    assert found.to_dataset()["y"].dims == ("chain", "draw", "school")
    with pytest.raises(StructureError, match=r"label 'New' of dimension 'school' .* after those"):
        fit.predict(key=0, program=program(["New", "Choate", "Exeter"], quiet, None))


def test_new_labels_compile_nothing() -> None:
    one, two = program(), program(["x", "y", "z"])
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert hash(one.axes) == hash(two.axes)
    density = jax.jit(lambda p, x: p.score(x, p.data).log_weight)
    x = one.start(jax.random.key(0), one.data)
    density(one, x), density(two, x)
    assert density._cache_size() == 1


def everywhere(y):
    with numpyro.plate("rows", 3, dim=-2), numpyro.plate("columns", 4, dim=-1):
        v = numpyro.sample("v", dist.Normal(0, 1).expand([2]).to_event(1))
        numpyro.deterministic("norm", (v**2).sum(-1))
        numpyro.deterministic("whole", v)
    with numpyro.plate("square", 3):
        a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.deterministic("either", jnp.outer(a, a))
    with numpyro.plate("sample", 2):
        numpyro.sample("y", dist.Normal(a.sum(), 1.0), obs=y)

    def step(x, _):
        with numpyro.plate("draw", 3):
            x = numpyro.sample("x", dist.Normal(x, 1.0))
        return x, None

    scan(step, jnp.zeros(3), None, length=5)


def test_plates_name_the_axes_that_they_own() -> None:
    found = pi.from_numpyro(everywhere, np.zeros(2))
    assert found.axes.dims == {
        "v": ("rows", "columns", None),
        "norm": ("rows", "columns"),
        "whole": ("rows", "columns", None),
        "a": ("square",),
        "y": ("sample_dim",),
        "x": (None, "draw_dim"),
    }
    for changed in (pi.temper(found, 0.5), pi.condition(found, {"y": np.ones(2)})):
        assert changed.axes.dims == found.axes.dims


@pytest.mark.parametrize(
    ("dims", "coords", "said"),
    [
        ({"bta": ["k"]}, None, r"no site named 'bta'; there are \['beta', 'mu'"),
        ({"beta": ["k", "l"]}, None, r"'beta' has shape \(2,\), so that it takes 1 names, got"),
        ({"beta": ["z"]}, None, "'z', for a dimension of 'beta', is the name of a site; call it"),
        ({"beta": ["draw"]}, None, "'draw', for a dimension of 'beta', is taken; call it"),
        ({"beta": ["school"]}, None, "'school' has .* entries on site '.*' and . on 'z|theta"),
        (None, {"scool": NAMES}, r"no dimension named 'scool'; there are \['school'\]"),
        (None, {"school": NAMES[:2]}, r"'school' has 3 entries, got labels of shape \(2,\)"),
        (None, {"school": ["a", "b", "a"]}, "'a' is a label of 'school' 2 times"),
        (None, {"school": [1.0, 2.0, np.nan]}, "none of them missing"),
        (None, {"school": np.array(["a", 1, None], object)}, r"got NoneType, int, str. Write"),
    ],
)
def test_bad_names_are_refused(dims, coords, said) -> None:
    with pytest.raises(StructureError, match=said):
        pi.from_numpyro(schools, SIGMA, y=Y, dims=dims, coords=coords)


def with_its_own(coords, y):
    numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(coords, 1.0), obs=y)


def total(x):
    return -jnp.sum(x**2)


def test_other_fronts_and_models_with_arguments_of_that_name() -> None:
    found = pi.from_numpyro(with_its_own, coords=np.zeros(2), y=np.ones(2))
    assert pi.with_dims(found, {"y": ["place"]}).axes.dims == {"y": ("place",)}
    prior = dist.Normal(0, 1).expand([2]).to_event(1)
    labels = {"dims": {"x": "k"}, "coords": {"k": ["p", "q"]}}
    for made in (
        pi.from_log_likelihood(total, prior, **labels),
        pi.from_log_density(total, base=prior, **labels),
        pi.from_log_density(total, initial=np.zeros(2), **labels),
        pi.from_callback(host_total, prior, **labels),
        pi.from_simulator(prior, simulate, distance, np.zeros(2), tolerance=1.0, **labels),
    ):
        assert made.axes.scalars({"x": (2,)}) == ["x[p]", "x[q]"]


def host_total(x):
    return float(-np.sum(x**2))


def simulate(key, x):
    return x + jax.random.normal(key, (2,))


def distance(a, b):
    return jnp.abs(a - b).sum()


def test_labels_of_any_kind_are_kept_in_files() -> None:
    dates = np.array(["2024-01-01", "2024-02-01"], "datetime64[D]")
    for labels in (dates, np.array([1.5, 2.5]), np.array([3, 4]), np.array(["ä", "b"])):
        again = Axes.of(Axes({"x": ("k",)}, {"k": labels}).described())
        np.testing.assert_array_equal(again.coords["k"], labels)
        assert again.coords["k"].dtype == labels.dtype
