"""Sums of rows within strata and clusters, and what unequal weights cost."""

from __future__ import annotations

import numpy as np


def evenness(weights: np.ndarray) -> float:
    """Share of the rows that a variance with these weights rests on: 1 if they are equal."""
    if np.ptp(weights) == 0:
        return 1.0
    return float((weights**2).sum() ** 2 / (weights**4).sum() / len(weights))


def unbiased(weights: np.ndarray) -> float:
    """Factor that makes the variance around a weighted mean unbiased; n / (n - 1) if equal."""
    if np.ptp(weights) == 0:
        return len(weights) / (len(weights) - 1)
    w = weights / weights.sum()
    second = (w**2).sum()
    return float(second / (second - 2 * (w**3).sum() + second**2))


def centre(rows: np.ndarray, weights: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Subtract from each stratum its weighted mean, in proportion to the weights."""
    total = np.bincount(strata, weights)
    sums = sum_by(rows, strata, len(total))
    return rows - weights[:, None] * (sums / total[:, None])[strata]


def sum_by(rows: np.ndarray, ids: np.ndarray, size: int = 0) -> np.ndarray:
    """Sums of the rows by number."""
    columns = [np.bincount(ids, column, minlength=size) for column in rows.T]
    return np.stack(columns, axis=1)


def collapse(
    rows: np.ndarray, clusters: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster sums and the stratum of every cluster."""
    _, first, ids = np.unique(clusters, return_index=True, return_inverse=True)
    return sum_by(rows, ids), strata[first]


def within(rows: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Sum over strata of count / (count - 1) times the sum of squares."""
    count = np.bincount(strata)
    scale = np.sqrt(count / np.maximum(count - 1, 1))[strata][:, None]
    return (rows * scale).T @ (rows * scale)


def clusters_per(clusters: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Number of clusters in every stratum."""
    pairs = np.unique(np.stack([strata, clusters]), axis=1)
    return np.bincount(pairs[0])
