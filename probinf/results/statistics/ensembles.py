"""Effective sizes and R-hat of ensembles, whose walkers are not independent chains."""

from __future__ import annotations

import numpy as np

from probinf.results.statistics.ess import ess_mean
from probinf.results.statistics.nested_rhat import nested_rhat_of
from probinf.results.statistics.rhat import rank_normalise


def ensemble_ess_mean(draws: np.ndarray, ensembles: int) -> np.ndarray:
    """Effective sample size for the mean: from the mean over walkers as one series per ensemble.

    What the walkers of one ensemble have in common, at one step or later, is in the variance of
    that series. Walkers that know nothing of each other give the sum of their effective sizes.

    Args:
        draws: (walker, draw, ...), walkers ordered by ensemble.
        ensembles: independent ones, of equal size.

    Returns:
        (...); NaN where draws are constant or not finite.

    Source: Goodman & Weare (2010), section 3.
    """
    draws = np.asarray(draws, float)
    series = draws.reshape(ensembles, -1, *draws.shape[1:]).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = draws.var(axis=(0, 1)) / series.var(axis=(0, 1))
        return np.asarray(ess_mean(series) * ratio)


def ensemble_ess_bulk(draws: np.ndarray, ensembles: int) -> np.ndarray:
    """The same of the normal scores of ranks."""
    fine = np.isfinite(draws).all(axis=(0, 1))
    scores = rank_normalise(np.where(fine, draws, 0.0))
    return np.where(fine, ensemble_ess_mean(scores, ensembles), np.nan)


def ensemble_ess_tail(draws: np.ndarray, ensembles: int) -> np.ndarray:
    """The smaller one of those of the 5 % and the 95 % quantile."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=(0, 1))
    tails = [ensemble_ess_mean((draws <= bound).astype(float), ensembles) for bound in (low, high)]
    return np.where(np.isfinite(draws).all(axis=(0, 1)), np.fmin(*tails), np.nan)


def ensemble_rhat(draws: np.ndarray, ensembles: int) -> np.ndarray:
    """R-hat between the halves in time of the ensembles, on ranks.

    Source: Margossian et al. (2024), eq. 8-11, with half an ensemble's run as a superchain.
    """
    fine = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    scores = rank_normalise(np.where(fine, draws, 0.0))
    half = draws.shape[1] // 2
    parts = scores[:, -2 * half :].reshape(ensembles, -1, 2, half, *draws.shape[2:])
    parts = np.moveaxis(parts, 2, 1).reshape(-1, half, *draws.shape[2:])
    means, variances = parts.mean(axis=1), parts.var(axis=1, ddof=1)
    return np.where(fine, nested_rhat_of(means, variances, 2 * ensembles), np.nan)
