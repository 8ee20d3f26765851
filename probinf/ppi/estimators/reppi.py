"""RePPI: recalibrate predictions into predictions of the score, by cross-fitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from probinf.core.inputs.columns import Number, check_counts, is_pandas, numeric, same_rows
from probinf.ppi.designs.design import make_design
from probinf.ppi.estimators.crossfit import cross_fit
from probinf.ppi.estimators.estimate import single_fit
from probinf.ppi.estimators.ptd import model_of
from probinf.ppi.inference.conclude import Root, conclude, make_options
from probinf.ppi.inference.moments import jacobian, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import check_rows


def reppi(
    loss: str | Callable[[Any, Any], Any],
    labeled: dict[str, Any],
    features: Any,
    features_unlabeled: Any,
    *,
    learner: Any = None,
    folds: int = 5,
    key: Any = 0,
    init: Any = None,
    is_score: bool = False,
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool = True,
    weights: Any = None,
    groups: Any = None,
    strata: Any = None,
) -> Result:
    """Recalibrated PPI: a cross-fitted model of the score given all that is seen on every row.

    A distorted prediction (a rank, an uncalibrated probability, an embedding) still helps, since
    the learner maps it to what the estimating equation needs. If the learner is consistent, no
    regular estimator has a smaller variance; if it is not, the interval is still valid.

    Args:
        loss: name of a family (rows then hold ``x`` and ``y``), or ``loss(theta, row)``.
        labeled: dictionary of true columns (n, ...).
        features: (n, p) what is seen on every row: regressors, predictions, anything.
        features_unlabeled: (N, p) the same of the unlabelled rows.
        learner: as in `cross_fit`; has to predict several columns or is fitted per column.
        folds: of the cross-fitting.
        key: seed or key of the folds.

    All other arguments and errors are those of `estimate`. Standard errors treat the learner as
    given, which cross-fitting justifies.

    Source: RePPI (arXiv 2501.09731), algorithm 1.
    """
    mine = check_rows("labeled", labeled)
    model, start, labels = model_of(loss, init, mine, is_score)
    W = numeric("features", features, ndim=(1, 2))
    Wu = numeric("features_unlabeled", features_unlabeled, ndim=(1, 2))
    W, Wu = W.reshape(len(W), -1), Wu.reshape(len(Wu), -1)
    n, d = same_rows(features=W, labeled=next(iter(mine.values()))), len(start)
    check_counts(n, len(Wu), max(d + 2, folds), f"{d} parameter(s)")
    options = make_options("ppi++", "matrix", False, alpha, alternative, small_sample, d)
    design = make_design(n, len(Wu), weights=weights, groups=groups, strata=strata)
    theta, g, J = single_fit(model, mine, design.alpha, start, "reppi (labelled rows)")
    cluster = None if design.clusters is None else design.clusters[0]
    columns = [
        cross_fit(learner, W, g[:, j], Wu, folds=folds, key=key, groups=cluster) for j in range(d)
    ]
    h = np.stack([c.f for c in columns], axis=1)
    u = np.stack([c.f_unlabeled for c in columns], axis=1)
    p = design.parts(g, h, u, J, np.zeros((d, d)))
    M = np.asarray(tuned(p, "matrix", clip=False))
    moved = theta - np.linalg.solve(jacobian(p, M), p.score + M @ p.control)
    x = labeled.get("x")
    if x is not None and is_pandas(x) and x.ndim == 2 and x.shape[1] == d:
        labels = tuple(str(c) for c in x.columns)
    return conclude(
        Root(moved, p, M, lambda: (g, h, u)),
        design,
        options,
        estimand=f"{loss} regression" if isinstance(loss, str) else "M-estimate",
        names=labels,
        notes=[],
        pandas=x is not None and is_pandas(x),
        spent=2 * d,
        method="RePPI",
    )
