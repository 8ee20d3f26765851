"""The evidence of several islands, with an error from their spread and their lines of descent."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc

from probinf.core.estimate import Estimate, log_mean_exp

_BEYOND = 1e-3  # chance of a spread so large, below which the islands' own variances are not it
_UNEVEN = 0.02  # squared gains as uneven as those of this share of all lines; .04 to .4 are usual


def pooled_evidence(
    log_z: np.ndarray,
    variances: np.ndarray,
    fourths: np.ndarray,
    lines: int = 0,
    *,
    uneven: bool = False,
) -> Estimate:
    """Mean of the islands' evidences, with the error of :func:`pooled_error`.

    Where few lines make up the variances (:func:`worth_in_lines`), these say too little: the
    larger of both errors counts then, with the degrees of freedom of the islands.

    Args:
        log_z: (islands,) log evidence of each; -inf for an island that died.
        variances: (islands,) variance of each, a sum of squares; NaN where it is not known.
        fourths: (islands,) sum of the fourth powers.
        lines: of descent in an island; 0 where that is not looked at.
        uneven: whether it is known already that few lines make up the variances.
    """
    found = log_mean_exp(log_z)
    if not np.isfinite(found.value):
        return found
    weights = np.exp(log_z - found.value) / log_z.size
    error = pooled_error(found.error, weights, variances, fourths)
    if uneven or is_uneven(log_z, variances, fourths, lines):
        within = float(np.sqrt(np.sum(weights**2 * variances)))
        larger = float(np.fmax(found.error, within)) * _widening(float(log_z.size - 1))
        error = max(error, larger)
    return Estimate(found.value, error)


def worth_in_lines(log_z: np.ndarray, variances: np.ndarray, fourths: np.ndarray) -> float:
    """How many lines of descent with normal gains have sums of squares as uncertain.

    The lesser of what holds for the islands together, each with its share of the evidence, and of
    the median island. (Degrees of freedom, Satterthwaite.)

    Args:
        log_z: (islands,) log evidence of each; -inf for an island that died.
        variances: (islands,) sums of squared gains; NaN where not known.
        fourths: (islands,) sums of their fourth powers.

    Returns:
        NaN where nothing is known.
    """
    some = np.isfinite(variances) & (fourths > 0) & np.isfinite(log_z)
    if not some.any():
        return float("nan")
    v, f = variances[some], fourths[some]
    w = np.exp(log_z[some] - log_z[some].max())
    together = 2 * np.sum(w**2 * v) ** 2 / np.sum(w**4 * f)
    return float(min(together, np.median(2 * v**2 / f)))


def is_uneven(log_z: np.ndarray, variances: np.ndarray, fourths: np.ndarray, lines: int) -> bool:
    """Whether a few of so many lines make up the islands' variances.

    A few particles have then found what gains much weight, a neck or a thin mode. Islands that
    have not found it are too low and, knowing nothing of it, too sure.
    """
    return worth_in_lines(log_z, variances, fourths) < _UNEVEN * lines


def pooled_error(
    spread: float, weights: np.ndarray, variances: np.ndarray, fourths: np.ndarray
) -> float:
    """Error of a log mean over islands under which z-scores have variance one.

    Two estimates of the variance, from the spread of the islands and from within them, count by
    their degrees of freedom; the error is widened for how many there are in all. Where the
    islands lie further apart than they know (in different modes, say) their spread alone counts.

    Args:
        spread: standard error from the spread of the islands; NaN for a single one.
        weights: (islands,) share of each in the mean.
        variances: (islands,) relative variance of each, a sum of squares; NaN: not known.
        fourths: (islands,) sum of the fourth powers.
    """
    free = weights.size - 1
    within = float(np.sum(weights**2 * variances))
    if not np.isfinite(within):
        return spread * _widening(float(free))
    if within == 0:
        return 0.0 if free == 0 else spread * _widening(float(free))
    # a sum of squares of normal numbers with unequal variances (Satterthwaite)
    own = 2 * within**2 / float(np.sum(weights**4 * fourths))
    if free == 0:
        return float(np.sqrt(within)) * _widening(own)
    if fdtrc(free, own, spread**2 / within) < _BEYOND:
        return spread * _widening(float(free))
    variance = (free * spread**2 + own * within) / (free + own)
    return float(np.sqrt(variance)) * _widening(free + own)


def _widening(freedom: float) -> float:
    """Standard deviation of Student's t; that of three degrees of freedom for fewer."""
    freedom = max(freedom, 3.0)
    return float(np.sqrt(freedom / (freedom - 2)))
