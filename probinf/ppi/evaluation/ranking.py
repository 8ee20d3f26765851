"""PRECISE: ranking metrics from few relevance judgements and a judge's probabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, LevelError, MethodError
from probinf.ppi.estimators.crossfit import folds_of
from probinf.ppi.estimators.mean import mean
from probinf.ppi.inference.checks import numeric, shares
from probinf.ppi.inference.columns import matching_columns, same_columns
from probinf.ppi.inference.result import Result

METRICS = ("precision", "success", "mrr", "dcg", "ap", "ndcg")
_LARGEST = 14


def metric_value(relevance: Any, metric: str) -> np.ndarray:
    """The metric of every query (rows,), from the relevance of its ranked documents.

    Args:
        relevance: (rows, K) of 0 and 1, best-ranked document first.
        metric: ``"precision"``, ``"success"`` (any relevant), ``"mrr"`` (reciprocal rank of the
            first relevant), ``"dcg"``, ``"ap"`` (average precision) or ``"ndcg"``; the last two
            are relative to the relevant documents among the K, and 0 where there is none.
    """
    check_choice("metric", metric, METRICS)
    r = numeric("relevance", relevance, ndim=(2,))
    if not np.isin(r, (0.0, 1.0)).all():
        raise LevelError("relevance must be 0 or 1.")
    return _value(r, metric)


def _value(r: np.ndarray, metric: str) -> np.ndarray:
    K = r.shape[-1]
    rank = np.arange(1, K + 1)
    count = r.sum(axis=-1)
    if metric == "precision":
        return count / K
    if metric == "success":
        return (count > 0).astype(float)
    if metric == "mrr":
        return np.where(count > 0, 1 / (1 + r.argmax(axis=-1)), 0.0)
    gain = 1 / np.log2(rank + 1)
    if metric == "dcg":
        return r @ gain
    if metric == "ndcg":
        ideal = np.concatenate([[1.0], np.cumsum(gain)])[count.astype(int)]
        return np.where(count > 0, r @ gain / ideal, 0.0)
    precision = np.cumsum(r, axis=-1) / rank
    return np.where(count > 0, (precision * r).sum(axis=-1) / np.maximum(count, 1), 0.0)


def expected_metric(p: Any, metric: str) -> np.ndarray:
    """Expected metric of every query (rows,) if documents are relevant independently.

    Closed forms for precision, success, reciprocal rank and DCG; the sum over all 2**K relevance
    patterns for average precision and nDCG.

    Args:
        p: (rows, K) probabilities of relevance, best-ranked document first.
        metric: as in `metric_value`.

    Raises:
        MethodError: more than 14 documents for a metric without closed form.

    Source: PRECISE (arXiv 2601.18777), section 3.
    """
    check_choice("metric", metric, METRICS)
    q = shares("p", p, ndim=(2,))
    none_before = np.cumprod(np.hstack([np.ones((len(q), 1)), 1 - q]), axis=1)
    if metric == "precision":
        return q.mean(axis=1)
    if metric == "success":
        return 1 - none_before[:, -1]
    rank = np.arange(1, q.shape[1] + 1)
    if metric == "mrr":
        return (q * none_before[:, :-1] / rank).sum(axis=1)
    if metric == "dcg":
        return q @ (1 / np.log2(rank + 1))
    return enumerated_metric(q, metric)


def enumerated_metric(p: Any, metric: str) -> np.ndarray:
    """`expected_metric` of any metric by summing over all 2**K relevance patterns."""
    check_choice("metric", metric, METRICS)
    q = shares("p", p, ndim=(2,))
    K = q.shape[1]
    if K > _LARGEST:
        raise MethodError(
            f"{metric} over K={K} documents needs 2**{K} patterns; cut the ranking to at most "
            f"{_LARGEST} documents, or use a metric with a closed form."
        )
    patterns = (np.arange(2**K)[:, None] >> np.arange(K)) & 1
    values = _value(patterns.astype(float), metric)
    total = np.zeros(len(q))
    for start in range(0, len(q), 512):  # bounds the memory of the patterns' probabilities
        block = q[start : start + 512]
        chance = np.ones((len(block), 2**K))
        for k in range(K):
            chance *= np.where(patterns[:, k] == 1, block[:, [k]], 1 - block[:, [k]])
        total[start : start + 512] = chance @ values
    return total


def calibrate(
    p: Any, relevance: Any, p_unlabeled: Any, *, folds: int = 5, key: Any = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A judge's probabilities made calibrated by isotonic regression, cross-fitted over queries.

    Cross-fitting keeps the probabilities of a labelled query independent of its own labels,
    which the intervals need. Uses scikit-learn (extra ``sklearn``).

    Args:
        p: (n, K) probabilities for labelled queries.
        relevance: (n, K) their labels.
        p_unlabeled: (N, K) probabilities for unlabelled queries.
        folds: of the cross-fitting.
        key: seed or key of the folds.
    """
    from sklearn.isotonic import IsotonicRegression

    same_index(p=p, relevance=relevance)
    relevance = matching_columns("p", p, "relevance", relevance)
    p_unlabeled = same_columns("p", p, "p_unlabeled", p_unlabeled)
    q, r, u = (
        shares("p", p, ndim=(2,)),
        numeric("relevance", relevance, ndim=(2,)),
        shares("p_unlabeled", p_unlabeled, ndim=(2,)),
    )
    n = same_rows(p=q, relevance=r)
    fold = folds_of(n, folds, as_generator(key))
    mine, theirs = np.zeros_like(q), np.zeros_like(u)
    for k in range(folds):
        train = fold != k
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(q[train].ravel(), r[train].ravel())
        mine[~train] = model.predict(q[~train].ravel()).reshape(-1, q.shape[1])
        theirs += model.predict(u.ravel()).reshape(u.shape) / folds
    return mine, theirs


def ranking(
    p_labeled: Any,
    relevance: Any,
    p_unlabeled: Any,
    *,
    metric: str = "precision",
    k: int | None = None,
    calibrated: bool = False,
    key: Any = 0,
    **options: Any,
) -> Result:
    """A ranking metric over all queries, from few judged by people and many by a judge.

    Args:
        p_labeled: (n, K) the judge's probabilities of relevance, best-ranked document first.
        relevance: (n, K) true relevance, 0 or 1.
        p_unlabeled: (N, K) the judge's probabilities for the other queries.
        metric: as in `metric_value`.
        k: use the first k documents; all K by default.
        calibrated: pass the probabilities through `calibrate` first.
        key: seed or key of the calibration's folds.
        options: those of `mean`.

    Source: PRECISE (arXiv 2601.18777); with the tuned weight of PPI++.
    """
    same_index(p_labeled=p_labeled, relevance=relevance)
    relevance = matching_columns("p_labeled", p_labeled, "relevance", relevance)
    p_unlabeled = same_columns("p_labeled", p_labeled, "p_unlabeled", p_unlabeled)
    p, u = shares("p_labeled", p_labeled, ndim=(2,)), shares("p_unlabeled", p_unlabeled, ndim=(2,))
    r = numeric("relevance", relevance, ndim=(2,))
    if p.shape != r.shape or u.shape[1] != p.shape[1]:
        raise ArrayError(
            f"p_labeled {p.shape}, relevance {r.shape} and p_unlabeled {u.shape} must agree: one "
            "row per query, one column per ranked document."
        )
    depth = p.shape[1] if k is None else k
    if not 1 <= depth <= p.shape[1]:
        raise LevelError(f"k={k}, but there are {p.shape[1]} documents per query.")
    p, r, u = p[:, :depth], r[:, :depth], u[:, :depth]
    truth = metric_value(r, metric)
    if calibrated:
        p, u = calibrate(p, r, u, key=key)

    found = mean(truth, expected_metric(p, metric), expected_metric(u, metric), **options)
    return dataclasses.replace(found, estimand=f"{metric}@{depth}", names=(f"{metric}@{depth}",))
