"""Double machine learning with predictions: treatment effects, constant or not, and panels."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, ConvergenceError
from probinf.ppi.estimators.crossfit import cross_fit
from probinf.ppi.estimators.debiased import Fitted, Rows, Settings, Shared, column_of, debias
from probinf.ppi.estimators.learners import check_expectations, check_learner
from probinf.ppi.estimators.panel import by_unit, numbered, with_numbers, within
from probinf.ppi.inference.conclude import check_identified
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.sums import sum_by


def _residuals(
    learner: Any, x: np.ndarray, target: np.ndarray, groups: Any, folds: int, seed: int
) -> np.ndarray:
    """Target (rows,) less its cross-fitted prediction from x."""
    found = cross_fit(learner, x, target, x[:1], folds=folds, groups=groups, key=seed)
    return target - found.f


def _correlated(x: np.ndarray, d: np.ndarray, unit: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Controls with the unit means of controls and treatments beside them."""
    both = np.column_stack([x, d])
    total = np.bincount(unit, w)[:, None]
    return np.column_stack([x, (sum_by(w[:, None] * both, unit) / np.maximum(total, 1e-300))[unit]])


def _orthogonal(
    where: str,
    rows: Rows,
    weights: np.ndarray,
    learners: tuple[Any, Any],
    folds: int,
    seed: int,
    effects: str,
) -> Fitted:
    x, d = column_of(rows, "x", where, ndim=2), column_of(rows, "d", where, ndim=2)
    y, unit, v = column_of(rows, "y", where), None, None
    if "unit" in rows:
        unit = numbered(rows, "unit")
        if effects == "within":
            ids = [unit, *([numbered(rows, "time")] if "time" in rows else [])]
            free = within(np.column_stack([y, d, x]), ids, weights)
            y, d, x = free[:, 0], free[:, 1 : 1 + d.shape[1]], free[:, 1 + d.shape[1] :]
        elif effects == "correlated":
            x = _correlated(x, d, unit, weights)
    if "groups" in rows:
        unit = numbered(rows, "groups")
    if "v" in rows:
        v = column_of(rows, "v", where, ndim=2)
    check_expectations("learner", learners[0], y, f"y ({where})")
    for j, a in enumerate(d.T):
        check_expectations("learner_d", learners[1], a, f"treatment {j} ({where})")
    own = _residuals(learners[0], x, y, unit, folds, seed)
    left = [_residuals(learners[1], x, a, unit, folds, seed) for a in d.T]
    for j, (a, b) in enumerate(zip(left, d.T, strict=True)):
        if np.abs(a).max() <= 1e-10 * max(1.0, np.abs(b).max()):
            raise ConvergenceError(
                f"treatment {j} ({where}) is predicted without error by the controls: nothing of "
                "it is left to learn its effect from (no overlap)."
            )
    r = np.stack(left, axis=1)
    if v is not None:
        r = (r[:, :, None] * v[:, None, :]).reshape(len(r), -1)
    J = (r.T * weights) @ r
    check_identified(J, f"double machine learning ({where})")
    theta = np.linalg.solve(J, (r.T * weights) @ own)
    return Fitted(theta, np.linalg.solve(J, (r * (own - r @ theta)[:, None]).T).T)


def _as_treatment(rows: dict[str, Any], what: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in rows]
    if missing:
        raise ArrayError(f"{what} lacks {', '.join(missing)}; needed are {', '.join(names)}.")


def dml(
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    *,
    learner: Any = None,
    learner_d: Any = None,
    effects: str = "correlated",
    folds: int = 5,
    key: Any = 0,
    **options: Unpack[Shared],
) -> Result:
    """Effects of treatments in a partially linear model, by double machine learning.

    ``y = theta' d + g(x) + error``: outcome and treatments are freed of what cross-fitted learners
    predict of them from the controls, and the rests regressed. Done three times, for true
    labelled rows and for both samples as predicted, and combined as in `ptd`. With ``unit`` ids
    it is the estimator for panels: folds keep units together and errors are clustered by unit.

    Args:
        labeled: ``x`` (n, p) controls, ``d`` (n,) or (n, k) treatments, ``y`` (n,); ``unit`` (n,)
            and ``time`` (n,) ids for panels.
        proxies: the predicted columns on labelled rows.
        unlabeled: all columns (N, ...), predictions put in.
        learner: of the outcome, as in `cross_fit`: scikit-learn's, a function, None for `Ridge`.
        learner_d: of the treatments; ``learner`` by default. Of classifiers, for binary
            treatments say, the probabilities are used.
        effects: how units differ: ``"correlated"`` (random effects; learners also see the unit
            means of controls and treatments), ``"within"`` (unit and time effects are swept out
            before) or ``"none"``.
        folds: of the cross-fitting.
        key: seed or key of the folds.
        tune: the weight, as in `ptd`; None takes the labelled rows alone.

    All other arguments and errors are those of `ptd`.

    Raises:
        ConvergenceError: treatments that the controls predict without error.
        MethodError: what is no learner, classifiers without probabilities or of a target that is
            no class.
        ArrayError: a learner that fails on a fold.

    Source: Chernozhukov et al. (2018), partialling out; for panels Clarke & Polselli
    (arXiv 2409.01266).
    """
    check_choice("effects", effects, ("correlated", "within", "none"))
    for what, rows in (("labeled", labeled), ("unlabeled", unlabeled)):
        _as_treatment(rows, what, ("x", "d", "y"))
    seed = int(as_generator(key).integers(2**31))
    learners = (learner, learner if learner_d is None else learner_d)
    for name, one in zip(("learner", "learner_d"), learners, strict=True):
        check_learner(name, one)
    mine, other, more = labeled, unlabeled, options
    if "unit" in labeled:
        ids = ("unit", "time") if "time" in labeled else ("unit",)
        mine, other = with_numbers(labeled, unlabeled, ids)
        more = by_unit(mine, other, options)
    elif (groups := Settings.of(options).declared.clusters) is not None:
        pair = {"groups": groups[0]}, {"groups": groups[1]}
        numbers = with_numbers(*pair, ("groups",))
        mine, other = {**labeled, **numbers[0]}, {**unlabeled, **numbers[1]}

    def fit(where: str, rows: Rows, weights: np.ndarray) -> Fitted:
        return _orthogonal(where, rows, weights, learners, folds, seed, effects)

    return debias(
        fit,
        mine,
        proxies,
        other,
        more,
        estimand="effects by double machine learning",
        need=2 * folds,
        column="v" if "v" in labeled else "d",
    )


def rlearner(
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    **options: Any,
) -> Result:
    """Effects that differ by row, ``tau(v) = v' theta``, by the R-learner.

    Minimises the squares of ``y - m(x) - (d - e(x)) v' theta`` with cross-fitted m and e.
    Effects at chosen v are ``result.contrast(v)``, and their band ``.simultaneous()``.

    Args:
        labeled: as in `dml`, and ``v`` (n, q), what effects may depend on, with a column of ones.
            With several treatments (a unit's own and its neighbours', see `neighbour_mean`)
            each has its q coefficients in turn.

    All other arguments, errors and options are those of `dml`.

    Source: Nie & Wager (2021); with effects of neighbours in the last stage, without which it
    fails on networks, after arXiv 2511.13018.
    """
    for what, rows in (("labeled", labeled), ("unlabeled", unlabeled)):
        _as_treatment(rows, what, ("x", "d", "y", "v"))
    return dml(labeled, proxies, unlabeled, **options)


def neighbour_mean(edges: Any, values: Any) -> np.ndarray:
    """Mean over each row's neighbours of its values; zero for rows without any.

    Args:
        edges: (m, 2) pairs of row numbers, each pair counted in both directions.
        values: (rows,) or (rows, k), a treatment to be the exposure of neighbours, or controls.

    Raises:
        ArrayError: pairs that name rows that are not there.
    """
    pairs, columns = np.asarray(edges), np.asarray(values, float)
    rows = len(columns)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ArrayError(f"edges must be (m, 2) whole numbers; got shape {pairs.shape}.")
    if pairs.size and (pairs.min() < 0 or pairs.max() >= rows):
        raise ArrayError(
            f"edges name rows {pairs.min()} to {pairs.max()}, but there are {rows} (from 0)."
        )
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    table = columns.reshape(rows, -1)
    sums = sum_by(table[ends[:, 1]], ends[:, 0], rows)
    count = np.maximum(np.bincount(ends[:, 0], minlength=rows), 1)
    return (sums / count[:, None]).reshape(columns.shape)
