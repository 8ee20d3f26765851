"""The evidence of several islands, with an error from their spread and their ancestry."""

from __future__ import annotations

import numpy as np

from probinf.core.estimate import Estimate, log_mean_exp


def pooled_evidence(
    log_z: np.ndarray, weights: np.ndarray, eves: np.ndarray, resamplings: np.ndarray
) -> Estimate:
    """Mean of the islands' evidences; the error pools their spread with their genealogies.

    Args:
        log_z: (islands,) log evidence of each; -inf for an island that died.
        weights: (islands, n) weights of the final particles, summing to one in each.
        eves: (islands, n) index of each particle's first ancestor.
        resamplings: (islands,) how often each was resampled with multinomial noise. Low-noise
            schemes (systematic, stratified, residual) count as 0: the variance that the
            estimator takes off for the noise of resampling is not there.

    Source of the genealogical variance: Lee & Whiteley (2018), eq. 10.
    """
    islands, n = weights.shape
    spread = log_mean_exp(log_z)
    ancestral = []
    for w, eve, times in zip(weights, eves, resamplings.tolist(), strict=True):
        shares = np.bincount(eve, weights=w, minlength=n)
        ancestral.append(1 - (n / (n - 1)) ** (times + 1) * (1 - np.sum(shares**2)))
    genealogy = max(float(np.mean(ancestral)), 0.0) / islands
    variance = genealogy if islands == 1 else (spread.error**2 + genealogy) / 2
    return Estimate(spread.value, float(np.sqrt(variance)))


def evidence_of_few(log_z: np.ndarray) -> Estimate:
    """Mean of few islands, with an error under which z-scores have variance one.

    The spread of few islands is itself uncertain: errors in units of it follow Student's t with
    ``islands - 1`` degrees of freedom, whose variance is taken into the error. Below four islands
    it has none, and the error is that of four: too small for the tails.

    Args:
        log_z: (islands,) log evidence of each.
    """
    found = log_mean_exp(log_z)
    islands = max(log_z.size, 4)
    return Estimate(found.value, found.error * float(np.sqrt((islands - 1) / (islands - 3))))
