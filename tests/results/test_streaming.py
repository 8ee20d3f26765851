"""Running: the summary of draws that are not kept is the summary of the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probinf.diagnostics import nested_rhat
from probinf.results.streaming import Running


def chains(count: int, draws: int, scalars: int, rho: float = 0.9, seed: int = 0) -> np.ndarray:
    """Stationary autoregressive chains of mean 0 and variance 1, (chain, draw, scalar)."""
    rng = np.random.default_rng(seed)
    x = np.empty((count, draws, scalars))
    x[:, 0] = rng.normal(size=(count, scalars))
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=(count, scalars))
    return x


def fed(x: np.ndarray, block: int, **options: Any) -> Running:
    running = Running(x.shape[0], x.shape[1], block)
    for name, value in options.items():
        setattr(running, name, value)
    for first in range(0, x.shape[1], block):
        running.add({"x": x[:, first : first + block]})
    return running


def test_moments_quantiles_and_r_hat_are_those_of_the_draws() -> None:
    rng = np.random.default_rng(1)
    x = 1e6 + np.exp(rng.normal(size=(4, 997, 3))) + np.arange(4)[:, None, None] * [0, 0, 5.0]
    block = 16
    table = fed(x, block).summary()
    pooled = x.reshape(-1, 3)
    assert table.names == ["x[0]", "x[1]", "x[2]"]
    np.testing.assert_allclose(table.columns["mean"], pooled.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(table.columns["sd"], pooled.std(axis=0, ddof=1), rtol=1e-9)
    half = 997 // 2 // block * block
    parts = [x[:, :half], x[:, half:]]
    means = np.concatenate([p.mean(axis=1) for p in parts])
    within = np.concatenate([p.var(axis=1, ddof=1) for p in parts]).mean(axis=0)
    n = 1 / np.mean([1 / half, 1 / (997 - half)])
    expected = np.sqrt((n - 1) / n + means.var(axis=0, ddof=1) / within)
    np.testing.assert_allclose(table.columns["r_hat"], expected, rtol=1e-9)
    assert (table.columns["r_hat"][:2] < 1.01).all() and table.columns["r_hat"][2] > 1.5
    for q in (5, 50, 95):
        level = np.mean(pooled <= table.columns[f"q{q}"], axis=0)
        assert (np.abs(level - q / 100) < 4 * np.sqrt(q / 100 * (1 - q / 100) / 990)).all()


def standardised(**options: Any) -> float:
    """Spread of (mean - truth) / mcse over 300 replications; 1 where the error is right."""
    row = fed(chains(4, 600, 300), 8, **options).summary().columns
    return float(np.std(row["mean"] / row["mcse"]))


def test_the_monte_carlo_error_is_right_and_single_draws_would_not_do() -> None:
    assert 0.85 < standardised() < 1.3
    assert standardised(per_batch=1) > 1.5  # the mutant: batches much shorter than the memory


def test_effective_size_of_independent_draws() -> None:
    row = fed(chains(4, 2000, 200, rho=0.0), 20).summary().columns
    assert 0.9 < np.median(row["ess"]) / 8000 < 1.1


def test_nested_r_hat_is_that_of_the_draws() -> None:
    x = chains(12, 40, 2) + np.repeat(np.arange(3), 4)[:, None, None] * np.array([0.0, 2.0])
    table = fed(x, 8).summary(superchains=3)
    np.testing.assert_allclose(table.columns["nested_r_hat"], nested_rhat(x, 3), rtol=1e-9)
    assert "nested_r_hat" not in fed(x, 8).summary().columns


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_or_does_not_move_has_no_error(bad: float) -> None:
    x = chains(4, 200, 3)
    x[:, :, 1] = 7.0
    x[2, 150, 2] = bad
    row = fed(x, 10).summary().columns
    assert row["mean"][1] == 7.0 and row["sd"][1] == 0.0
    assert np.isnan(row["ess"][1:]).all() and np.isnan(row["r_hat"][1:]).all()
    assert not np.isfinite(row["mean"][2]) and np.isfinite(row["mcse"][0])


def test_few_draws_have_moments_and_no_more() -> None:
    row = fed(chains(2, 5, 1), 2).summary().columns
    assert np.isfinite(row["mean"]).all() and np.isnan(row["r_hat"]).all()
