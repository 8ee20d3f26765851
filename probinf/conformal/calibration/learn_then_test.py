"""Learn then test: parameters whose risks are controlled, without any monotonicity."""

from __future__ import annotations

from typing import Any

import numpy as np

from probinf.conformal.calibration.risk import RiskControl, checked_losses, risk_pvalues
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, MethodError

CORRECTIONS = ("bonferroni", "holm", "fixed sequence", "graph")


def ltt(
    losses: ArrayLike | tuple[ArrayLike, ...],
    *,
    alpha: Number | tuple[Number, ...],
    delta: Number = 0.1,
    bound: Number | tuple[Number, ...] = 1.0,
    method: str = "hb",
    correction: str = "holm",
) -> RiskControl:
    """Learn then test: all parameters whose risk is at most alpha, jointly with error ``delta``.

    No monotonicity is needed. ``index`` is the safe parameter of least empirical risk (of the
    first risk); any other in ``valid`` may be chosen afterwards, by any criterion.

    Args:
        losses: (n, n_lambda); (n, d1, ..., dk) for a grid of k thresholds; a tuple of such arrays
            for several risks, all of which are to be controlled.
        alpha: the risk allowed, in the units of the loss; a tuple with one per risk.
        delta: probability that any declared parameter is unsafe.
        bound: largest possible loss, one for all risks or a tuple.
        method: ``"hb"`` or ``"wsr"``.
        correction: ``"bonferroni"``, ``"holm"``; ``"fixed sequence"``, which tests the columns
            from the last (most cautious) on and stops at the first that fails; or ``"graph"``,
            which starts where all thresholds are most cautious and hands on the error of each
            parameter that passes to its neighbours, one step bolder in one threshold. With one
            threshold the last two are the same.

    Raises:
        ArrayError: shapes or numbers of risks that differ, losses outside [0, bound], NaN.
        MethodError: an unknown method or correction; a fixed sequence of several thresholds.

    Source: Angelopoulos, Bates, Candès, Jordan & Lei (2022), theorem 1 and section 2.3; the graph
    after Bretz, Maurer, Brannath & Posch (2009), algorithm 1.
    """
    check_choice("correction", correction, CORRECTIONS)
    fraction("delta", delta)
    several = isinstance(losses, tuple | list) and isinstance(alpha, tuple | list)
    if not several and _arrays(losses):
        count = len(losses)  # type: ignore[arg-type]
        raise ArrayError(
            f"losses hold {count} arrays, one per risk, and alpha is one number: give alpha as a "
            f"tuple of {count}, or stack the points of one risk into one array."
        )
    if not several and isinstance(alpha, tuple | list):
        raise ArrayError(
            f"alpha holds {len(alpha)} values and losses are one array: give alpha as a tuple "
            "and losses as a tuple of arrays, one of each per risk, or one number alpha."
        )
    risks: Any = losses if several else (losses,)
    targets: Any = alpha if several else (alpha,)
    bounds: Any = bound if isinstance(bound, tuple | list) else (bound,) * len(risks)
    if not len(risks) == len(targets) == len(bounds):
        raise ArrayError(
            f"{len(risks)} arrays of losses, {len(targets)} alpha and {len(bounds)} bounds: give "
            "one of each per risk."
        )
    values = [
        checked_losses(x, b, ndim=tuple(range(2, 7))) / b
        for x, b in zip(risks, bounds, strict=True)
    ]
    shapes = {v.shape[1:] for v in values}
    if len(shapes) > 1:
        raise ArrayError(f"the risks are given for different parameters, {sorted(shapes)}.")
    grid = shapes.pop()
    if correction == "fixed sequence" and len(grid) > 1:
        raise MethodError(
            f"a fixed sequence needs one order of all parameters, and there are {len(grid)} "
            "thresholds; use correction='graph', which knows that each may be more cautious."
        )
    # a parameter is unsafe as soon as one of its risks is: the largest p-value counts
    p = np.max(
        [
            risk_pvalues(v.reshape(len(v), -1), a / b, method, delta)
            for v, a, b in zip(values, targets, bounds, strict=True)
        ],
        axis=0,
    )
    valid = _declared(p.reshape(grid), float(delta), correction)
    found = np.stack([v.mean(axis=0) * b for v, b in zip(values, bounds, strict=True)])
    index: Any = None
    if valid.any():
        best = int(np.argmin(np.where(valid, found[0], np.inf)))
        index = best if len(grid) == 1 else tuple(int(i) for i in np.unravel_index(best, grid))
    promise = f"all declared risks <= alpha with probability >= {1 - delta:g} (LTT), iid data"
    levels: Any = tuple(float(a) for a in targets) if several else float(targets[0])
    return RiskControl(index, found if several else found[0], valid, levels, promise)


def _arrays(losses: Any) -> bool:
    """Whether these are the losses of several risks, each an array, rather than rows of one."""
    if not isinstance(losses, tuple | list):
        return False
    if any(getattr(x, "ndim", 0) > 1 for x in losses):
        return True
    return isinstance(losses, tuple) and any(np.asarray(x, object).ndim > 1 for x in losses)


def _declared(p: np.ndarray, delta: float, correction: str) -> np.ndarray:
    """Hypotheses that are rejected with family-wise error ``delta``, like ``p``."""
    if correction == "bonferroni":
        return np.asarray(p <= delta / p.size)
    if correction == "holm":
        order = np.argsort(p, axis=None, kind="stable")
        passed = np.logical_and.accumulate(p.flat[order] <= delta / np.arange(p.size, 0, -1))
        valid = np.zeros(p.size, bool)
        valid[order] = passed
        return valid.reshape(p.shape)
    if correction == "fixed sequence":
        return np.asarray(np.logical_and.accumulate((p <= delta)[::-1])[::-1])
    return _graph(p, delta)


def _graph(p: np.ndarray, delta: float) -> np.ndarray:
    """Error that flows from the most cautious corner towards bolder parameters.

    Edges only lead to bolder parameters, so that a node gets all it ever will from those more
    cautious in every threshold: one pass in this order is the sequentially rejective procedure,
    with edges that are not redrawn, which can only lose error and hence keeps the level.
    """
    valid = np.zeros(p.shape, bool)
    budget = np.zeros(p.shape)
    budget[tuple(d - 1 for d in p.shape)] = delta
    for place in sorted(np.ndindex(*p.shape), key=sum, reverse=True):
        if p[place] > budget[place] or budget[place] == 0:
            continue
        valid[place] = True
        bolder = [
            (*place[:k], place[k] - 1, *place[k + 1 :]) for k in range(p.ndim) if place[k] > 0
        ]
        for other in bolder:
            budget[other] += budget[place] / len(bolder)
    return valid
