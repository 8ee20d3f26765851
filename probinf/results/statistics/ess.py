"""Effective sample size of Markov chains: bulk, tail and mean."""

from __future__ import annotations

import numpy as np

from probinf.results.statistics.rhat import rank_normalise, split_chains


def _autocovariance(draws: np.ndarray) -> np.ndarray:
    """Biased autocovariance along axis 1, by FFT."""
    n = draws.shape[1]
    size = 1 << (2 * n - 1).bit_length()
    centred = draws - draws.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, size, axis=1)
    return np.fft.irfft(spectrum * spectrum.conj(), size, axis=1)[:, :n] / n


def _ess(draws: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence over chains, for (chain, draw, k)."""
    chains, n = draws.shape[:2]
    covariance = _autocovariance(draws)
    within = covariance[:, 0].mean(axis=0) * n / (n - 1)
    plus = within * (n - 1) / n
    if chains > 1:
        plus = plus + draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance.mean(axis=0) * n / (n - 1)) / plus
    rho[0] = 1.0
    pairs = n // 2
    sums = rho[0 : 2 * pairs : 2] + rho[1 : 2 * pairs : 2]
    # keep pairs up to the first non-positive one, and make them non-increasing
    kept = np.cumprod(sums > 0, axis=0).astype(bool)
    monotone = np.minimum.accumulate(np.where(kept, sums, np.inf), axis=0)
    total = np.where(kept, monotone, 0.0).sum(axis=0)
    first_out = np.minimum(kept.sum(axis=0), pairs - 1)
    next_even = np.take_along_axis(rho[0 : 2 * pairs : 2], first_out[None], axis=0)[0]
    tau = -1 + 2 * total + np.where(kept.all(axis=0), 0.0, np.maximum(next_even, 0.0))
    tau = np.maximum(tau, 1 / np.log10(chains * n))
    fine = np.isfinite(draws).all(axis=(0, 1)) & (np.ptp(draws, axis=(0, 1)) > 0)
    return np.where(fine, chains * n / tau, np.nan)


def _over_entries(draws: np.ndarray) -> tuple[np.ndarray, tuple]:
    """Split chains as (chain, draw, entry), and the shape of the entries."""
    draws = np.asarray(draws, float)
    halves = split_chains(draws)
    return halves.reshape(*halves.shape[:2], -1), draws.shape[2:]


def ess_mean(draws: np.ndarray) -> np.ndarray:
    """Effective sample size for the mean, without rank normalisation.

    Args:
        draws: (chain, draw, ...).

    Returns:
        (...); NaN where draws are constant or not finite.

    Source: Vehtari et al. (2021), eq. 10-13.
    """
    halves, shape = _over_entries(draws)
    return _ess(halves).reshape(shape)


def ess_bulk(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the bulk, on rank-normalised split chains.

    Args:
        draws: (chain, draw, ...).

    Returns:
        (...); NaN where draws are constant or not finite.

    Source: Vehtari et al. (2021), section 4.
    """
    halves, shape = _over_entries(draws)
    fine = np.isfinite(halves).all(axis=(0, 1))
    scores = rank_normalise(np.where(fine, halves, 0.0))
    return np.where(fine, _ess(scores), np.nan).reshape(shape)


def ess_tail(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the tails: the smaller one at the 5 % and 95 % quantiles.

    Args:
        draws: (chain, draw, ...).

    Returns:
        (...); NaN where draws are constant or not finite.

    Source: Vehtari et al. (2021), section 4.
    """
    halves, shape = _over_entries(draws)
    low, high = np.quantile(halves, [0.05, 0.95], axis=(0, 1))
    tails = np.minimum(_ess((halves <= low).astype(float)), _ess((halves <= high).astype(float)))
    return np.where(np.isfinite(halves).all(axis=(0, 1)), tails, np.nan).reshape(shape)
