"""Chiseling: subgroups that are there, and how often one is found where there is none."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import probinf.conformal as pc
from probinf.conformal.selection.chiseling import _normal


def trial(rng, n=500, effect=1.0):
    x = rng.normal(size=(n, 3))
    return x, effect * (x[:, 0] > 0.8) - 0.3 * effect + rng.normal(size=n)


def test_chisel_finds_a_subgroup_that_the_whole_hides():
    rng = np.random.default_rng(0)
    x, z = trial(rng, 1500, effect=1.2)
    out = pc.selection.chisel(x, z, key=0)
    assert out.rejected and out.estimate > 0 and z.mean() < 0
    fresh, truth = trial(np.random.default_rng(1), 20_000, effect=1.2)
    assert truth[out.contains(fresh)].mean() > 0.05
    assert np.array_equal(out.contains(x), out.member)


def test_chisel_keeps_a_skewed_negative_mean():
    rng = np.random.default_rng(0)
    for r in range(4):
        z = rng.exponential(size=400) - 5
        assert not pc.selection.chisel(rng.normal(size=(400, 2)), z, key=r).rejected


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["gaussian", "skewed"])
def test_chisel_error_rate(noise):
    rejected = []
    for r in range(2000):
        rng = np.random.default_rng(r)
        z = rng.normal(size=500) if noise == "gaussian" else 1 - rng.exponential(size=500)
        rejected.append(pc.selection.chisel(rng.normal(size=(500, 3)), z, key=r).rejected)
    print(noise, np.mean(rejected))
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("skewness", [-3.0, 0.0, 3.0])
def test_chisel_scale_is_increasing(skewness):
    there = np.array([_normal(v, 40, skewness) for v in np.linspace(-6, 3, 50)])
    assert (np.diff(there) > 0).all()
    assert abs(_normal(2.0, 10**6, 0.0) - 2.0) < 1e-3


def no_effect(kind, n, rng):
    """Covariates, and inverse-propensity scores of a treatment that does nothing."""
    x = rng.normal(size=(n, 3))
    e = np.clip(1 / (1 + np.exp(-x[:, 0])), 0.1, 0.9) if kind != "mostly treated" else 0.9
    y = rng.exponential(size=n) * (np.exp(x[:, 1]) if kind == "heteroskedastic" else 1.0)
    y = np.exp(rng.normal(size=n)) if kind == "lognormal" else y
    return x, np.where(rng.uniform(size=n) < e, y / e, -y / (1 - e))


def found_nothing_there(kind, n, replications):
    rejected = []
    for r in range(replications):
        x, z = no_effect(kind, n, np.random.default_rng(r))
        rejected.append(pc.selection.chisel(x, z, key=r).rejected)
    return float(np.mean(rejected)), 0.05 + 3 * np.sqrt(0.05 * 0.95 / replications)


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 200, 500])
@pytest.mark.parametrize("kind", ["exponential", "lognormal", "heteroskedastic", "mostly treated"])
def test_chisel_of_inverse_propensity_scores(kind, n):
    rate, most = found_nothing_there(kind, n, 1000)
    print(kind, n, rate)
    assert rate <= most


def test_chisel_of_few_skewed_scores(monkeypatch):
    rate, most = found_nothing_there("mostly treated", 100, 150)
    assert rate <= most
    file = importlib.import_module("probinf.conformal.selection.chiseling")
    monkeypatch.setattr(file, "_skewness", lambda sample: 0.0)
    assert found_nothing_there("mostly treated", 100, 150)[0] > most  # Student's t
