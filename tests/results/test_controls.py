"""What users ask of a posterior: sites by name, intervals of their choice, a table of draws."""

from __future__ import annotations

import numpy as np
import pytest

from probinf.errors import MethodError, StructureError
from probinf.results.posterior import Posterior
from probinf.results.statistics.weighted import shortest_interval

RNG = np.random.default_rng(3)


def posterior(kind: str = "chains", **draws: np.ndarray) -> Posterior:
    chains, count = next(iter(draws.values())).shape[:2]
    weighted = kind != "chains"
    log_w = RNG.normal(size=(chains, count)) if weighted else np.zeros((chains, count))
    return Posterior(
        draws=draws,
        log_weights=log_w,
        stats={},
        history={},
        unconstrained=np.zeros((chains, count, 0)),
        provenance={},
        kind=kind,
        clusters=np.arange(chains * count).reshape(chains, count) if weighted else None,
    )


def test_the_columns_are_the_same_from_every_engine() -> None:
    x = RNG.normal(size=(2, 200))
    chains, weighted = posterior(x=x), posterior("weighted", x=x)
    assert list(chains.summary().columns) == list(weighted.summary().columns)
    row = weighted.summary()["x"]
    assert np.isnan(row["r_hat"]) and np.isfinite([row["ess_bulk"], row["ess_tail"]]).all()


def test_equal_weights_are_worth_as_much_as_independent_draws() -> None:
    found = posterior("weighted", x=RNG.standard_cauchy(size=(1, 4000)))
    found.log_weights[:] = 0.0
    row = found.summary()["x"]
    assert row["ess_bulk"] == pytest.approx(4000, rel=0.01)
    assert row["ess_tail"] == pytest.approx(4000, rel=0.01)


def test_sites_and_scalars_by_name() -> None:
    found = posterior(tau=RNG.gamma(2.0, size=(2, 50)), theta=RNG.normal(size=(2, 50, 3)))
    assert found.summary("theta").names == ["theta[0]", "theta[1]", "theta[2]"]
    assert found.summary(["theta[1]", "tau"]).names == ["theta[1]", "tau"]
    np.testing.assert_array_equal(found["tau"], found.draws["tau"])
    with pytest.raises(StructureError, match=r"no site named 'thet'.*\['tau', 'theta'\]"):
        found.summary("thet")
    with pytest.raises(StructureError, match="no such site; there are draws of"):
        found["sigma"]


@pytest.mark.parametrize("kind", ["chains", "weighted"])
def test_intervals_of_another_probability_and_shortest_ones(kind: str) -> None:
    found = posterior(kind, x=RNG.gamma(1.0, size=(2, 4000)))
    columns = found.summary(prob=0.5).columns
    assert {"q25", "q75"} < set(columns) and "q5" not in columns
    row = found.summary(prob=0.8, hdi=True)["x"]
    assert row["hdi_low"] < 0.02  # the density of an exponential law is highest at zero
    assert row["hdi_high"] == pytest.approx(-np.log(0.2), abs=0.15)
    with pytest.raises(MethodError, match=r"prob must lie in \(0, 1\), got 95"):
        found.summary(prob=95.0)


def test_the_shortest_interval_holds_its_share_and_no_other_is_shorter() -> None:
    x, w = RNG.normal(size=60), RNG.dirichlet(np.ones(60))
    low, high = shortest_interval(x, w, 0.7)
    assert w[(x >= low) & (x <= high)].sum() >= 0.7
    for a in x:
        for b in x[x > a]:
            if w[(x >= a) & (x <= b)].sum() >= 0.7:
                assert b - a >= high - low - 1e-12


def test_draws_as_a_table() -> None:
    frame = posterior("weighted", tau=RNG.normal(size=(2, 5)), v=RNG.normal(size=(2, 5, 2)))
    table = frame.to_dataframe()
    assert list(table.columns) == ["tau", "v[0]", "v[1]", "log_weight"]
    assert table.loc[(1, 3), "v[1]"] == frame.draws["v"][1, 3, 1]
    assert list(posterior(tau=np.zeros((2, 5))).to_dataframe("tau").columns) == ["tau"]
