"""Tables as arguments of a model, and predictions from new arguments alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import probinf as pi
from probinf.errors import ModelError, StructureError
from probinf.fronts.frames import as_arrays
from tests.results.test_predicting import N, fitted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
G = np.repeat([0, 1, 2], 4)
Y = X @ np.array([1.0, -0.5]) + G + RNG.normal(size=12) * 0.1
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "g": G, "y": Y, "name": [f"n{k}" for k in G]})


def regression(x, group, y=None):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("group", 3):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    mean = numpyro.deterministic("mean", jnp.asarray(x) @ beta + level[group])
    numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)


def of_frame(data, y):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("group", 3):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    mean = numpyro.deterministic("mean", data[["a", "b"]] @ beta + level[data.g])
    numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)


def by_shape(x, y):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(x * beta, 1.0), obs=y)


def density(program: pi.Program) -> list[float]:
    x = {"beta": jnp.array([0.3, -0.2]), "level": jnp.array([0.1, 0.5, -0.4])}
    return [float(v) for v in program.score(x, program.data)]


def test_tables_are_the_arrays_in_them() -> None:
    plain = density(pi.from_numpyro(regression, X, G, y=Y))
    for program in (
        pi.from_numpyro(regression, FRAME[["a", "b"]], FRAME["g"], y=FRAME["y"]),
        pi.from_numpyro(of_frame, FRAME, FRAME["y"]),
        pi.from_numpyro(regression, X, FRAME["g"].astype("Int64"), y=FRAME["y"].astype(object)),
    ):
        np.testing.assert_allclose(density(program), plain, rtol=1e-5)


def reads_names(data):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=data["name"])


def reads_nothing(data):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 1)), 1), obs=data["z"])


@pytest.mark.parametrize(
    ("model", "args", "said"),
    [
        (
            by_shape,
            (X[:, 0], FRAME["name"]),
            r"argument 2 is a Series of .*pd.factorize\(frame\['n",
        ),
        (by_shape, (X[:, 0], FRAME["name"].astype("category")), "factorize"),
        (reads_names, (FRAME,), r"argument 1: column 'name' is .*pd.factorize\(frame\['name'\]\)"),
        (reads_nothing, (FRAME,), r"argument 1 has no column 'z'; there are \['a', 'b', 'g'"),
        (by_shape, (X[:3, 0], pd.Series([1, None, 2], dtype=object)), "1 missing values. Leave"),
        (
            by_shape,
            (X[:2, 0], pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"]))),
            r"Series of dates .*dt.total_seconds\(\)",
        ),
    ],
)
def test_what_holds_no_numbers_is_refused_by_name(model: Any, args: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        pi.from_numpyro(model, *args)


@pytest.fixture(scope="module")
def fits() -> dict[str, pi.Posterior]:
    arrays = pi.from_numpyro(regression, X, G, y=Y, coords={"group": ["p", "q", "r"]})
    frame = pi.from_numpyro(of_frame, FRAME, FRAME["y"])
    at = {"beta": [1.0, -0.5], "level": [0.0, 1.0, 2.0]}
    return {
        "arrays": dataclasses.replace(fitted(arrays, **at), axes=arrays.axes),
        "frame": fitted(frame, **at),
        "by shape": fitted(pi.from_numpyro(by_shape, X[:, 0], Y), beta=1.0),
    }


def test_new_arguments_need_no_observations(fits: dict[str, pi.Posterior]) -> None:
    new, groups = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([2, 0])
    fit = fits["arrays"]
    expected = np.einsum("cdk,rk->cdr", fit["beta"], new) + fit["level"][..., groups]
    explicit = pi.from_numpyro(regression, new, groups)
    found = fit.predict(new, groups, key=1)
    np.testing.assert_array_equal(found["y"], fit.predict(program=explicit, key=1)["y"])
    residual = found["y"] - expected
    assert abs(residual.mean()) < 0.05 and residual.std() == pytest.approx(0.1, rel=0.1)
    named = fit.predict(group=groups, x=new, key=1)
    np.testing.assert_array_equal(named["y"], found["y"])
    assert list(named.axes.coords["group"]) == ["p", "q", "r"]
    # y has no default here, and the rest stays as it was
    table = pd.DataFrame({"a": new[:, 0], "b": new[:, 1], "g": groups})
    fit = fits["frame"]
    expected = np.einsum("cdk,rk->cdr", fit["beta"], new) + fit["level"][..., groups]
    residual = fit.predict(table, key=1)["y"] - expected
    assert residual.shape == (2, N, 2) and residual.std() == pytest.approx(0.1, rel=0.25)


def test_what_cannot_be_left_out_is_said(fits: dict[str, pi.Posterior]) -> None:
    with pytest.raises(StructureError, match=r"does not run with y left out .* give y= an array"):
        fits["by shape"].predict(np.zeros(3), key=0)
    found = fits["by shape"].predict(np.zeros(3), np.zeros(3), key=0)
    assert found["y"].shape == (2, N, 3)
    with pytest.raises(StructureError, match=r"does not take these arguments: .*'z'"):
        fits["arrays"].predict(z=1, key=0)
    with pytest.raises(StructureError, match="Give either new arguments"):
        fits["arrays"].predict(X, key=0, program=fits["arrays"].program)


def test_a_frame_reckons_as_its_matrix_does() -> None:
    frame = as_arrays("data", FRAME[["a", "b"]])
    matrix, ones = FRAME[["a", "b"]].to_numpy(), np.ones(len(FRAME))
    for found, wanted in (
        (1 - frame, 1 - matrix),
        (1 / frame, 1 / matrix),
        (-frame, -matrix),
        (frame**2, matrix**2),
        (ones @ frame, ones @ matrix),
        (frame.T, matrix.T),
        (np.ones(2) * frame, matrix),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_columns_may_have_any_name() -> None:
    names = ("names", "arrays", "argument", "refused")
    frame = pd.DataFrame({name: [1.0, 2.0] for name in names})
    seen = []

    def model(data: Any) -> None:
        seen.append([getattr(data, name).shape for name in names])
        numpyro.sample("y", dist.Normal(numpyro.sample("m", dist.Normal(0, 1)), 1), obs=data.names)

    pi.from_numpyro(model, frame)
    assert seen and all(shapes == [(2,)] * 4 for shapes in seen)
