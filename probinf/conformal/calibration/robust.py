"""Sets that hold under bounded perturbations of the input, by randomized smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.sets.labels import LabelSet, make_labels
from probinf.conformal.sets.reporting import too_few, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Level, Number, as_float, as_levels, fraction
from probinf.errors import ArrayError


def clopper_pearson(
    successes: ArrayLike, trials: int, *, error: Number
) -> tuple[np.ndarray, np.ndarray]:
    """Exact two-sided limits of a probability, each end failing with probability ``error / 2``.

    Source: Clopper & Pearson (1934).
    """
    from scipy.stats import beta

    k = np.asarray(as_float("successes", successes), float)
    if trials < 1 or ((k < 0) | (k > trials)).any():
        raise ArrayError(f"successes must lie in 0..trials = {trials}, with trials at least 1.")
    e = fraction("error", error) / 2
    low = np.where(k > 0, beta.ppf(e, np.maximum(k, 1), trials - k + 1), 0.0)
    high = np.where(k < trials, beta.ppf(1 - e, k + 1, np.maximum(trials - k, 1)), 1.0)
    return low, high


def smoothed_bounds(
    low: ArrayLike, high: ArrayLike, *, distance: Number, noise: Number
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of a Gaussian-smoothed quantity in [0, 1] over all inputs within ``distance``.

    Args:
        low, high: limits of the mean over noise at the observed input.
        distance: Euclidean radius of the perturbations.
        noise: standard deviation of the smoothing noise.

    Source: Cohen, Rosenfeld & Kolter (2019), theorem 1.
    """
    from scipy.special import ndtr, ndtri

    a, b = np.asarray(as_float("low", low)), np.asarray(as_float("high", high))
    if min(a.min(initial=0), b.min(initial=0)) < 0 or max(a.max(initial=0), b.max(initial=0)) > 1:
        raise ArrayError("smoothed quantities must lie in [0, 1].")
    if not (noise > 0 and distance >= 0):
        raise ArrayError("noise must be positive and distance at least 0.")
    shift = float(distance) / float(noise)
    return np.asarray(ndtr(ndtri(a) - shift)), np.asarray(ndtr(ndtri(b) + shift))


def robust_split(
    scores_cal: ArrayLike,
    scores_test: ArrayLike,
    *,
    distance: Number,
    noise: Number,
    alpha: Level = 0.1,
    samples: int | None = None,
    error: Number = 0.001,
) -> LabelSet:
    """Label sets that cover although an adversary moves the test input by up to ``distance``.

    Both score arrays are means over Gaussian noise on the input of one score in [0, 1]. A smoothed
    score can fall by no more than the Lipschitz bound in Phi^-1; labels whose score could have
    been below the threshold stay. With ``samples``, the means are Monte Carlo averages of that
    many draws, and Hoeffding's limits with error probability ``error`` are paid from alpha.

    Args:
        scores_cal: (n,) smoothed scores of the true labels at clean calibration inputs.
        scores_test: (m, K) smoothed scores at the inputs as received.
        distance: Euclidean radius of the perturbation.
        noise: standard deviation of the smoothing.
        alpha: miscoverage, scalar or (A,).
        samples: draws behind each mean; None for exact means.
        error: probability per test point that a Monte Carlo limit fails.

    Source: Gendler, Weng, Daniel & Romano (2022); Yan, Romano & Weng (2024), with the correction.
    """
    s = np.asarray(as_float("scores_cal", scores_cal, ndim=1), float)
    t = np.asarray(as_float("scores_test", scores_test, ndim=2), float)
    if max(s.max(initial=0), t.max(initial=0)) > 1 or min(s.min(initial=0), t.min(initial=0)) < 0:
        raise ArrayError("smoothed scores must lie in [0, 1]; rescale a bounded score.")
    levels: list[Any] = as_levels(alpha)
    if samples is not None:
        slack = np.sqrt(np.log(1 / fraction("error", error)) / (2 * samples))
        s, t = np.minimum(s + slack, 1.0), np.maximum(t - slack, 0.0)
        # the calibration score of the test point itself and its score as received may fail
        levels = [a - 2 * error for a in levels]
        if min(levels) <= 0:
            raise ArrayError("error must be well below alpha / 2.")
    lowest, _ = smoothed_bounds(t, t, distance=distance, noise=noise)
    q = order_stat(s, upper_rank(s.size, levels))
    warn_infinite(q, too_few(s.size, levels))
    promise = f">= 1-alpha for every perturbation of Euclidean norm <= {distance:g}"
    return make_labels(lowest[:, :, None] <= q, alpha, promise)
