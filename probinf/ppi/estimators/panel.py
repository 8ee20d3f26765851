"""Panels: fixed effects by the within transform, with predictions."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from probinf.errors import ArrayError, ConvergenceError
from probinf.ppi.estimators.debiased import Fitted, Rows, Settings, Shared, column_of, debias
from probinf.ppi.inference.conclude import check_identified
from probinf.ppi.inference.ids import as_ids, shared_numbers
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.sums import sum_by


def within(
    columns: np.ndarray, effects: list[np.ndarray], weights: np.ndarray, *, steps: int = 2000
) -> np.ndarray:
    """Columns (rows, k) less their projection on the effects, numbers (rows,) from 0 each.

    One set of effects is one subtraction of weighted means; several are swept in turn until
    nothing moves (Halperin's alternating projections), so that panels may be unbalanced.

    Raises:
        ConvergenceError: sweeps do not settle.
    """
    left = columns.astype(float).copy()
    scale = np.abs(left).max(axis=0) + 1e-300
    totals = [np.maximum(np.bincount(ids, weights), 1e-300) for ids in effects]
    for _ in range(steps):
        moved = 0.0
        for ids, total in zip(effects, totals, strict=True):
            means = sum_by(weights[:, None] * left, ids, len(total)) / total[:, None]
            left -= means[ids]
            moved = max(moved, float((np.abs(means) / scale).max()))
        if len(effects) == 1 or moved < 1e-12:
            return left
    raise ConvergenceError(
        f"the effects of units and times did not settle in {steps} sweeps: units and times hardly "
        "overlap. Remedy: drop the rows of units that share no time with others."
    )


def numbered(rows: Rows, name: str) -> np.ndarray:
    """Ids of the rows as numbers from 0 without gaps."""
    return np.unique(rows[name], return_inverse=True)[1].ravel()


def with_numbers(
    labeled: dict[str, Any], unlabeled: dict[str, Any], names: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both samples with ids (of any type) as numbers that agree.

    Raises:
        ArrayError: a column of ids is missing.
    """
    mine, other = dict(labeled), dict(unlabeled)
    for name in names:
        for what, rows in (("labeled", labeled), ("unlabeled", unlabeled)):
            if name not in rows:
                raise ArrayError(f"{what} lacks the column {name!r} with the {name} of each row.")
        n, N = len(labeled[name]), len(unlabeled[name])
        for what, rows, size in (("labeled", labeled, n), ("unlabeled", unlabeled, N)):
            as_ids(f"{what}[{name!r}]", rows[name], size)
        pair = (np.asarray(labeled[name]), np.asarray(unlabeled[name]))
        mine[name], other[name] = shared_numbers(name, pair, n, N)
    return mine, other


def _within_fit(where: str, rows: Rows, weights: np.ndarray) -> Fitted:
    x, y = column_of(rows, "x", where, ndim=2), column_of(rows, "y", where)
    effects = [numbered(rows, name) for name in ("unit", "time") if name in rows]
    both = within(np.column_stack([y, x]), effects, weights)
    y, scale, x = both[:, 0], np.abs(x).max(axis=0), both[:, 1:]
    still = np.abs(x).max(axis=0) <= 1e-10 * scale
    if still.any():
        raise ConvergenceError(
            f"panel ({where}): column {int(np.argmax(still))} of x does not vary within units (or "
            "times), so that its coefficient is not seen; leave it out."
        )
    J = (x.T * weights) @ x
    check_identified(J, f"panel ({where})")
    theta = np.linalg.solve(J, (x.T * weights) @ y)
    return Fitted(theta, np.linalg.solve(J, (x * (y - x @ theta)[:, None]).T).T)


def swept(
    labeled: dict[str, Any], unlabeled: dict[str, Any], effects: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """Both samples with ``x`` freed of effects over all rows together, and the first ids.

    The transform is a projection, so that scores ``x (y - x' theta)`` need it on one side only.
    """
    mine, other = with_numbers(labeled, unlabeled, effects)
    both = [np.asarray(rows["x"], float) for rows in (mine, other)]
    n = len(both[0])
    ids = [np.unique(np.concatenate([mine[e], other[e]]), return_inverse=True)[1] for e in effects]
    x = within(np.concatenate(both), ids, np.ones(n + len(both[1])))
    units = mine[effects[0]], other[effects[0]]
    for name in effects:
        del mine[name], other[name]
    return {**mine, "x": x[:n]}, {**other, "x": x[n:]}, units


def by_unit(labeled: dict[str, Any], unlabeled: dict[str, Any], options: Shared) -> Shared:
    """Keywords with units as clusters, unless clusters are declared."""
    if Settings.of(options).declared.clusters is not None:
        return options
    return {**options, "groups": (labeled["unit"], unlabeled["unit"])}


def panel(
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    **options: Unpack[Shared],
) -> Result:
    """Regression with effects of units (and times) from few labelled and many predicted units.

    Every sample is freed of its effects by the within transform; three such fits are combined by
    their influence functions as in `ptd`. Standard errors are robust to any dependence within
    units. Whole units are meant to be labelled.

    Args:
        labeled: ``x`` (n, d) regressors that vary within units (no column of ones), ``y`` (n,),
            ``unit`` (n,) and, for effects of times, too, ``time`` (n,): ids of any type.
        proxies: the predicted columns on labelled rows, outcomes or regressors.
        unlabeled: all columns (N, ...), predictions put in.
        tune: the weight, as in `ptd`; None takes the labelled rows alone.

    All other arguments and errors are those of `ptd`.

    Raises:
        ConvergenceError: a regressor that does not vary within units.

    Source: the within estimator with clustered errors (Arellano, 1987).
    """
    ids = ("unit", "time") if "time" in labeled else ("unit",)
    mine, other = with_numbers(labeled, unlabeled, ids)
    return debias(
        _within_fit,
        mine,
        proxies,
        other,
        by_unit(mine, other, options),
        estimand="fixed-effects regression",
        need=5,
    )
