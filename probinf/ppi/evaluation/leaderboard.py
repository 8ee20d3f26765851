"""Leaderboards from incomplete comparisons: few gold scores, judges, most pairs never run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number, converted
from probinf.core.inputs.frames import is_pandas
from probinf.core.inputs.limits import at_least
from probinf.errors import ArrayError, MethodError, TooFewLabelsError
from probinf.ppi.estimators.crossfit import cross_fit
from probinf.ppi.estimators.regression import ols
from probinf.ppi.evaluation.systems import Comparison, ranks_of
from probinf.ppi.inference.checks import numeric
from probinf.ppi.inference.ids import as_ids


def leaderboard(
    data: Any,
    *,
    item: str,
    system: str,
    score: str,
    judges: str | Sequence[str],
    strata: str | None = None,
    learner: Any = None,
    folds: int = 5,
    alpha: Number = 0.1,
    key: Any = 0,
) -> Comparison:
    """Rank systems that have answered different, few and overlapping items.

    Systems are compared within items, so that who happened to get the easy ones gains nothing:
    scores are least squares with an effect of every item, by gold scores where there are some and
    by judges elsewhere. Intervals hold whatever the quality of the judges, as long as the items
    with gold scores are a random sample of all items, and every system that ran on such an item
    has a gold score there.

    Args:
        data: DataFrame, or dictionary of columns, with a row per item and system that was run.
        item, system: columns that name both.
        score: gold score, missing (NaN) where nobody gave one.
        judges: columns of judges' scores, one or several, given in every row.
        strata: column of strata (topics, languages) in which judges may be off in their own ways.
        learner: what turns judges' scores into predictions of the gold score, by cross-fitting
            over items: anything with ``fit`` and ``predict``. By default one judge without strata
            is taken as it is, and several are combined by ridge regression, system by system.
        folds: of the cross-fitting.
        alpha: error rate of the intervals.
        key: seed or key of folds and bands.

    Returns:
        A `Comparison`, whose levels are scores above the average of all systems.

    Raises:
        ArrayError: columns that are not there or are no numbers, an item that names a system
            twice, missing names, infinite scores, missing judges, items with gold scores for some
            of their systems only.
        TooFewLabelsError: gold scores that do not connect all systems.

    Source: ARES (arXiv 2311.09476), with within-item comparisons as in ONEBench (arXiv
    2412.06745); cross-prediction (arXiv 2309.16598); ranks after Mogstad et al. (2024).
    """
    at_least(2, folds=folds)
    names = [judges] if isinstance(judges, str) else list(judges)
    wanted = [item, system, score, *names, *([strata] if strata else [])]
    columns = _columns(data, wanted)
    rows = len(columns[item])
    named = {name: as_ids(name, columns[name], rows) for name in (item, system)}
    items = np.unique(named[item], return_inverse=True)[1]
    labels, systems = np.unique(named[system].astype(str), return_inverse=True)
    inside = None if strata is None else as_ids(strata, columns[strata], rows)
    S = len(labels)
    if S < 2:
        raise MethodError("a leaderboard needs two systems or more.")
    twice = np.unique(items * S + systems, return_counts=True)[1] > 1
    if twice.any():
        raise ArrayError(f"{int(twice.sum())} pairs of item and system occur twice; average them.")
    gold = np.asarray(converted(score, columns[score], float), float)
    scored = ~np.isnan(gold)
    numeric(f"{score}, where it is given,", gold[scored])
    guess = np.stack([numeric(name, columns[name]) for name in names], axis=1)
    count = np.bincount(items, weights=scored, minlength=items.max() + 1)
    mine = scored & (count[items] >= 2)
    other = count[items] < 2  # items with gold scores speak by these alone
    ran = np.bincount(items, minlength=items.max() + 1)
    other &= (ran >= 2)[items]
    _connected(items[mine], systems[mine], labels)
    partly = int(((count > 0) & (count < ran)).sum())
    if partly:
        raise ArrayError(
            f"{partly} of {int((count > 0).sum())} items with gold scores lack that of a system "
            "that ran on them; errors of the judges would not cancel. Score all systems that ran "
            "on an item, or pass only the rows of such items that have a gold score."
        )
    if not other.any():
        raise ArrayError("no item without gold scores has two systems or more to be compared in.")
    f, fu = guess[mine, 0], guess[other, 0]
    if len(names) > 1 or strata is not None or learner is not None:
        features = _features(guess, systems, S, inside)
        fitted = cross_fit(
            learner, features[mine], gold[mine], features[other],
            folds=folds, groups=items[mine], key=key,
        )  # fmt: skip
        f, fu = fitted.f, fitted.f_unlabeled
    where = (items[mine], items[other])
    dummies = np.eye(S)[systems][:, :-1]
    fit = ols(
        _within(dummies[mine], where[0]), _within(gold[mine], where[0]), _within(f, where[0]),
        _within(dummies[other], where[1]), _within(fu, where[1]),
        groups=where, tune="element", alpha=alpha,
    )  # fmt: skip
    whole = np.vstack([np.eye(S - 1), np.zeros(S - 1)])  # the last system is the reference
    levels = dataclasses.replace(
        fit.contrast(whole - whole.mean(axis=0), names=tuple(map(str, labels))),
        estimand="score above the average",
    )
    pairs = np.array([(a, b) for a in range(S) for b in range(a + 1, S)])
    differences = dataclasses.replace(
        fit.contrast(
            whole[pairs[:, 0]] - whole[pairs[:, 1]],
            names=tuple(f"{labels[a]} - {labels[b]}" for a, b in pairs),
        ),
        estimand="difference of scores",
    )
    draws = 20_000 if S <= 20 else 5000  # of as many maxima of S (S - 1) / 2 differences
    bands = np.asarray(differences.simultaneous(key=key, draws=draws))
    return Comparison(levels, differences, pairs, bands, ranks_of(pairs, bands, S))


def _columns(data: Any, wanted: list[str]) -> dict[str, np.ndarray]:
    if not (is_pandas(data) or isinstance(data, Mapping)):
        raise ArrayError("data must be a DataFrame or a dictionary of columns.")
    absent = [name for name in wanted if name not in data]
    if absent:
        raise ArrayError(
            f"data have no column {', '.join(map(repr, absent))}; their columns are "
            f"{', '.join(map(repr, map(str, data)))}."
        )
    found = {name: np.asarray(data[name]) for name in wanted}
    if len({len(a) for a in found.values()}) > 1 or any(a.ndim != 1 for a in found.values()):
        raise ArrayError("the columns of data differ in their number of rows.")
    return found


def _within(values: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Values less the mean of their item."""
    ids = np.unique(items, return_inverse=True)[1]
    count = np.bincount(ids)
    table = values.reshape(len(values), -1)
    mean = np.stack([np.bincount(ids, weights=c) / count for c in table.T], axis=1)
    return np.asarray((table - mean[ids]).reshape(values.shape))


def _connected(items: np.ndarray, systems: np.ndarray, labels: np.ndarray) -> None:
    """Raise unless gold scores compare every system with every other, by a chain of items."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    S = len(labels)
    ids = np.unique(items, return_inverse=True)[1] if items.size else items
    size = S + (int(ids.max()) + 1 if ids.size else 0)
    graph = coo_array((np.ones(len(ids)), (systems, S + ids)), shape=(size, size))
    part = connected_components(graph, directed=False)[1][:S]
    if (part != part[0]).any():
        apart = ", ".join(map(str, labels[part != part[0]][:5]))
        raise TooFewLabelsError(
            f"gold scores do not connect {apart} with {labels[0]}: no chain of items with two gold "
            "scores or more leads from one to the other. Score some item of both."
        )


def _features(guess: np.ndarray, systems: np.ndarray, S: int, strata: Any) -> np.ndarray:
    """Judges' scores, systems, and judges' scores within strata."""
    parts = [guess, np.eye(S)[systems][:, 1:]]
    if strata is not None:
        codes = np.unique(strata, return_inverse=True)[1]
        inside = np.eye(int(codes.max()) + 1)[codes][:, 1:]
        parts += [inside, *(inside * column[:, None] for column in guess.T)]
    return np.concatenate(parts, axis=1)
