"""Guarantees within groups: Mondrian, class-conditional and clustered calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.calibration.scores import uniforms
from probinf.conformal.scores.classification import LabelScore
from probinf.conformal.sets.intervals import LabelSet, check_columns, warn_infinite
from probinf.core.inputs.arrays import ArrayLike
from probinf.core.inputs.classes import as_labels, as_probabilities
from probinf.core.inputs.levels import Level, as_levels
from probinf.core.program import Key
from probinf.errors import ArrayError


def _groups(name: str, values: Any, size: int | None = None) -> np.ndarray:
    groups = np.asarray(values)
    if groups.ndim != 1:
        raise ArrayError(f"{name} must be a vector of group names, got shape {groups.shape}.")
    unknown = groups.dtype.kind == "O" and any(g is None for g in groups)
    if unknown or (groups.dtype.kind == "f" and np.isnan(groups).any()):
        raise ArrayError(
            f"{name} has NaN or None; give points of unknown group a name of their own."
        )
    if size is not None and groups.size != size:
        raise ArrayError(f"{name} must have {size} entries, got {groups.size}.")
    return groups


def group_thresholds(scores: Any, groups_cal: Any, groups_test: Any, alpha: Level) -> np.ndarray:
    """Thresholds (m, A) of each test point's own group, +inf for groups never calibrated."""
    values = np.asarray(scores)
    known, index = np.unique(_groups("groups_cal", groups_cal, values.size), return_inverse=True)
    test = _groups("groups_test", groups_test)
    levels = as_levels(alpha)
    table = np.full((known.size + 1, len(levels)), np.inf)  # the last row: unknown groups
    order = np.argsort(index, kind="stable")
    for g, part in enumerate(np.split(values[order], np.cumsum(np.bincount(index))[:-1])):
        table[g] = order_stat(part, upper_rank(part.size, levels))
    if not known.size:
        return np.full((test.size, len(levels)), np.inf)
    place = np.searchsorted(known, test)
    place[place == known.size] = 0
    return table[np.where(known[place] == test, place, known.size)]


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
    from probinf.conformal.calibration.split import _tie_breakers, label_set

    p = as_probabilities("pred_cal", pred_cal)
    classes = p.shape[1]
    y = np.asarray(as_labels("y_cal", y_cal, classes, size=p.shape[0]))
    check_columns("pred_test", as_probabilities("pred_test", pred_test), classes)
    u_cal, u_test = _tie_breakers(score, p, pred_test, key)
    scores = score(p, y, u_cal)
    which = np.arange(classes) if clusters is None else _groups("clusters", clusters, classes)
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

    Source: Ding et al. (2023), section 2.2.
    """
    values = np.asarray(scores, float)
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
