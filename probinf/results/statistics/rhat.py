"""Rank-normalised split R-hat."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def split_chains(draws: np.ndarray) -> np.ndarray:
    """Each chain cut in two halves, (chain, draw, ...) to (2 chain, draw // 2, ...)."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]], axis=0)


def rank_normalise(draws: np.ndarray) -> np.ndarray:
    """Normal scores of the pooled ranks (ties averaged), per trailing entry."""
    pooled = draws.reshape(-1, *draws.shape[2:])
    flat = pooled.reshape(pooled.shape[0], -1)
    ranks = np.empty(flat.shape)
    for j in range(flat.shape[1]):
        _, inverse, counts = np.unique(flat[:, j], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks[:, j] = (last - (counts - 1) / 2)[inverse]
    scores = ndtri((ranks - 0.375) / (flat.shape[0] + 0.25))
    return scores.reshape(draws.shape)


def _plain(draws: np.ndarray) -> np.ndarray:
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    between = n * draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between / within + n - 1) / n)


def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat, the larger of the bulk and the folded one.

    Args:
        draws: (chain, draw, ...), at least 4 draws.

    Returns:
        (...), near 1 when chains agree; NaN where draws are constant or not finite.

    Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), eq. 4 and section 4.
    """
    draws = np.asarray(draws, float)
    halves = split_chains(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    value = np.maximum(_plain(rank_normalise(halves)), _plain(rank_normalise(folded)))
    fine = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    return np.where(fine, value, np.nan)
