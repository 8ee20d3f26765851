"""Simulated errors of an estimate: the largest of several, and re-weighted influence values."""

from __future__ import annotations

import numpy as np

from probinf.ppi.inference.influence import Influence

KINDS = ("multiplier", "rademacher")
_MANY = 100_000  # rows beyond which a sum of weighted rows is as good as normal


def largest_quantile(
    cov: np.ndarray, df: float, level: float, rng: np.random.Generator, draws: int
) -> float:
    """Quantile of the largest absolute t statistic (d,) of errors with this covariance."""
    se = np.sqrt(np.diag(cov))
    safe = np.where(se > 0, se, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(safe, safe))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    noise = rng.normal(size=(draws, len(se))) @ root.T
    if np.isfinite(df):
        noise /= np.sqrt(rng.chisquare(df, size=draws) / df)[:, None]
    return np.quantile(np.abs(noise).max(axis=1), level)


def reweighted(
    influence: Influence,
    clusters: tuple[np.ndarray, np.ndarray] | None,
    kind: str,
    rng: np.random.Generator,
    draws: int,
) -> np.ndarray:
    """Errors (draws, d): sums of influence values times random weights, shared by a cluster."""
    blocks: list[np.ndarray] = list(influence)
    if clusters is not None:
        ids = np.unique(np.concatenate(clusters), return_inverse=True)[1]
        stacked = np.vstack(blocks)
        blocks = [np.stack([np.bincount(ids, c) for c in stacked.T], axis=1)]
    total = np.zeros((draws, blocks[0].shape[1]))
    for block in blocks:
        if len(block) > _MANY:
            total += rng.multivariate_normal(np.zeros(block.shape[1]), block.T @ block, draws)
            continue
        for start in range(0, draws, 256):
            size = (min(256, draws - start), len(block))
            weight: np.ndarray
            if kind == "multiplier":
                weight = rng.standard_exponential(size) - 1
            else:
                weight = rng.integers(0, 2, size) * 2.0 - 1
            total[start : start + size[0]] += weight @ block
    return total
