"""NPE and NLE from finished simulations: the same as from the simulator, and rows by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import probinf as pi
from probinf.amortized import NLE, NPE, load
from probinf.amortized.neural import table as tables
from probinf.amortized.neural.table import tabulated
from probinf.core.coordinates import flatten
from probinf.errors import ArrayError, ObservationError, TrainingError, TrainingWarning

SMALL = {"layers": 2, "hidden": (16, 16), "bins": 6}
SD = 0.5


def prior():
    numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("beta", dist.Uniform(-2.0, 2.0).expand([2]).to_event(1))


def model(y=None):
    """Two measurements of each coefficient, and one of the scale."""
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    beta = numpyro.sample("beta", dist.Uniform(-2.0, 2.0).expand([2]).to_event(1))
    mean = jnp.concatenate([beta, scale[None]])
    numpyro.sample("y", dist.Normal(mean, SD).to_event(1), obs=y)


def rows(n: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Simulations by NumPy, sorted as nobody should rely on."""
    rng = np.random.default_rng(seed)
    scale, beta = np.abs(rng.normal(size=n)), rng.uniform(-2, 2, (n, 2))
    order = np.argsort(scale)
    scale, beta = scale[order], beta[order]
    theta = pd.DataFrame({"beta[1]": beta[:, 1], "scale": scale, "beta[0]": beta[:, 0]})
    return theta, np.column_stack([beta, scale]) + SD * rng.normal(size=(n, 3))


OBSERVED = np.array([0.4, -1.8, 0.3])


def exact() -> pi.Program:
    return pi.from_numpyro(model, y=OBSERVED)


@pytest.fixture(scope="module")
def fitted():
    """Learned from a table with gaps in its last column, which a network is told of."""
    theta, x = rows(3000)
    x[np.random.default_rng(1).uniform(size=len(x)) < 0.3, 2] = np.nan
    return NPE(**SMALL).fit(
        prior, theta=theta, x={"y": x}, missing="mask", key=0, steps=600, progress=False
    )


def test_a_table_says_what_the_simulator_says(fitted) -> None:
    """The held-out truth: means of a posterior that is known by weights."""
    found = pi.refine(exact(), fitted.posterior(OBSERVED), key=1, draws=2000, progress=False)
    report = pi.amortized.refinement(found)
    assert report.rung == "importance" and report.ess_share > 0.4, report
    assert fitted.training.summary()["rows"] == 3000
    assert fitted.sites.shapes == ((3,),)


def test_an_observation_may_lack_what_the_table_lacked(fitted, tmp_path) -> None:
    """Without the last entry the scale has its prior, |N(0, 1)|; with it, it does not."""
    flat, _ = flatten(fitted.posterior(OBSERVED))
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda key, p: p.constrain(p.draw(key, p.data), p.data), (0, None)))
    given = draw(keys, flat)["scale"]
    flat, _ = flatten(fitted.posterior(np.array([0.4, -1.8, np.nan])))
    lacking = draw(keys, flat)["scale"]
    assert abs(lacking.mean() - np.sqrt(2 / np.pi)) < 0.12
    assert given.mean() < lacking.mean() - 0.2
    with pytest.raises(ObservationError, match=r"'y\[0\]' is missing, which it never was"):
        fitted.posterior(np.array([np.nan, -1.8, 0.3]))
    fitted.save(tmp_path / "masked.safetensors")
    again = load(tmp_path / "masked.safetensors").with_program(exact())
    x = {"scale": jnp.asarray(0.1), "beta": jnp.zeros(2)}
    one, other = (f.posterior(np.array([0.4, -1.8, np.nan])) for f in (fitted, again))
    assert one.score(x, one.data).log_base == other.score(x, other.data).log_base


def test_rows_lie_where_the_sites_say() -> None:
    """Frames, dicts and arrays are one table; rows are shuffled together, the mutant is not."""
    theta, x = rows(1000)
    values = {"scale": theta["scale"].to_numpy(), "beta": theta[["beta[0]", "beta[1]"]].to_numpy()}
    frame = pd.DataFrame(x, columns=["y[0]", "y[1]", "y[2]"])
    program = exact()
    made = [
        tabulated("NPE", program, given, data, "refuse", needs_prior=True)
        for given, data in ((theta, x), (values, {"y": x}), (theta, frame))
    ]
    for one in made[1:]:
        np.testing.assert_array_equal(one.found.theta, made[0].found.theta)
        np.testing.assert_array_equal(one.found.data, made[0].found.data)
    found = made[0].found
    flat, _ = flatten(program)
    back = jax.vmap(lambda v: flat.constrain(v, flat.data))(jnp.asarray(found.theta, float))
    np.testing.assert_allclose(back["beta"], found.values[:, :2], atol=1e-4)
    np.testing.assert_allclose(back["scale"], found.values[:, 2], rtol=1e-4)
    gap = found.data - found.values
    assert abs(gap.std() - SD) < 0.05  # rows of theta and x still belong together
    held = found.values[:100, 2]
    assert abs(held.mean() - np.sqrt(2 / np.pi)) < 0.3  # sorted rows would give .06


def test_parameters_from_another_law_are_for_nle() -> None:
    theta, x = rows(1500)
    theta["scale"] *= 1.6
    x[:, 2] += theta["scale"] * (0.6 / 1.6)
    with pytest.raises(TrainingError, match="'scale' in theta are not draws from the prior"):
        NPE(**SMALL).fit(exact(), theta=theta, x=x, key=0)
    made = tabulated("NLE", exact(), theta, x, "refuse", needs_prior=False)
    prior = NLE(simulations=1500, **SMALL).prepare(jax.random.key(0), made).model.prior
    assert float(prior.quantiles[-1, 2]) == pytest.approx(theta["scale"].max(), rel=1e-5)


def test_a_check_against_the_prior_that_forgets_chance_refuses_right_tables(monkeypatch) -> None:
    """The law on twenty tables of 200 rows, and its mutant."""
    program = exact()

    def refused() -> int:
        count = 0
        for seed in range(20):
            theta, x = rows(200, seed)
            try:
                with pytest.warns(TrainingWarning, match="200 rows are few"):
                    tabulated("NPE", program, theta, x, "refuse", needs_prior=True)
            except TrainingError:
                count += 1
        return count

    assert refused() == 0
    monkeypatch.setattr(tables, "_most", lambda rows: 0.05)
    assert refused() > 10


def spoiled(column: str, value: float) -> pd.DataFrame:
    theta, _ = rows(1000)
    theta.loc[17, column] = value
    return theta


@pytest.mark.parametrize(
    "theta, match",
    [
        (spoiled("beta[1]", 2.5), r"'beta' lies outside .* 1 of 1000 rows, .* row 17: \[.*2\.5"),
        (spoiled("scale", -0.1), r"'scale' lies outside .* row 17: -0\.1"),
        (spoiled("scale", np.nan), r"'scale' is not finite .* row 17: nan"),
        (spoiled("scale", 0.0), r"'scale' lies outside .* row 17: 0\."),
    ],
)
def test_a_value_that_the_prior_cannot_make_is_named(theta, match) -> None:
    with pytest.raises(TrainingError, match=match):
        NPE(**SMALL).fit(exact(), theta=theta, x=rows(1000)[1], key=0)


def test_other_bad_tables_are_named() -> None:
    theta, x = rows(1100)
    method = NPE(**SMALL)

    def fit(**changes):
        method.fit(changes.pop("source", exact()), **{"theta": theta, "x": x, "key": 0, **changes})

    gaps = x.copy()
    gaps[[3, 5], 1] = np.nan
    with pytest.raises(TrainingError, match=r"2 of 1100 rows .* row 3: y\[1\] = nan. Choose"):
        fit(x=gaps)
    with pytest.raises(TrainingError, match="missing='mask' is for NPE"):
        NLE(**SMALL).fit(exact(), theta=theta, x=gaps, missing="mask", key=0)
    with pytest.raises(TrainingError, match="theta has 1100 rows and x has 1099"):
        fit(x=x[:-1])
    with pytest.raises(TrainingError, match="x= is missing"):
        fit(x=None)
    with pytest.raises(TrainingError, match="at least 100 complete rows are needed, got 40"):
        fit(theta=theta[:40], x=x[:40])
    with pytest.raises(ArrayError, match=r"columns \['scale'\] are missing, and \['s'\] belong"):
        fit(theta=theta.rename(columns={"scale": "s"}))
    with pytest.raises(ArrayError, match=r"the columns of 'beta' do not fill an array"):
        fit(theta=theta.rename(columns={"beta[1]": "beta[2]"}))
    with pytest.raises(ArrayError, match=r"columns beta\[0\], beta\[1\], scale"):
        fit(theta=x[:, :2])
    with pytest.raises(ArrayError, match="rows of shape"):
        fit(x={"y": x[:, :2]})
    with pytest.raises(ArrayError, match="different indexes"):
        fit(x=pd.DataFrame(x, index=np.arange(1100)[::-1]))
    with pytest.raises(ArrayError, match="does not hold numbers"):
        fit(theta=theta.assign(scale="a"))
    with pytest.raises(TrainingError, match="rounds= asks a simulator"):
        fit(rounds=2)
    with pytest.raises(TrainingError, match="missing= goes with theta="):
        method.fit(exact(), missing="drop", key=0)
    made = tabulated("NLE", exact(), theta, gaps, "drop", needs_prior=False)
    assert int(made.found.worked.sum()) == 1098 == made.found.data.all(axis=1).sum()
