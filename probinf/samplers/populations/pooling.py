"""The evidence of several islands, with an error from their spread and their lines of descent."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc

from probinf.core.estimate import Estimate, log_mean_exp

_BEYOND = 1e-3  # chance of a spread so large, below which the islands' own variances are not it


def pooled_evidence(log_z: np.ndarray, variances: np.ndarray, fourths: np.ndarray) -> Estimate:
    """Mean of the islands' evidences, with the error of :func:`pooled_error`.

    Args:
        log_z: (islands,) log evidence of each; -inf for an island that died.
        variances: (islands,) variance of each, a sum of squares; NaN where it is not known.
        fourths: (islands,) sum of the fourth powers.
    """
    found = log_mean_exp(log_z)
    if not np.isfinite(found.value):
        return found
    weights = np.exp(log_z - found.value) / log_z.size
    return Estimate(found.value, pooled_error(found.error, weights, variances, fourths))


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


def evidence_of_few(log_z: np.ndarray) -> Estimate:
    """Mean of few islands, with an error under which z-scores have variance one.

    The spread of few islands is itself uncertain: errors in units of it follow Student's t with
    ``islands - 1`` degrees of freedom, whose variance is taken into the error. Below four islands
    it has none, and the error is that of four: too small for the tails.

    Args:
        log_z: (islands,) log evidence of each.
    """
    found = log_mean_exp(log_z)
    return Estimate(found.value, found.error * _widening(float(log_z.size - 1)))


def _widening(freedom: float) -> float:
    """Standard deviation of Student's t; that of three degrees of freedom for fewer."""
    freedom = max(freedom, 3.0)
    return float(np.sqrt(freedom / (freedom - 2)))
