"""Leaderboards: complete tables are paired differences, incomplete ones are fair and cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from probinf import ppi
from probinf.errors import ArrayError, PredictionWarning, TooFewLabelsError

TRUTH = np.array([0.0, 0.3, 0.5, 1.0])


def answers(seed, items=120, gold=40, missing=0.0, unfair=0.0):
    """A row per item and system; ``unfair`` gives the hard items to the best system."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=items) * 2
    frame = pd.DataFrame(
        [(i, s) for i in range(items) for s in range(4)], columns=["item", "system"]
    )
    i, s = frame["item"].to_numpy(), frame["system"].to_numpy()
    y = TRUTH[s] - hard[i] + 0.5 * rng.normal(size=len(i))
    frame["judge"] = 0.7 * y + 0.4 * rng.normal(size=len(i)) + 0.3 * (s == 0)
    frame["second"] = y + rng.normal(size=len(i))
    frame["topic"] = np.where(i % 2, "odd", "even")
    frame["gold"] = np.where(i < gold, y, np.nan)
    keep = rng.uniform(size=len(i)) >= missing
    keep &= ~((s == 3) & (hard[i] < unfair) & (unfair != 0))
    frame["system"] = np.array(list("abcd"))[s]
    return frame[keep].sample(frac=1, random_state=0)


COLUMNS = {"item": "item", "system": "system", "score": "gold", "judges": "judge"}


def test_a_complete_table_is_the_paired_differences():
    frame = answers(0)
    found = ppi.leaderboard(frame, **COLUMNS)
    a, b = found.pairs.T
    with pytest.warns(PredictionWarning):  # a judge that says nothing leaves the gold scores
        alone = ppi.leaderboard(frame.assign(judge=1.0), **COLUMNS)
    y = frame.pivot(index="item", columns="system", values="gold").to_numpy()[:40]
    np.testing.assert_allclose(
        alone.differences.theta, y[:, a].mean(axis=0) - y[:, b].mean(axis=0), atol=1e-9
    )
    np.testing.assert_allclose(found.levels.theta.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(
        found.differences.theta, found.levels.theta[a] - found.levels.theta[b], atol=1e-9
    )
    # the order of rows, and a dictionary in place of a DataFrame, change nothing
    again = ppi.leaderboard(frame.sort_values("item").to_dict("list"), **COLUMNS)
    np.testing.assert_allclose(again.differences.theta, found.differences.theta, atol=1e-9)


def coverage(runs, **change):
    """Runs whose simultaneous bands hold all differences, and whose ranks hold all true ranks."""
    covered = ranked = 0
    for seed in range(runs):
        out = ppi.leaderboard(answers(seed, 300, 90, missing=0.6), alpha=0.2, **(COLUMNS | change))
        truth = TRUTH[out.pairs[:, 0]] - TRUTH[out.pairs[:, 1]]
        covered += bool(((out.bands[:, 0] <= truth) & (truth <= out.bands[:, 1])).all())
        true_ranks = 4 - np.argsort(np.argsort(TRUTH))
        ranked += bool(((out.ranks[:, 0] <= true_ranks) & (true_ranks <= out.ranks[:, 1])).all())
    return covered, ranked


@pytest.mark.slow
@pytest.mark.parametrize("judges", ["judge", ["judge", "second"]], ids=["one", "two"])
def test_bands_and_ranks_hold_for_all_systems_together(judges):
    covered, ranked = coverage(60, judges=judges)
    least = binom.ppf(1e-5, 60, 0.8)
    assert covered >= least and ranked >= covered


def test_items_that_are_hard_for_all_favour_nobody():
    """The best system answers hard items alone; plain means rank it last."""
    frame = answers(3, items=400, gold=150, unfair=0.5)
    assert frame.groupby("system")["judge"].mean().idxmin() == "d"
    found = ppi.leaderboard(frame, **COLUMNS)
    assert found.levels.names[int(np.argmax(found.levels.theta))] == "d"
    assert tuple(found.ranks[3]) == (1, 1)


def test_judges_make_bands_narrower_than_gold_alone():
    frame = answers(4, items=600, gold=60, missing=0.3)
    one = ppi.leaderboard(frame, **COLUMNS)
    two = ppi.leaderboard(frame, **(COLUMNS | {"judges": ["judge", "second"], "strata": "topic"}))
    alone = np.sqrt(np.diag(one.differences.cov_labeled))
    assert (one.differences.bse < alone).all()
    assert two.differences.bse.mean() < 0.95 * one.differences.bse.mean()
    assert "rank" in repr(two)


def test_tables_that_compare_nothing_are_refused():
    frame = answers(0)
    with pytest.raises(ArrayError, match="no column 'jugde'; their columns are 'item'"):
        ppi.leaderboard(frame, **(COLUMNS | {"judges": "jugde"}))
    with pytest.raises(ArrayError, match="occur twice"):
        ppi.leaderboard(pd.concat([frame, frame]), **COLUMNS)
    with pytest.raises(ArrayError, match="NaN"):
        ppi.leaderboard(frame.assign(judge=np.nan), **COLUMNS)
    lost = frame.assign(gold=frame["gold"].where(frame["system"] != "c"))
    with pytest.raises(TooFewLabelsError, match="do not connect c with a"):
        ppi.leaderboard(lost, **COLUMNS)
    for column in ("system", "item"):
        unnamed = frame[column].astype(object).where(frame["topic"] == "odd")
        with pytest.raises(ArrayError, match=f"{column} holds 240 missing label"):
            ppi.leaderboard(frame.assign(**{column: unnamed}), **COLUMNS)
    with pytest.raises(ArrayError, match="topic holds 240 missing label"):
        topics = frame["topic"].where(frame["topic"] == "odd", None)
        ppi.leaderboard(frame.assign(topic=topics), **COLUMNS, strata="topic")
    with pytest.raises(ArrayError, match="gold does not hold numbers"):
        ppi.leaderboard(frame.assign(gold="good"), **COLUMNS)
    with pytest.raises(ArrayError, match="gold, where it is given, holds"):
        ppi.leaderboard(
            frame.assign(gold=frame["gold"].where(frame["gold"] < 0, np.inf)), **COLUMNS
        )
    with pytest.raises(ArrayError, match="DataFrame or a dictionary"):
        ppi.leaderboard(frame.to_numpy(), **COLUMNS)


def test_items_with_gold_for_some_of_their_systems_are_refused():
    frame = answers(0)
    lost = frame.assign(gold=frame["gold"].where((frame["system"] != "c") | (frame["item"] > 9)))
    with pytest.raises(ArrayError, match=r"10 of 40 items .* Score all systems"):
        ppi.leaderboard(lost, **COLUMNS)
    partly = lost["gold"].isna() & (lost["item"] < 10)
    assert np.isfinite(ppi.leaderboard(lost[~partly], **COLUMNS).levels.theta).all()
