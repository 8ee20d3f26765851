"""Guarantees given the true label: class-conditional and clustered calibration."""

from __future__ import annotations

import numpy as np

from probinf.conformal.calibration.groups import group_thresholds
from probinf.conformal.calibration.randomness import uniforms
from probinf.conformal.calibration.split import label_set, tie_breakers
from probinf.conformal.scores.classification import LabelScore
from probinf.conformal.sets.labels import LabelSet
from probinf.conformal.sets.reporting import check_columns, warn_infinite
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.classes import as_labels, as_probabilities
from probinf.core.inputs.levels import Level, as_groups, as_levels
from probinf.core.program import Key
from probinf.errors import ArrayError


def class_conditional(
    score: LabelScore,
    pred_cal: ArrayLike,
    y_cal: ArrayLike,
    pred_test: ArrayLike,
    *,
    alpha: Level = 0.1,
    clusters: ArrayLike | None = None,
    key: int | Key | None = None,
    allow_empty: bool = True,
) -> LabelSet:
    """Label sets that cover with probability at least ``1 - alpha`` whatever the true label is.

    A label with too few calibration points belongs to every set. With ``clusters`` labels share
    calibration points, and the guarantee holds per cluster.

    Args:
        score: any score of labels.
        pred_cal: (n, K) probabilities.
        y_cal: (n,) labels.
        pred_test: (m, K) probabilities.
        alpha: miscoverage, scalar or (A,).
        clusters: (K,) integer cluster of each label, as :func:`cluster_labels` finds them from
            other data than ``pred_cal``.
        key: random key or seed for randomised scores.
        allow_empty: False adds the likeliest label to an empty set, which keeps the guarantee.

    Raises:
        ArrayError: labels outside 0..K-1, NaN, no key for a randomised score.

    Source: Vovk (2012); Ding et al. (2023), section 2.
    """
    p = as_probabilities("pred_cal", pred_cal)
    classes = p.shape[1]
    y = np.asarray(as_labels("y_cal", y_cal, classes, size=p.shape[0]))
    check_columns("pred_test", as_probabilities("pred_test", pred_test), classes)
    u_cal, u_test = tie_breakers(score, p, pred_test, key)
    scores = score(p, y, u_cal)
    which = np.arange(classes) if clusters is None else as_groups("clusters", clusters, classes)
    q = group_thresholds(scores, which[y], which, as_levels(alpha))
    warn_infinite(q, "their labels have too few calibration points for alpha; cluster the labels.")
    unit = "label" if clusters is None else "cluster of labels"
    promise = f">= 1-alpha given the true {unit}, exchangeable data within"
    return label_set(score, pred_test, u_test, q[None], alpha, promise, allow_empty)


def cluster_labels(
    scores: ArrayLike,
    y: ArrayLike,
    classes: int,
    *,
    clusters: int,
    rare: int = 20,
    key: int | Key = 0,
) -> np.ndarray:
    """Cluster labels whose scores are distributed alike, from data set aside for this.

    Each label is embedded by quantiles of its scores; weighted k-means groups the labels. Labels
    with fewer than ``rare`` points share one cluster of their own.

    Args:
        scores: (n,) scores of true labels.
        y: (n,) labels.
        classes: K.
        clusters: number of clusters of the other labels.
        rare: fewer points than this make a label rare.
        key: seed of the starting centres.

    Returns:
        (K,) cluster of each label; the rare labels' cluster is ``clusters``.

    Raises:
        ArrayError: NaN among the scores, labels outside 0..K-1, fewer than one cluster.

    Source: Ding et al. (2023), section 2.2.
    """
    values = np.asarray(as_float("scores", scores, ndim=1), float)
    labels = np.asarray(as_labels("y", y, classes, size=values.size))
    if clusters < 1:
        raise ArrayError(f"clusters must be at least 1, got {clusters}.")
    counts = np.bincount(labels, minlength=classes)
    usual = np.flatnonzero(counts >= rare)
    found = np.full(classes, clusters)
    if usual.size <= clusters:
        found[usual] = np.arange(usual.size)
        return found
    levels = [0.5, 0.6, 0.7, 0.8, 0.9]
    features = np.stack([np.quantile(values[labels == k], levels) for k in usual])
    found[usual] = _weighted_means(features, np.sqrt(counts[usual]), clusters, key)
    return found


def _weighted_means(
    x: np.ndarray, weights: np.ndarray, clusters: int, key: int | Key
) -> np.ndarray:
    """Lloyd's algorithm from spread-out starting points."""
    first = int(uniforms(key, 1)[0] * len(x))
    centres = x[[first]]
    for _ in range(clusters - 1):
        far = np.argmax(weights * ((x[:, None] - centres) ** 2).sum(2).min(1))
        centres = np.vstack([centres, x[far]])
    for _ in range(100):
        label = ((x[:, None] - centres) ** 2).sum(2).argmin(1)
        member = np.eye(clusters)[label] * weights[:, None]
        total = member.sum(0)[:, None]
        moved = np.where(total > 0, member.T @ x / np.where(total > 0, total, 1), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    return label
