"""Summaries of weighted draws: quantiles, effective sizes, and errors that see ancestry."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def weights_of(log_weights: np.ndarray) -> np.ndarray:
    """Normalised weights; all -inf becomes uniform."""
    log_w = np.asarray(log_weights, float)
    top = log_w.max()
    if not np.isfinite(top):
        return np.full(log_w.shape, 1 / log_w.size)
    w = np.exp(log_w - top)
    return w / w.sum()


def counted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values of draws with weight zero set to 0: they may be NaN or infinite, and count nothing.

    Args:
        values: (n, ...).
        weights: (n,), non-negative.
    """
    alive = (np.asarray(weights) > 0).reshape(-1, *[1] * (np.ndim(values) - 1))
    return np.where(alive, values, np.zeros((), np.asarray(values).dtype))


def kish_ess(log_weights: np.ndarray) -> float:
    """Kish's effective sample size of a set of weights, ``1 / sum W**2``."""
    w = weights_of(log_weights)
    return float(1 / np.sum(w**2))


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    """The ``q`` quantile of weighted values: linear between the mid-points of the weight steps.

    Args:
        values: (n,).
        weights: (n,), non-negative, summing to one.
        q: in [0, 1].
    """
    values, weights = values[weights > 0], weights[weights > 0]
    order = np.argsort(values)
    w = weights[order]
    middle = np.cumsum(w) - w / 2
    return float(np.interp(q, middle, values[order]))


def shortest_interval(values: np.ndarray, weights: np.ndarray, prob: float) -> tuple[float, float]:
    """The shortest interval between two draws that holds a share ``prob`` of the weight.

    Args:
        values: (n,).
        weights: (n,), non-negative, summing to one.
        prob: in (0, 1).

    Source: Chen & Shao (1999).
    """
    values, weights = values[weights > 0], weights[weights > 0]
    order = np.argsort(values)
    x, total = values[order], np.cumsum(weights[order])
    before = total - weights[order]
    last = np.searchsorted(total, before + prob - 1e-12)
    first = np.flatnonzero(last < len(x))
    if not len(first):
        return float(x[0]), float(x[-1])
    best = first[np.argmin(x[last[first]] - x[first])]
    return float(x[best]), float(x[last[best]])


def normal_scores(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values (n, k) replaced by normal quantiles of their weighted ranks; ties share a rank."""
    scores = np.zeros(values.shape)
    for j in range(values.shape[1]):
        _, label = np.unique(values[:, j], return_inverse=True)
        mass = np.bincount(label.ravel(), weights)
        middle = np.cumsum(mass) - mass / 2
        scores[:, j] = ndtri(np.clip(middle, 1e-12, 1 - 1e-12))[label.ravel()]
    return scores


def chain_blocks(chains: int, draws: int) -> np.ndarray:
    """Labels (chain, draw) of at most 50 blocks per chain, nearly independent of each other."""
    within = np.arange(draws) // max(1, draws // 50)
    return within + (within.max() + 1) * np.arange(chains)[:, None]


def volume_error(
    values: np.ndarray, weights: np.ndarray, rank: np.ndarray, live: np.ndarray
) -> np.ndarray:
    """Standard error of a weighted mean of nested sampling, whose weights are uncertain.

    The weight of removal i is ``L_i t_1 ... t_(i-1) (1 - t_i)`` with unknown shrinkages
    ``t_j ~ Beta(n_j, 1)``. The error is the standard deviation of the mean over them, to first
    order: with ``g_i`` the deviation from the mean times the weight,
    ``sum_j (g_j - sum_(i > j) g_i / n_j)**2``. Its first part counts what a draw says about its
    own shell, its second what is not known of the volumes ahead.

    Args:
        values: (n, k).
        weights: (n,), non-negative, summing to one.
        rank: (n,) in the order of removal; some may be missing or there more than once, as
            after resampling.
        live: (n,) points alive at that removal, itself included.

    Returns:
        (k,) standard errors.

    Source: Skilling (2006) for the law of the shrinkages; Higson, Handley, Hobson & Lasenby
    (2018) for what such an error must contain.
    """
    order, first, label = np.unique(rank, return_index=True, return_inverse=True)
    own = np.zeros((order.size, values.shape[1]))
    np.add.at(own, label.ravel(), weights[:, None] * (values - weights @ values))
    onwards = np.cumsum(own[::-1], axis=0)[::-1]
    alive = np.asarray(live, float)[first][:, None]
    missing = np.diff(order, prepend=-1)[:, None] - 1
    here = (own - (onwards - own) / alive) ** 2
    return np.sqrt(np.sum(here + missing * (onwards / alive) ** 2, axis=0))


def cluster_error(values: np.ndarray, weights: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Standard error of a weighted mean whose draws are independent only between clusters.

    The linearised (sandwich) variance of a ratio of sums with one term per cluster. For
    importance draws every draw is its own cluster; for SMC particles a cluster is one
    surviving ancestor of one island.

    Args:
        values: (n, k).
        weights: (n,), non-negative, summing to one.
        clusters: (n,) integer labels.

    Returns:
        (k,) standard errors; +inf when there is a single cluster.
    """
    _, label = np.unique(clusters, return_inverse=True)
    groups = int(label.max()) + 1
    if groups < 2:
        return np.full(values.shape[1], np.inf)
    centred = weights[:, None] * (values - weights @ values)
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, label, centred)
    return np.sqrt(groups / (groups - 1) * np.sum(sums**2, axis=0))
