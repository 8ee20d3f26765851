"""Whole trajectories: series as units, all steps of the horizon covered at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.regression.multivariate import Box
from probinf.conformal.sets.reporting import check_test, too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.core.rounding import beyond
from probinf.errors import ArrayError, CalibrationError

SHAPES = ("narrow", "equal", "flat")


def trajectories(
    pred_cal: ArrayLike,
    y_cal: ArrayLike,
    pred_test: ArrayLike,
    *,
    alpha: Number = 0.1,
    shape: str = "narrow",
    residuals_fit: ArrayLike | None = None,
    fit_share: Number = 0.4,
    key: int | Key = 0,
) -> Box:
    """Bands that hold a series at all steps of the horizon, from other series.

    Series are the exchangeable units: patients, shops, countries, each with a forecast of the same
    number of steps. How wide the band is at each step is learned from some of them, and one factor
    for the whole band is calibrated on the others, so that coverage is that of split conformal:
    no Bonferroni correction over the steps, and no search on the series that calibrate.

    Args:
        pred_cal, y_cal: (n, H) forecasts and outcomes of the calibration series.
        pred_test: (m, H).
        alpha: probability that a series leaves its band at any step.
        shape: widths of the steps. ``"narrow"`` makes their sum least, given that ``1 - alpha``
            of the series stay inside (the copula of the steps, not their quantiles alone);
            ``"equal"`` gives every step the same quantile of its errors; ``"flat"`` the same width.
        residuals_fit: (n0, H) errors of other series that the shape is learned from, those that the
            forecaster was trained on, say. By default ``fit_share`` of the calibration series
            serve, in random order.
        fit_share: share of the calibration series that the shape is learned from.
        key: random key or seed of their choice.

    Returns:
        A box (m, H); ``contains`` asks for all steps.

    Raises:
        ArrayError: NaN, shapes that differ.
        CalibrationError: fewer than two series to learn the shape from, steps without any error.
        MethodError: an unknown shape.

    Source: Sun & Yu (2024), CopulaCPTS, with the copula's threshold calibrated apart from its
    shape; Stankevičiūtė, Alaa & van der Schaar (2021) for series as units; Diquigiovanni, Fontana &
    Vantini (2022) for the one factor.
    """
    same_index(pred_cal=pred_cal, y_cal=y_cal)
    check_choice("shape", shape, SHAPES)
    level = fraction("alpha", alpha)
    mu, y, at = (
        np.asarray(as_float(name, v, ndim=2), float)
        for name, v in (("pred_cal", pred_cal), ("y_cal", y_cal), ("pred_test", pred_test))
    )
    check_test("y_cal", len(y), len(mu))
    H = mu.shape[1]
    for name, value in (("y_cal", y), ("pred_test", at)):
        if value.shape[1] != H:
            raise ArrayError(
                f"{name} must have {H} columns, one per step, like pred_cal; got {value.shape}."
            )
    errors = abs(y - mu)
    if residuals_fit is not None:
        first = abs(np.asarray(as_float("residuals_fit", residuals_fit, ndim=2), float))
        if first.shape[1] != H:
            raise ArrayError(f"residuals_fit must have {H} columns, got {first.shape}.")
    elif shape == "flat":
        first = errors[:0]  # nothing to learn
    else:
        taken = math.floor(len(errors) * fraction("fit_share", fit_share))
        order = as_generator(key).permutation(len(errors))
        first, errors = errors[order[:taken]], errors[order[taken:]]
    widths = np.ones(H) if shape == "flat" else _widths(first, level, shape)
    q = float(order_stat((errors / widths).max(axis=1), upper_rank(len(errors), level)))
    warn_infinite(q, too_few(len(errors), level))
    promise = ">= 1-alpha for all steps jointly, exchangeable series"
    return Box(beyond(at, -q * widths, -1), beyond(at, q * widths, 1), level, promise)


def _widths(errors: np.ndarray, alpha: float, shape: str) -> np.ndarray:
    """(H,) half-widths that hold ``1 - alpha`` of these series at all steps."""
    n = len(errors)
    if n < 2:
        raise CalibrationError(
            f"the widths of the steps need at least 2 series to be learned from, got {n}; give "
            'residuals_fit, a larger fit_share, or shape="flat".'
        )
    empty = np.flatnonzero(errors.max(axis=0) == 0)
    if empty.size:
        raise CalibrationError(
            f"step {empty[0]} of the horizon has no error in any of the {n} series, so that its "
            "width would be zero; leave the step out."
        )
    outside = math.floor(alpha * n)
    if shape == "equal":
        return _equal(errors, outside)
    a, b = _narrow(errors, outside), _equal(errors, outside)
    return a if a.sum() < b.sum() else b


def _equal(errors: np.ndarray, outside: int) -> np.ndarray:
    """The least quantile that, taken at every step, leaves ``outside`` of the series out."""
    ranks = errors.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").max(axis=1)
    rank = np.sort(ranks)[len(errors) - 1 - outside]
    return _no_zero(np.sort(errors, axis=0)[rank], errors)


def _narrow(errors: np.ndarray, outside: int) -> np.ndarray:
    """Leave out, one after the other, the series whose step narrows most for each that goes.

    What a step saves is taken over all that may still go, not over the next alone: a cluster of
    large errors is worth its removal as a whole, however close its members are to one another.
    """
    kept, unit = errors, np.median(errors, axis=0)
    unit = np.where(unit > 0, unit, errors.max(axis=0))
    for left in range(outside, 0, -1):
        top = -np.sort(-kept, axis=0)[: left + 1]
        each = ((top[0] - top[1:]) / np.arange(1, len(top))[:, None]).max(axis=0) / unit
        saved = np.where(kept == top[0], each, 0.0).sum(axis=1)
        # a series that saves nothing today may hide one that saves much: break ties by its size
        size = (kept / unit).max(axis=1)
        worst = np.lexsort((size, saved))[-1]
        kept = np.delete(kept, worst, axis=0)
    return _no_zero(kept.max(axis=0), errors)


def _no_zero(widths: np.ndarray, errors: np.ndarray) -> Any:
    """Widths of zero, of steps that mostly have no error, become that of their least error."""
    least = np.where(errors > 0, errors, np.inf).min(axis=0)
    return np.where(widths > 0, widths, least)
