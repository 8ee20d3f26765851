"""Draws of weight zero, at which anything may be NaN, change nothing that comes after."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.conformal.posteriors.draws import draws_of
from probinf.results.plotting import compare_plot

N, DEAD = 2000, 700
Y = np.array([0.5, 0.6, 0.4])


def model(y):
    a = numpyro.sample("a", dist.Normal(0.0, 2.0))
    log_a = numpyro.deterministic("log_a", jnp.log(a))
    numpyro.sample("y", dist.Normal(log_a, 0.3), obs=y)


def weighted(spoiled: bool) -> pi.Posterior:
    """Draws with weights; those of weight zero are NaN or infinite, or are not there."""
    rng = np.random.default_rng(0)
    a = 1.5 + 0.2 * rng.normal(size=N)
    log_w = 0.3 * rng.normal(size=N)
    if spoiled:
        a = np.concatenate([a[:500], np.full(DEAD, -700.0), a[500:]])
        log_w = np.insert(log_w, 500, np.full(DEAD, -np.inf))
    log_a = np.log(np.where(a > 0, a, np.nan))
    log_a[510:520] = np.inf if spoiled else log_a[510:520]
    flat = a[None, :, None].astype(np.float32)
    if spoiled:
        flat[0, 600:610] = np.nan
    return pi.Posterior(
        draws={"a": a[None].astype(np.float32), "log_a": log_a[None].astype(np.float32)},
        log_weights=log_w[None],
        stats={},
        history={},
        unconstrained=flat,
        provenance={},
        kind="weighted",
        clusters=np.arange(log_w.size)[None],
        program=pi.from_numpyro(model, Y),
    )


@pytest.fixture(scope="module")
def pair() -> tuple[pi.Posterior, pi.Posterior]:
    return weighted(True), weighted(False)


def test_summary_and_findings(pair) -> None:
    spoiled, clean = (p.summary() for p in pair)
    for name in ("a", "log_a"):
        for column in ("mean", "sd", "q5", "q50", "q95"):
            assert spoiled[name][column] == pytest.approx(clean[name][column], rel=1e-6)
        assert spoiled[name]["mcse"] == pytest.approx(clean[name]["mcse"], rel=1e-3)
    assert "not_finite" not in pair[0].diagnose().codes


def test_fit_modes_and_predictions(pair) -> None:
    spoiled, clean = (pi.fit(p).data[1].mean for p in pair)
    np.testing.assert_allclose(spoiled, clean, rtol=1e-6)
    modes = pi.separate_modes(pair[0])
    assert len(modes) == 1 and modes[0].share.value == pytest.approx(1.0)
    assert np.isfinite(pair[0].predict(key=0)["y"]).all()


def test_loo(pair) -> None:
    spoiled, clean = (pi.loo(p, max_draws=4000) for p in pair)
    np.testing.assert_allclose(spoiled.pointwise, clean.pointwise, rtol=1e-6)
    np.testing.assert_allclose(spoiled.pareto_k, clean.pareto_k, rtol=1e-6)


def test_thinned_loo_counts_draws_that_weigh(pair) -> None:
    assert np.isfinite(pi.loo(pair[0], max_draws=100).pointwise).all()


def test_pictures_show_where_the_weight_is(pair) -> None:
    mpl.use("Agg")
    figure = compare_plot({"fit": pair[0]}, ["a", "log_a"])
    for axis in figure.axes[:2]:
        low, high = axis.get_xlim()
        assert high - low < 2.0


def test_conformal_draws(pair) -> None:
    draws, log_w = draws_of(pair[0])
    assert all(np.isfinite(v).all() for v in draws.values())
    assert np.isneginf(log_w).sum() == DEAD


def test_an_engine_whose_likelihood_is_zero_somewhere() -> None:
    found = pi.sample(pi.from_numpyro(model, Y), pi.Importance(draws=4000), key=0, progress=False)
    assert np.isnan(found.draws["log_a"]).any()
    assert np.isfinite(pi.loo(found).elpd.value)
    assert all(np.isfinite(found.summary()[name]["mean"]) for name in ("a", "log_a"))
    assert dataclasses.is_dataclass(pi.fit(found))
