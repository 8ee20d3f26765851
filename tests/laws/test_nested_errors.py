"""Law: errors of posterior means of nested sampling count what is not known of the volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import probinf as pi
from probinf.diagnostics import cluster_error, volume_error
from probinf.results.statistics.weighted import weights_of
from probinf.samplers.nested.volumes import Points, volumes

WIDTH = 0.02  # of the posterior, as a share of the volume; r**2 is the volume in two dimensions
RUNS = 400


def perfect_disc(rng: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, ...]:
    """Exact nested sampling of exp(-r**2 / WIDTH) on the unit disc: values, weights, live."""
    live, birth = rng.uniform(size=n), np.full(n, np.nan)
    dead, born = [], []
    for _ in range(12 * n // k):
        lowest = np.argsort(-live)[:k]
        dead.append(live[lowest])
        born.append(birth[lowest])
        edge = live[lowest[-1]]
        live[lowest], birth[lowest] = rng.uniform(0, edge, k), -edge / WIDTH
    square = np.concatenate([*dead, live])
    points = Points(-square / WIDTH, np.concatenate([*born, birth]))
    found = volumes(points, rng)
    square = square[found.order]
    across = np.sqrt(square) * np.cos(rng.uniform(0, 2 * np.pi, square.size))
    values = np.column_stack([square, across, across > 0])
    return values, weights_of(found.log_shell - square / WIDTH), found.live


def z_of_means(error: Callable[..., np.ndarray], n: int, k: int) -> np.ndarray:
    """(RUNS, 3) of the square of the radius, of a coordinate, and of the mass of a half."""
    rng, z = np.random.default_rng(7), []
    for _ in range(RUNS):
        values, w, live = perfect_disc(rng, n, k)
        z.append((w @ values - [WIDTH, 0.0, 0.5]) / error(values, w, np.arange(w.size), live))
    return np.array(z)


def without_volumes(values: Any, weights: Any, rank: Any, live: Any) -> np.ndarray:
    """Every removed point an independent draw with a known weight."""
    return cluster_error(values, weights, rank)


LOW, HIGH = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], RUNS - 1) / (RUNS - 1))


@pytest.mark.parametrize(("n", "k"), [(100, 4), (100, 10)])
def test_errors_of_means_are_right(n: int, k: int) -> None:
    spread = z_of_means(volume_error, n, k).std(axis=0, ddof=1)
    assert (spread > LOW).all() and (spread < HIGH).all()


def test_errors_without_volumes_are_found() -> None:
    spread = z_of_means(without_volumes, 100, 10).std(axis=0, ddof=1)
    assert spread[0] > 1.4  # the coordinate itself does not depend on the volume
    assert LOW < spread[1] < HIGH


def test_errors_agree_with_simulated_volumes() -> None:
    rng = np.random.default_rng(3)
    values, w, live = perfect_disc(rng, 100, 10)
    log_t = -rng.standard_exponential((2000, live.size)) / live
    before = np.cumsum(log_t, axis=1) - log_t
    known = np.concatenate([[0.0], np.cumsum(np.log1p(-1 / live[:-1]))])
    shells = w * live * np.exp(before - known) * -np.expm1(log_t)
    means = shells @ values / shells.sum(axis=1, keepdims=True)
    found = volume_error(values, w, np.arange(w.size), live)
    np.testing.assert_allclose(found, means.std(axis=0), rtol=0.12)


def test_repeated_removals_count_once_and_missing_ones_still_shrink_volumes() -> None:
    values, w, live = perfect_disc(np.random.default_rng(4), 200, 10)
    values = values[:, :1]
    whole = volume_error(values, w, np.arange(w.size), live)
    twice = np.repeat(np.arange(w.size), 2)
    np.testing.assert_allclose(volume_error(values[twice], w[twice] / 2, twice, live[twice]), whole)
    half = np.arange(0, w.size, 2)  # what is left says less about its own shells
    error = volume_error(values[half], weights_of(np.log(w[half])), half, live[half])
    assert whole < error < np.sqrt(2) * whole


def bowl(v: Any) -> Any:
    return -jnp.sum(v["x"] ** 2) / WIDTH


@pytest.mark.parametrize("goal", [None, pytest.param("posterior", marks=pytest.mark.slow)])
def test_summaries_use_them(goal: Any) -> None:
    """The spread of 40 runs of the sampler itself is right, static and dynamic."""
    prior = dist.Uniform(-1, 1).expand([2]).to_event(1)
    program = pi.from_log_likelihood(bowl, {"x": prior})
    budget = None if goal is None else 8_000
    method = pi.Nested(live=50, goal=goal, max_evaluations=budget)
    z = []
    for key in range(40):
        fit = pi.sample(program, method, key=key, progress=False, check=False)
        x = fit.draws["x"]
        row = dict(fit.summary()["x[0]"])
        w = weights_of(fit.log_weights)
        labels, live = fit.clusters.ravel(), fit.stats["live_points"].ravel()
        r2 = np.sum(x**2, axis=2).ravel()[:, None]
        error = volume_error(r2, w.ravel(), labels, live)[0]
        z.append([(w.ravel() @ r2[:, 0] - WIDTH) / error, row["mean"] / row["mcse"]])
        assert row["ess"] == pytest.approx((row["sd"] / row["mcse"]) ** 2)
    low, high = np.sqrt(stats.chi2.ppf([5e-5, 1 - 5e-5], 39) / 39)
    spread = np.std(z, axis=0, ddof=1)
    assert (low < spread).all() and (spread < high).all()
