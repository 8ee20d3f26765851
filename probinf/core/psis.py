"""Pareto-smoothed importance sampling: can these weights be trusted?"""

from __future__ import annotations

import numpy as np

from probinf.errors import ArrayError

_ROUNDING = 1e-4
"""Nats by which log weights of single precision may differ where they are equal."""


def _fit_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto law; ``excess`` sorted and positive.

    Source: Zhang & Stephens (2009), with the weak prior of Vehtari et al. (2024), appendix.
    """
    n = excess.size
    m = 30 + int(np.sqrt(n))
    quarter = excess[int(n / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quarter)
    shape = -np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    profile = n * (np.log(theta / shape) + shape - 1)
    with np.errstate(over="ignore"):  # a point that is far from the best has no weight
        weight = 1 / np.exp(profile - profile[:, None]).sum(axis=1)
    best = np.sum(theta * weight)
    k = np.mean(np.log1p(-best * excess))
    sigma = -k / best
    return (n * k + 10 * 0.5) / (n + 10), sigma


def psis(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log weights and the Pareto shape k of their upper tail.

    Args:
        log_weights: (n,) unnormalised; -inf allowed, NaN not.

    Returns:
        Smoothed log weights that sum to one (as weights), and k: below 0.7 importance
        estimates are reliable; +inf when fewer than five weights make a tail.

    Raises:
        ArrayError: a weight is NaN.

    Source: Vehtari, Simpson, Gelman, Yao & Gabry (2024).
    """
    log_w = np.asarray(log_weights, float).ravel()
    if np.isnan(log_w).any():
        raise ArrayError("psis: log_weights contain NaN; count and remove them first.")
    finite = np.isfinite(log_w)
    n = log_w.size
    if not finite.any():
        return np.full(n, -np.log(n)), np.inf
    smoothed = log_w - log_w.max()
    k = np.inf
    tail = int(np.ceil(min(n / 5, 3 * np.sqrt(n))))
    order = np.argsort(smoothed)
    if tail >= 5 and finite.sum() > tail:
        top = order[-tail:]
        cutoff = max(smoothed[order[-tail - 1]], np.log(np.finfo(float).tiny))
        excess = np.exp(smoothed[top]) - np.exp(cutoff)
        if excess[-1] <= 0 or np.ptp(smoothed[top]) <= _ROUNDING:
            k = -np.inf  # a flat tail: every weight in it is the same, but for rounding
        elif (excess > 0).sum() >= 5:
            # weights that tie with the cutoff, as rounded ones do, are not in the tail
            top, excess = top[excess > 0], excess[excess > 0]
            k, sigma = _fit_pareto(excess)
            p = (np.arange(top.size) + 0.5) / top.size
            if abs(k) < 1e-12:
                quantiles = -sigma * np.log1p(-p)
            else:
                with np.errstate(over="ignore"):  # beyond the largest weight, cut to it below
                    quantiles = sigma * np.expm1(-k * np.log1p(-p)) / k
            smoothed[top] = np.minimum(np.log(quantiles + np.exp(cutoff)), 0.0)
    total = np.log(np.exp(smoothed).sum())
    return smoothed - total, float(k)


def pareto_k(log_weights: np.ndarray) -> float:
    """Pareto shape of the upper tail of the weights; below 0.7 they can be trusted."""
    return psis(log_weights)[1]
