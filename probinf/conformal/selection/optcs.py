"""OptCS: choose among models with the same data that calibrate, and keep the FDR."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from probinf.conformal.calibration.columns import columns_of
from probinf.conformal.calibration.randomness import uniforms
from probinf.conformal.selection.learners import joint_out_of_fold
from probinf.conformal.selection.prune import prune_candidates
from probinf.conformal.selection.pvalues import Selection, benjamini_hochberg, selection_pvalues
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.keys import as_key
from probinf.core.program import Key
from probinf.errors import ArrayError


def auxiliary_sizes(v_cal: ArrayLike, v_test: ArrayLike, *, q: Number) -> np.ndarray:
    """For every test point j, how many BH would select were j's p-value 0 and j counted as null.

    O((n + m) log n) for all j together: with test scores in order, point l below j passes iff
    b_l / (n + 1) <= q (l + 1) / m and point l above j iff (b_l + 1) / (n + 1) <= q l / m, so that
    prefix and suffix maxima of the passing positions answer every j.

    Args:
        v_cal: (n,) labelled scores.
        v_test: (m,) test scores.
        q: false discovery rate.

    Source: Bai & Jin (2024), equation 9, computed by sorting.
    """
    v = np.sort(np.asarray(as_float("v_cal", v_cal, ndim=1), float))
    t = np.asarray(as_float("v_test", v_test, ndim=1), float)
    n, m, level = v.size, t.size, float(q)
    order = np.argsort(t, kind="stable")
    ordered = t[order]
    b = np.searchsorted(v, ordered, "right")
    position = np.arange(1, m + 1)
    slack = 1e-12 * m * (n + 1)
    below = b * m <= level * (position + 1) * (n + 1) + slack
    above = (b + 1) * m <= level * position * (n + 1) + slack
    prefix = np.maximum.accumulate(np.where(below, position + 1, 1))
    suffix = np.maximum.accumulate(np.where(above, position, 1)[::-1])[::-1]
    # among equal scores every other one counts j's own score: j is taken as the first of them
    first = np.searchsorted(ordered, ordered, "left")
    left = np.where(first > 0, prefix[first - 1], 1)
    right = np.where(first + 1 < m, suffix[np.minimum(first + 1, m - 1)], 1)
    sizes = np.empty(m, int)
    sizes[order] = np.maximum(left, right)
    return sizes


def untied(key: int | Key, v: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all scores (K, n) and (K, m), ties broken at random for all n + m points alike."""
    n, m = v.shape[1], t.shape[1]
    apart = np.asarray(uniforms(key, n + m))
    both = np.concatenate([v, t], axis=1)
    ranks = np.empty(both.shape)
    for row, scores in zip(ranks, both, strict=True):
        row[np.lexsort((apart, scores))] = np.arange(n + m)
    return ranks[:, :n], ranks[:, n:]


def optcs(
    key: int | Key,
    v_cal: ArrayLike,
    v_test: ArrayLike,
    *,
    q: Number,
    prune: str = "homo",
    beta: Number = 1.0,
) -> Selection:
    """Select with the best of K models per test point, false discovery rate at most q.

    Picking the model with the most selections and reusing the calibration data ("naive") breaks
    the guarantee. Here every test point chooses its model by a rule that treats it like the
    labelled points.

    Args:
        key: random key or seed of the pruning, of ties between models and of tied scores.
        v_cal: (K, n) scores of labelled points under each model; :func:`clipped_scores`.
        v_test: (K, m) scores of test points at their thresholds.
        q: false discovery rate.
        prune: ``"homo"`` (most powerful as a rule), ``"hete"``, or ``"dtm"`` (no randomness).
        beta: factor in (0, 1] on the auxiliary sizes.

    Raises:
        ArrayError: NaN or shapes that differ.

    Source: Bai & Jin (2024), OptCS-MSel.
    """
    v = np.asarray(as_float("v_cal", v_cal, ndim=2), float)
    t = np.asarray(as_float("v_test", v_test, ndim=2, size=len(v)), float)
    level = fraction("q", q)
    if not 0 < beta <= 1:
        raise ArrayError(f"beta must lie in (0, 1], got {beta}.")
    v, t = untied(jax.random.fold_in(as_key(key), 2), v, t)
    sizes = np.stack([auxiliary_sizes(a, b, q=level) for a, b in zip(v, t, strict=True)])
    p = np.stack([selection_pvalues(a, b) for a, b in zip(v, t, strict=True)])
    m = t.shape[1]
    u = uniforms(key, m + 1 + sizes.size)
    model = np.argmax(sizes + 0.5 * u[m + 1 :].reshape(sizes.shape), axis=0)
    columns = np.arange(m)
    chosen = p[model, columns]
    kept, e = prune_candidates(
        jax.random.fold_in(as_key(key), 1),
        chosen,
        sizes[model, columns],
        q=level,
        beta=float(beta),
        prune=prune,
    )
    promise = f"FDR <= {q:g}, labelled and test points exchangeable, models fitted elsewhere"
    return Selection(kept, chosen, promise, e, model)


def joint_leave_one_out(
    X: ArrayLike,
    large: ArrayLike,
    X_test: ArrayLike,
    *,
    ridges: ArrayLike = (1.0,),
    scores_scale: Number = 1000.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores for OptCS-Full without a split: labelled and test points fitted together.

    Ridge regression of the binary label "outcome above its threshold" (0 for all test points),
    every point predicted by the fit without it, in closed form. All n + m points are treated
    alike under the null, so plain BH is valid with one ridge and :func:`optcs` chooses among
    several.

    Args:
        X: (n, d) covariates.
        large: (n,) booleans y > c.
        X_test: (m, d).
        ridges: (K,) penalties.
        scores_scale: M in ``M 1{y > c} - mu``.

    Returns:
        (K, n) and (K, m) scores.

    Source: Bai & Jin (2024), OptCS-Full and OptCS-Full-MSel.
    """
    same_index(X=X, large=large)
    x = np.asarray(as_float("X", X, ndim=2), float)
    t = np.asarray(as_float("X_test", X_test, ndim=2), float)
    label = np.asarray(large).astype(bool)
    if label.shape != (len(x),):
        raise ArrayError(f"large must hold {len(x)} booleans, got shape {label.shape}.")
    both = np.vstack([x, t])
    units = columns_of(both)
    both = np.column_stack([units(both), np.ones(len(both))])
    target = np.append(label, np.zeros(len(t)))
    cal, test = [], []
    for ridge in np.atleast_1d(np.asarray(as_float("ridges", ridges), float)):
        if not ridge >= 0:
            raise ArrayError(f"ridges must be at least 0, got {ridge:g}.")
        penalty = np.diag(np.append(np.sqrt(ridge) / units.scale, 0.0))
        _, sizes, turn = np.linalg.svd(np.linalg.qr(np.vstack([both, penalty]), mode="r"))
        used = sizes > 1e-11 * sizes[0]
        half = both @ (turn[used].T / sizes[used])  # the hat matrix is half half'
        leverage = (half**2).sum(axis=1)
        left_out = half @ (half.T @ target) - leverage * target
        left_out /= np.maximum(1 - leverage, 1e-12)
        cal.append(np.where(label, float(scores_scale), 0.0) - left_out[: len(x)])
        test.append(-left_out[len(x) :])
    return np.stack(cal), np.stack(test)


def optcs_full(
    key: int | Key,
    X: Any,
    large: ArrayLike,
    X_test: Any,
    *,
    q: Number,
    ridges: ArrayLike = (1.0,),
    learner: Any = None,
    folds: int = 10,
    prune: str = "homo",
) -> Selection:
    """Selection without a split: fitting, model choice and calibration on the same points.

    With one ridge or learner this is BH on joint out-of-sample scores; with several, OptCS chooses.

    Args:
        learner: scikit-learn estimators or functions in place of ridge regressions, one or a list;
            see :func:`joint_out_of_fold`. By default ridge regression, left out in closed form.
        folds: of the learners' cross-fitting.

    All others as in :func:`joint_leave_one_out` and :func:`optcs`.
    """
    if learner is None:
        v, t = joint_leave_one_out(X, large, X_test, ridges=ridges)
    else:
        v, t = joint_out_of_fold(
            jax.random.fold_in(as_key(key), 3), X, large, X_test, learner, folds=folds
        )
    if len(v) > 1:
        return optcs(key, v, t, q=q, prune=prune)
    v, t = untied(jax.random.fold_in(as_key(key), 2), v, t)
    p = selection_pvalues(v[0], t[0])
    promise = f"FDR <= {q:g}, labelled and test points exchangeable; no split"
    return Selection(benjamini_hochberg(p, q=q), p, promise)
