"""The tree: every site under a name that a file can hold, and what ArviZ needs on request."""

from __future__ import annotations

import pathlib
from typing import Any

import arviz
import arviz_stats
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.errors import MethodError, StructureError
from probinf.results.datasets import safe_names

Y = np.array([0.3, 1.1, 0.7, -0.2, 0.4, 0.9])


def location(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def given(draws: dict[str, np.ndarray], log_w: np.ndarray | None = None) -> pi.Posterior:
    """A posterior of these draws, weighted where weights are given."""
    shape = next(iter(draws.values())).shape[:2]
    return pi.Posterior(
        draws=draws,
        log_weights=np.zeros(shape) if log_w is None else log_w,
        stats={},
        history={},
        unconstrained=np.concatenate([v.reshape(*shape, -1) for v in draws.values()], axis=2),
        provenance={},
        kind="chains" if log_w is None else "weighted",
        clusters=None if log_w is None else np.arange(log_w.size).reshape(shape),
    )


AWKWARD = ("chain", "draw", "a/mu", "a.mu", "a_mu", "x", "x_dim_0", "log_weight", ".", "sample")


@pytest.mark.parametrize("weighted", [False, True])
def test_every_name_is_kept(weighted: bool, tmp_path: pathlib.Path) -> None:
    import xarray

    rng = np.random.default_rng(0)
    draws = {name: rng.normal(size=(2, 30)) for name in AWKWARD}
    draws["x"] = rng.normal(size=(2, 30, 3))
    posterior = given(draws, np.zeros((2, 30)) if weighted else None)
    posterior.save(tmp_path / "fit")
    group = "weighted_posterior" if weighted else "posterior"
    with xarray.open_datatree(tmp_path / "fit/posterior.nc", engine="h5netcdf") as tree:
        found = {str(v.attrs.get("site", name)): v.values for name, v in tree[group].items()}
        if weighted:  # the site of that name has its name as an attribute
            assert "log_weight" in tree[group]
        for name, value in draws.items():
            np.testing.assert_array_equal(found[name], value)
    again = pi.load(tmp_path / "fit")
    assert list(again.draws) == list(draws)


def test_plain_names_stay() -> None:
    values = {name: np.zeros((2, 3, 4)) for name in ("theta", "theta[0]", "a.b", "τ")}
    assert safe_names(values) == {name: name for name in values}
    scoped = {name: np.zeros((2, 3)) for name in ("a/mu", "b/mu")}
    assert safe_names(scoped) == {"a/mu": "a.mu", "b/mu": "b.mu"}


def test_plots_take_the_user_s_names() -> None:
    posterior = given({name: np.random.default_rng(0).normal(size=(2, 30)) for name in AWKWARD})
    posterior.plot("forest", ["a/mu", "chain"])
    with pytest.raises(MethodError, match=r"no site named \['b'\].*'a/mu'"):
        posterior.plot("forest", ["b"])


@pytest.fixture(scope="module")
def fits() -> dict[str, pi.Posterior]:
    program = pi.from_numpyro(location, Y)
    methods: dict[str, Any] = {
        "chains": pi.MCMC(pi.kernels.RandomWalk(), chains=4, warmup=300, draws=1000),
        "weighted": pi.Importance(draws=4000),
    }
    return {n: pi.sample(program, m, key=0, progress=False) for n, m in methods.items()}


@pytest.mark.filterwarnings("ignore")  # of a single chain, for which ArviZ has no R-hat
@pytest.mark.parametrize("name", ["chains", "weighted"])
def test_arviz_has_what_it_needs(fits: dict[str, pi.Posterior], name: str) -> None:
    fit = fits[name]
    tree = fit.to_datatree(predictive=1, log_likelihood=True)
    data = arviz.from_datatree(tree) if hasattr(arviz, "from_datatree") else tree
    row, ours = arviz.summary(data, round_to="none").loc["mu"], fit.summary()["mu"]
    assert abs(row["mean"] - ours["mean"]) < 6 * ours["mcse"]
    own = pi.loo(fit)
    for theirs in (arviz.loo(data), arviz_stats.loo(tree)):
        elpd = getattr(theirs, "elpd_loo", None) if hasattr(theirs, "elpd_loo") else theirs.elpd
        assert float(elpd) == pytest.approx(own.elpd.value, abs=0.1)
    # draw by draw: data predicted from the mu beside them
    mu, y = tree["posterior"]["mu"].values, tree["posterior_predictive"]["y"].values
    assert np.corrcoef(mu.ravel(), y.mean(axis=2).ravel())[0, 1] > 0.5
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "y_dim_0")
    assert "log_likelihood" not in tree["sample_stats"]  # ArviZ would take it for that of data


def test_what_the_tree_cannot_hold_is_said(fits: dict[str, pi.Posterior]) -> None:
    bare = given({"mu": np.zeros((2, 5))})
    with pytest.raises(StructureError, match=r"single datum is not known.*load\(path, program"):
        bare.to_datatree(log_likelihood=True)
    with pytest.raises(StructureError, match="without its program"):
        bare.to_datatree(predictive=0)


ENGINES: dict[str, Any] = {
    "NUTS": pi.NUTS(chains=2, warmup=50, draws=50),
    "MCMC": pi.MCMC(pi.kernels.Slice(), chains=2, warmup=30, draws=50),
    "ChEES": pi.ChEES(chains=8, warmup=60, draws=60, superchains=4),
    "SMC": pi.SMC(particles=60, islands=2, kernel=pi.kernels.RandomWalk(), moves=2),
    "SMC along the data": pi.SMC(
        particles=60, islands=2, path="data", kernel=pi.kernels.RandomWalk(), moves=2
    ),
    "waste-free": pi.SMC(particles=60, islands=2, kernel=pi.kernels.RandomWalk(), waste_free=5),
    "PersistentSMC": pi.PersistentSMC(
        particles=40, islands=2, kernel=pi.kernels.RandomWalk(), moves=2, target_ess=10.0
    ),
    "Nested": pi.Nested(live=50, runs=2, moves=4),
    "dynamic": pi.Nested(live=40, runs=2, moves=4, goal="posterior", min_ess=300),
    "Importance": pi.Importance(draws=300),
    "ParallelTempering": pi.ParallelTempering(temperatures=4, chains=2, warmup=60, draws=60),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ArviZ, about few draws
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_kept_and_shown(name: str, tmp_path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    program = pi.from_numpyro(location, Y)
    fit = pi.sample(program, ENGINES[name], key=0, progress=False)
    fit.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit", program=program)
    for field in ("draws", "stats", "history"):
        for key, value in getattr(fit, field).items():
            np.testing.assert_array_equal(getattr(again, field)[key], value)
    assert str(again.summary()) == str(fit.summary())
    tree = again.to_datatree(predictive=0, log_likelihood=True)
    assert tree["posterior"]["mu"].shape == fit.log_weights.shape
    for kind in ("trace", "rank", "forest", "dist"):
        fit.plot(kind)
        plt.close("all")
    assert np.isfinite(pi.loo(again).elpd.value)
    assert again.predict(key=0)["y"].shape == (*fit.log_weights.shape, len(Y))
    assert bool(again.diagnose()) == bool(fit.diagnose())
