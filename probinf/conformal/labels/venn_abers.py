"""Venn-Abers: probabilities of a binary label with a calibration guarantee."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.classes import as_labels, as_probabilities
from probinf.core.inputs.frames import same_index
from probinf.errors import ArrayError


class VennAbers(NamedTuple):
    """Lower and upper probabilities that the label is 1; one of them is calibrated.

    Attributes:
        p0: (m,) isotonic fit if the test label were 0.
        p1: (m,) isotonic fit if the test label were 1; at least p0.
        p: (m,) the single probability that minimises the worst log loss.
    """

    p0: np.ndarray
    p1: np.ndarray
    p: np.ndarray


def _slopes(scores: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores, and the isotonic value at each when one point (score, 1) is added there.

    The value is a slope of the greatest convex minorant of the cumulative sums, in which the
    points to the left of the added one are shifted by (-1, -1). One stack serves all positions.
    """
    known, index = np.unique(scores, return_inverse=True)
    width = np.bincount(index).astype(float)
    x = [0.0, *np.cumsum(width).tolist()]
    h = [0.0, *np.cumsum(np.bincount(index, y)).tolist()]
    stack: list[tuple[float, float]] = []  # corners, the leftmost on top
    for point in [*zip(x[::-1], h[::-1], strict=True), (-1.0, -1.0)]:
        while len(stack) > 1 and not _convex(point, stack[-1], stack[-2]):
            stack.pop()
        stack.append(point)
    values = np.empty(known.size)
    for i in range(known.size):
        (x0, h0), (x1, h1) = stack[-1], stack[-2]
        values[i] = (h1 - h0) / (x1 - x0)
        moved = (x[i + 1] - 1, h[i + 1] - 1)  # this point now lies left of the added one
        if (moved[1] - h0) * (x1 - x0) >= (h1 - h0) * (moved[0] - x0):
            continue
        stack.pop()
        while len(stack) > 1 and not _convex(moved, stack[-1], stack[-2]):
            stack.pop()
        stack.append(moved)
    return known, values


def _convex(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) < (c[1] - b[1]) * (b[0] - a[0])


def _with_one(scores: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    known, values = _slopes(scores, y)
    return np.append(values, 1.0)[np.searchsorted(known, test, "left")]


def venn_abers(scores_cal: ArrayLike, y_cal: ArrayLike, scores_test: ArrayLike) -> VennAbers:
    """Inductive Venn-Abers prediction, O((n + m) log n).

    Args:
        scores_cal: (n,) scores of calibration points: higher for label 1, any scale.
        y_cal: (n,) labels 0 or 1.
        scores_test: (m,).

    Raises:
        ArrayError: NaN, labels other than 0 and 1, no calibration points.

    Source: Vovk, Petej & Fedorova (2015), algorithms 1 to 4.
    """
    same_index(scores_cal=scores_cal, y_cal=y_cal)
    s = np.asarray(as_float("scores_cal", scores_cal, ndim=1), float)
    y = np.asarray(as_labels("y_cal", y_cal, 2, size=s.size), float)
    t = np.asarray(as_float("scores_test", scores_test, ndim=1), float)
    if s.size == 0:
        raise ArrayError("scores_cal is empty: Venn-Abers needs calibration points.")
    p1 = _with_one(s, y, t)
    p0 = 1 - _with_one(-s, 1 - y, -t)
    return VennAbers(p0, p1, p1 / (1 - p0 + p1))


def venn_abers_multiclass(
    pred_cal: ArrayLike, y_cal: ArrayLike, pred_test: ArrayLike
) -> np.ndarray:
    """Calibrated probabilities (m, K) by Venn-Abers on every pair of labels.

    Args:
        pred_cal: (n, K) probabilities.
        y_cal: (n,) labels, every one present at least once.
        pred_test: (m, K).

    Source: Manokhin (2017), with the coupling of Price et al. (1994).
    """
    same_index(pred_cal=pred_cal, y_cal=y_cal)
    p, t = (np.asarray(as_probabilities("pred", v), float) for v in (pred_cal, pred_test))
    y = np.asarray(as_labels("y_cal", y_cal, p.shape[1], size=len(p)))
    classes = p.shape[1]
    if np.bincount(y, minlength=classes).min() == 0:
        raise ArrayError("y_cal lacks a label; Venn-Abers needs calibration points of every label.")
    inverse = np.full((len(t), classes), 2.0 - classes)
    for i in range(classes):
        for j in range(i + 1, classes):
            either = (y == i) | (y == j)
            ratio = [q[:, i] / np.maximum(q[:, i] + q[:, j], 1e-300) for q in (p[either], t)]
            r = venn_abers(ratio[0], (y[either] == i).astype(int), ratio[1]).p
            inverse[:, i] += 1 / np.maximum(r, 1e-12)
            inverse[:, j] += 1 / np.maximum(1 - r, 1e-12)
    found = 1 / inverse
    return np.asarray(found / found.sum(axis=1, keepdims=True))
