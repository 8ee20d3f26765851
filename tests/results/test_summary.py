"""Summaries: one row per scalar, weights and ancestry respected, readable."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probinf.diagnostics import ess_bulk, ess_mean, ess_tail, kish_ess, rhat
from probinf.results.statistics.weighted import weights_of
from probinf.results.summary import Summary, scalars, summarise

RNG = np.random.default_rng(0)


def table(draws: dict, log_weights: np.ndarray | None = None, clusters: bool = False) -> Summary:
    shape = next(iter(draws.values())).shape[:2]
    log_w = np.zeros(shape) if log_weights is None else log_weights
    labels = np.arange(log_w.size).reshape(shape) if clusters else None
    return summarise(draws, log_w, labels)


# --- names ------------------------------------------------------------------------------------


def test_every_entry_of_every_site_has_a_name_and_its_draws() -> None:
    draws = {
        "alone": RNG.normal(size=(2, 5)),
        "row": RNG.normal(size=(2, 5, 3)),
        "group/table": RNG.normal(size=(2, 5, 2, 2)),
        "flag": RNG.integers(0, 2, size=(2, 5)).astype(bool),
    }
    names, values = scalars(draws)
    assert names == [
        "alone",
        *(f"row[{i}]" for i in range(3)),
        *(f"group/table[{i},{j}]" for i in range(2) for j in range(2)),
        "flag",
    ]
    assert values.shape == (2, 5, 9)
    np.testing.assert_array_equal(values[..., 2], draws["row"][..., 1])
    np.testing.assert_array_equal(values[..., 6], draws["group/table"][..., 1, 0])
    np.testing.assert_array_equal(values[..., 8], draws["flag"].astype(float))


# --- Markov chains ----------------------------------------------------------------------------


def test_columns_of_chains() -> None:
    draws = {"x": RNG.gamma(2.0, size=(4, 500)), "v": RNG.normal(size=(4, 500, 2))}
    found = table(draws)
    assert list(found.columns) == [
        "mean", "sd", "q5", "q50", "q95", "mcse", "ess", "ess_bulk", "ess_tail", "r_hat",
    ]  # fmt: skip
    pooled = draws["v"][..., 1].ravel()
    row = found["v[1]"]
    assert row["mean"] == pytest.approx(pooled.mean())
    assert row["sd"] == pytest.approx(pooled.std(ddof=1))
    for name, q in (("q5", 0.05), ("q50", 0.5), ("q95", 0.95)):
        assert row[name] == pytest.approx(np.quantile(pooled, q))
    assert row["mcse"] == pytest.approx(pooled.std(ddof=1) / np.sqrt(ess_mean(draws["v"])[1]))
    assert row["ess_bulk"] == pytest.approx(ess_bulk(draws["v"])[1])
    assert row["ess_tail"] == pytest.approx(ess_tail(draws["v"])[1])
    assert row["r_hat"] == pytest.approx(rhat(draws["v"])[1])


def test_the_standard_error_is_the_spread_of_means_over_replications() -> None:
    """AR(1) chains: the reported error against 300 replications, to 20 %."""
    rho, n = 0.8, 400
    means, errors = [], []
    for _ in range(300):
        noise = RNG.normal(size=(2, n))
        x = np.empty((2, n))
        x[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
        for t in range(1, n):
            x[:, t] = rho * x[:, t - 1] + noise[:, t]
        row = table({"x": x})["x"]
        means.append(row["mean"])
        errors.append(row["mcse"])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)


def test_constants_have_no_effective_size_and_few_draws_none_at_all() -> None:
    row = table({"x": np.full((2, 100), 3.0)})["x"]
    assert row["mean"] == 3 and row["sd"] == 0
    assert np.isnan([row["mcse"], row["ess_bulk"], row["ess_tail"], row["r_hat"]]).all()
    row = table({"x": RNG.normal(size=(4, 7))})["x"]
    assert np.isfinite([row["mean"], row["sd"], row["q5"]]).all()
    assert np.isnan([row["mcse"], row["ess_bulk"], row["ess_tail"], row["r_hat"]]).all()


# --- weighted draws -----------------------------------------------------------------------------


def test_columns_of_weighted_draws() -> None:
    values = RNG.normal(size=(1, 20_000))
    log_w = values - 1e4  # tilts N(0, 1) to N(1, 1); the constant is irrelevant
    found = table({"x": values}, log_w, clusters=True)
    assert list(found.columns) == list(table({"x": RNG.normal(size=(2, 50))}).columns)
    row = found["x"]
    w = weights_of(log_w.ravel())
    assert row["mean"] == pytest.approx(w @ values.ravel())
    assert abs(row["mean"] - 1) < 4.5 * row["mcse"]
    assert row["sd"] == pytest.approx(1.0, abs=0.05)
    for name, q in (("q5", 0.05), ("q50", 0.5), ("q95", 0.95)):
        assert row[name] == pytest.approx(stats.norm.ppf(q, 1), abs=0.08)
    assert row["ess"] == pytest.approx((row["sd"] / row["mcse"]) ** 2)
    assert 0.2 * kish_ess(log_w) < row["ess"] < 20_000


def test_draws_of_weight_zero_do_not_count() -> None:
    values = np.concatenate([RNG.normal(size=500), np.full(500, 1e9)])[None]
    log_w = np.where(values > 1e8, -np.inf, 0.0)
    row = table({"x": values}, log_w, clusters=True)["x"]
    assert row["mean"] == pytest.approx(values[0, :500].mean())
    assert row["sd"] == pytest.approx(values[0, :500].std())
    assert abs(row["q95"] - np.quantile(values[0, :500], 0.95)) < 0.05
    assert row["mcse"] == pytest.approx(row["sd"] / np.sqrt(500), rel=0.01)


def test_ancestry_widens_the_error() -> None:
    values = np.repeat(RNG.normal(size=50), 20)[None, :]
    labels = np.repeat(np.arange(50), 20)[None, :]
    log_w = np.zeros((1, 1000))
    family = summarise({"x": values}, log_w, labels)["x"]
    strangers = summarise({"x": values}, log_w, np.arange(1000)[None])["x"]
    assert family["mean"] == strangers["mean"]
    assert family["mcse"] == pytest.approx(strangers["mcse"] * np.sqrt(20), rel=0.05)
    assert family["ess"] == pytest.approx(50, rel=0.05)
    assert strangers["ess"] == pytest.approx(1000, rel=0.05)


# --- the table --------------------------------------------------------------------------------


def test_the_table_can_be_read_looped_over_and_printed() -> None:
    found = table({"tau": RNG.gamma(2.0, size=(4, 200)), "v": 1e-4 * RNG.normal(size=(4, 200, 2))})
    assert found.names == list(found) == ["tau", "v[0]", "v[1]"] and len(found) == 3
    with pytest.raises(KeyError):
        found["v"]
    lines = str(found).splitlines()
    assert repr(found) == str(found) and len(lines) == 4
    assert lines[0].split() == list(found.columns)
    assert [line.split()[0] for line in lines[1:]] == found.names
    assert all(len(line.split()) == 11 for line in lines[1:])
    assert f"{found['tau']['mean']:.3f}" in lines[1]
    assert lines[2].split()[2] == f"{found['v[0]']['sd']:.3g}"  # small numbers keep their digits
    frame = found.to_dataframe()
    assert list(frame.index) == found.names
    assert frame.loc["v[1]", "sd"] == found["v[1]"]["sd"]


def test_the_table_cannot_be_changed_from_outside() -> None:
    found = table({"x": RNG.normal(size=(2, 50))})
    found.names.append("y")
    found.columns["more"] = np.zeros(1)
    assert len(found.names) == 1 and "more" not in found.columns
