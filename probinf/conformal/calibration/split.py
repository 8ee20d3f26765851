"""Split conformal prediction: any score, any levels, groups, and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.calibrate import threshold
from probinf.conformal.calibration.groups import group_thresholds
from probinf.conformal.calibration.randomness import ROUGH, row_uniforms
from probinf.conformal.scores.classification import LabelScore
from probinf.conformal.scores.density import DensityScore
from probinf.conformal.scores.regression import RegressionScore
from probinf.conformal.sets.grids import GridSet
from probinf.conformal.sets.intervals import make_interval
from probinf.conformal.sets.labels import LabelSet, make_labels
from probinf.conformal.sets.reporting import (
    check_columns,
    check_test,
    static_alpha,
    too_few,
    warn_infinite,
)
from probinf.core.inputs.arrays import ArrayLike, is_traced, namespace
from probinf.core.inputs.classes import as_probabilities
from probinf.core.inputs.levels import Level, as_levels, is_single
from probinf.core.program import Key
from probinf.errors import ArrayError, MethodError

MARGINAL = ">= 1-alpha marginal, exchangeable data; <= 1-alpha+1/(n+1) without ties"
SHIFTED = ">= 1-alpha marginal, if the weights are the true likelihood ratios"
MONDRIAN = ">= 1-alpha within every group, exchangeable data within groups"


def split(
    score: RegressionScore | LabelScore | DensityScore,
    pred_cal: Any,
    y_cal: ArrayLike,
    pred_test: Any,
    *,
    alpha: Level = 0.1,
    groups_cal: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
    weights_cal: ArrayLike | None = None,
    weights_test: ArrayLike | None = None,
    key: int | Key | None = None,
    allow_empty: bool = True,
) -> Any:
    """Prediction sets that cover a new outcome with probability at least ``1 - alpha``.

    Args:
        score: ``Absolute()``, ``CQR()``, ``APS()``, ...
        pred_cal: predictions at n points that the model was not fitted to, in the form that the
            score asks for: mu (n,), a tuple of arrays, or probabilities (n, K).
        y_cal: their outcomes (n,), or labels 0..K-1.
        pred_test: predictions at m test points.
        alpha: miscoverage, scalar or (A,). Scores with two tails spend half on each.
        groups_cal, groups_test: (n,) and (m,) groups known before the outcome (Mondrian): the
            guarantee then holds within every group. A group without enough calibration points
            gets infinite sets.
        weights_cal, weights_test: (n,) and (m,) likelihood ratios of test law to calibration law
            (covariate shift), known up to one constant.
        key: random key or seed, needed by randomised scores. A test point's random number is made
            of the key and its prediction, so that it is the same alone and in a batch.
        allow_empty: False adds the likeliest label to an empty set, which keeps the guarantee.

    Returns:
        An :class:`Interval`; a :class:`LabelSet` for scores of labels; a :class:`GridSet` for
        scores of a predictive density.

    Raises:
        ArrayError: NaN, shapes that differ, groups or weights for one side only, no key.
        LevelError: alpha outside (0, 1).
        MethodError: ``score`` is not a score.

    Source: Vovk, Gammerman & Shafer (2005), sections 4.2 and 4.5; Tibshirani et al. (2019).
    """
    if not isinstance(score, RegressionScore | LabelScore | DensityScore):
        raise MethodError(f"score must be an object such as Absolute() or APS(), got {score!r}.")
    if (groups_cal is None) != (groups_test is None):
        raise ArrayError("groups_cal and groups_test go together: give both or neither.")
    if (weights_cal is None) != (weights_test is None):
        raise ArrayError("weights_cal and weights_test go together: give both or neither.")
    if groups_cal is not None and weights_cal is not None:
        raise ArrayError("groups and weights cannot be combined in one call; weight each group.")
    m = _rows(score, pred_test)
    if groups_test is not None:
        check_test("groups_test", np.size(groups_test), m)
    if weights_test is not None and np.ndim(weights_test):
        check_test("weights_test", np.size(weights_test), m)
    if isinstance(score, LabelScore):
        check_columns("pred_test", pred_test, np.shape(pred_cal)[-1])
    u_cal, u_test = tie_breakers(score, pred_cal, pred_test, key)
    scores = score(pred_cal, y_cal) if u_cal is None else score(pred_cal, y_cal, u_cal)  # type: ignore[call-arg]

    def thresholds(column: Any, level: Level) -> Any:
        """(1, A) or (m, A)."""
        if groups_cal is not None:
            return group_thresholds(column, groups_cal, groups_test, level)
        found = threshold(
            column,
            level,
            weights=weights_cal,
            test_weights=1.0 if weights_test is None else weights_test,
        )
        return found if np.ndim(found) == 2 else namespace(column).reshape(found, (1, -1))

    levels = as_levels(alpha)
    promise = MARGINAL if weights_cal is None else SHIFTED
    promise = promise if groups_cal is None else MONDRIAN
    if isinstance(score, DensityScore):
        q = thresholds(scores, levels)
        mask = score.on_grid(pred_test)[:, :, None] <= (q if q.ndim == 3 else q[:, None, :])
        mask = mask[:, :, 0] if is_single(alpha) else mask
        out: Any = GridSet(pred_test.grid, mask, None, static_alpha(alpha), promise)
    elif isinstance(score, LabelScore):
        q = thresholds(scores, levels)
        out = label_set(score, pred_test, u_test, q, alpha, promise, allow_empty)
    else:
        qs = [scores] if score.tails == 1 else [scores[:, 0], scores[:, 1]]
        shares = [a / score.tails for a in levels]
        found = [thresholds(column, shares) for column in qs]
        q = found[0] if score.tails == 1 else namespace(*found).stack(found)
        lower, upper = score.interval(pred_test, *found)
        out = make_interval(lower, upper, alpha, promise)
    if not is_traced(q):
        n, tails = scores.shape[0], getattr(score, "tails", 1)
        reason = too_few(n, [float(a) / tails for a in levels])
        if weights_cal is not None:
            reason = "the test points' weights are too large beside the calibration weights."
        elif groups_cal is not None:
            reason = "their groups have too few calibration points for alpha."
        warn_infinite(q, reason)
    return out


def _rows(score: Any, pred: Any) -> int:
    """Number of points that predictions are for."""
    parts = isinstance(score, RegressionScore) and isinstance(pred, tuple | list)
    return len(pred[0]) if parts and np.ndim(pred[0]) else len(pred)


def tie_breakers(score: Any, pred_cal: Any, pred_test: Any, key: int | Key | None) -> Any:
    """Uniform numbers (n,) and (m,) of a randomised score, None for others."""
    if not getattr(score, "randomised", False):
        return None, None
    if key is None:
        name = type(score).__name__
        raise ArrayError(f"{name} is randomised: pass key=, or use {name}(randomised=False).")
    cal = row_uniforms(key, pred_cal, salt=1, bits=ROUGH)
    return cal, row_uniforms(key, pred_test, bits=ROUGH)


def label_set(
    score: LabelScore,
    pred_test: Any,
    u_test: Any,
    q: Any,
    alpha: Level,
    promise: str,
    allow_empty: bool = True,
) -> LabelSet:
    """Labels whose score is at most the threshold q, (m or 1, A) or (m or 1, K, A)."""
    p = as_probabilities("pred_test", pred_test)
    scores = score.labels(p, u_test)[:, :, None]
    q = q if np.ndim(q) == 3 else q[:, None, :]
    mask = scores <= q
    if not allow_empty:
        best = (p == p.max(axis=1, keepdims=True))[:, :, None]
        mask = mask | (best & ~mask.any(axis=1, keepdims=True))
    return make_labels(mask, alpha, promise)
