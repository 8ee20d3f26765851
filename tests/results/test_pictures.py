"""Corner plots with weights, pictures through ArviZ, and files for GetDist."""

from __future__ import annotations

import pathlib
import re

import arviz
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.core.axes import Axes
from probinf.errors import MethodError, SavedFileError
from probinf.results import corner
from probinf.results.statistics.weighted import weighted_quantile, weights_of

N = 6000


def of_normals(scale: float = 1.0) -> pi.Posterior:
    """Draws of two wide normals, weighted so that they are narrow ones."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, N, 2)) * 2.0
    log_w = -0.5 * (x**2).sum(-1) * (1 / scale**2 - 0.25)
    return pi.Posterior(
        draws={"x": x},
        log_weights=log_w - log_w.max(),
        stats={},
        history={},
        unconstrained=x,
        provenance={},
        kind="weighted",
        clusters=np.arange(N)[None],
        axes=Axes({"x": ("k",)}, {"k": np.array(["a", "b"])}),
    )


def titles_are_weighted(posterior: pi.Posterior) -> None:
    figure = posterior.plot("corner", truths={"x[b]": 0.3})
    said = [axis.get_title() for axis in figure.axes if axis.get_title()]
    plt.close(figure)
    w = weights_of(posterior.log_weights.ravel())
    for k, text in enumerate(said):
        name, middle, up, down = re.fullmatch(
            r"(.*) = \$(-?[\d.]+)\^\{\+([\d.]+)\}_\{-([\d.]+)\}\$", text
        ).groups()
        low, centre, high = (
            weighted_quantile(posterior["x"][0, :, k], w, q) for q in (0.16, 0.5, 0.84)
        )
        assert name == f"x[{'ab'[k]}]"
        assert float(middle) == pytest.approx(centre, abs=0.06)
        assert (float(up), float(down)) == pytest.approx((high - centre, centre - low), abs=0.06)
    assert len(said) == 2


def test_a_corner_plot_knows_weights() -> None:
    titles_are_weighted(of_normals())


def test_a_corner_plot_without_weights_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corner, "weights_of", lambda w: np.full(w.size, 1 / w.size))
    with pytest.raises(AssertionError):
        titles_are_weighted(of_normals())


def test_contours_hold_their_mass() -> None:
    """Of a normal in two dimensions, 1 - exp(-r²/2) within r: heights are exp(-r²/2) of the top."""
    x = np.linspace(-4, 4, 401)
    mass = np.exp(-0.5 * (x[:, None] ** 2 + x[None] ** 2))
    levels = (0.393, 0.865, 0.95)
    np.testing.assert_allclose(
        corner.heights(mass, levels), sorted(1 - np.array(levels)), rtol=0.02
    )


def test_what_a_corner_cannot_show_is_refused() -> None:
    found = of_normals()
    with pytest.raises(MethodError, match=r"no site or scalar named 'y'; there are \['x\[a\]'"):
        found.plot("corner", ["y"])
    with pytest.raises(MethodError, match=r"truths name \['x'\]"):
        found.plot("corner", truths={"x": 1.0})
    with pytest.raises(MethodError, match=r"levels must lie in \(0, 1\)"):
        found.plot("corner", levels=(39.0, 86.0))
    wide = pi.Posterior(
        {"x": np.zeros((1, 5, 20))}, np.zeros((1, 5)), {}, {}, np.zeros((1, 5, 0)), {}, "chains"
    )
    with pytest.raises(MethodError, match="20 scalars make 400 panels"):
        wide.plot("corner")
    with pytest.raises(MethodError, match="'energy' is of Hamiltonian chains"):
        found.plot("energy")


def location(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand(y.shape).to_event(0), obs=y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "method", [pi.NUTS(chains=2, warmup=60, draws=60), pi.Importance(draws=200)]
)
def test_predictions_go_to_arviz_at_once(method: pi.samplers.Method) -> None:
    program = pi.from_numpyro(location, np.array([0.3, 1.1, 0.7, -0.2]))
    fit = pi.sample(program, method, key=0, progress=False, precision="single")
    fit.plot("ppc", num_samples=5)
    if isinstance(method, pi.NUTS):
        fit.plot("energy")
    tree = fit.to_datatree(predictive=0, log_likelihood=True, prior=1)
    data = arviz.from_datatree(tree) if hasattr(arviz, "from_datatree") else tree
    assert np.isfinite(arviz.loo(data).elpd_loo if hasattr(arviz.loo(data), "elpd_loo") else 0.0)
    if hasattr(arviz, "plot_ppc"):
        arviz.plot_ppc(data, num_pp_samples=5)
        arviz.plot_ppc(data, group="prior", num_pp_samples=5)
    plt.close("all")


def test_files_of_getdist(tmp_path: pathlib.Path) -> None:
    found = of_normals()
    chain, names = found.save_getdist(tmp_path / "run")
    assert (chain.name, names.name) == ("run_1.txt", "run.paramnames")
    table = np.loadtxt(chain)
    w = np.exp(found.log_weights[0])
    np.testing.assert_allclose(
        np.average(table[:, 2:], axis=0, weights=table[:, 0]), w @ found["x"][0] / w.sum()
    )
    lines = names.read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["x[a]", "x[b]"]
    with pytest.raises(SavedFileError, match="there is no folder"):
        found.save_getdist(tmp_path / "nowhere" / "run")
