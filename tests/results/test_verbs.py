"""Every result says itself by the same verbs: `summary`, `to_dataframe`, `plot`."""

import matplotlib
import numpy as np
import pytest

import probinf.conformal as pc
from probinf import ppi, tokens, validity

matplotlib.use("Agg")
G = np.random.default_rng(0)
Y, F, U = G.normal(size=(3, 80))
ALPHAS = np.array([0.1, 0.2])
P = G.dirichlet(np.ones(3), 80)
LABELS = G.integers(3, size=80)
PASSES, RIGHT = G.integers(2, size=(2, 40, 4)).astype(bool)


def labels(alpha):
    return pc.split(pc.LAC(), P[:60], LABELS[:60], P[60:], alpha=alpha)


def grid(alpha):
    candidates = np.broadcast_to(np.linspace(-3, 3, 9), (4, 9))
    inside = (np.abs(candidates) < 2)[..., None] & np.ones(np.size(alpha), bool)
    mask = inside[..., 0] if np.ndim(alpha) == 0 else inside
    return pc.sets.GridSet(candidates, mask, None, alpha, "none")


RESULTS = {
    "interval": lambda: pc.split(pc.Absolute(), F, Y, F[:7], alpha=0.1),
    "intervals": lambda: pc.split(pc.Absolute(), F, Y, F[:7], alpha=ALPHAS),
    "labels": lambda: labels(0.1),
    "labels of two levels": lambda: labels(ALPHAS),
    "grid": lambda: grid(0.1),
    "grid of two levels": lambda: grid((0.1, 0.2)),
    "mean": lambda: ppi.mean(Y, F, U),
    "bayes": lambda: ppi.bayes(Y, F, U, draws=100),
    "fab": lambda: ppi.fab(Y, F, U),
    "boot": lambda: ppi.ppboot(
        lambda rows: rows["y"].mean(), {"y": Y}, {"y": F}, {"y": U}, draws=50
    ),
    "systems": lambda: ppi.compare_systems(
        np.stack([Y, Y**2], 1), np.stack([F, U], 1), np.stack([U, F + 1], 1)
    ),
    "coverage": lambda: tokens.coverage([3, 5, 0, 9], 10, [1, 5, 20]),
    "optimum": lambda: tokens.optimal_tries(
        PASSES, np.where(np.arange(40)[:, None] < 20, PASSES * RIGHT, np.nan), [1, 2, 3]
    ),
}
WORDS = {
    "scale": lambda: tokens.optscale(G.uniform(size=30), target=0.9),
    "ceiling": lambda: tokens.resampling_ceiling(0.4, 0.1, [1, 5]),
    "c2st": lambda: validity.c2st(Y[:, None], F[:, None], key=0, hidden=4),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_read_and_tabled(name: str) -> None:
    found = RESULTS[name]()
    assert str(found.summary()) == str(found)
    table = found.to_dataframe()
    assert len(table) and not table.select_dtypes("number").isna().to_numpy().any()


@pytest.mark.parametrize("name", WORDS)
def test_a_verdict_is_read(name: str) -> None:
    found = WORDS[name]()
    assert found.summary() == str(found) and not str(found).startswith(type(found).__name__ + "(")


def test_levels_are_told_apart_in_the_table() -> None:
    one, two = RESULTS["labels"](), RESULTS["labels of two levels"]()
    table = two.to_dataframe()
    assert list(table.index.names) == ["row", "alpha"] and len(table) == 2 * len(one.mask)
    np.testing.assert_array_equal(table.xs(0.1, level="alpha"), one.to_dataframe())


@pytest.mark.parametrize("name", ["mean", "labels", "coverage", "optimum", "systems"])
def test_a_result_is_drawn(name: str) -> None:
    assert RESULTS[name]().plot().has_data()
    matplotlib.pyplot.close("all")
