"""RePPI: recalibrate predictions into predictions of the score, by cross-fitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas, same_index, same_rows
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.crossfit import as_features, cross_fit
from probinf.ppi.estimators.estimate import single_fit
from probinf.ppi.estimators.ptd import model_of
from probinf.ppi.inference.checks import check_counts
from probinf.ppi.inference.columns import same_columns
from probinf.ppi.inference.conclude import Root, conclude, make_options
from probinf.ppi.inference.leverage import Labeled
from probinf.ppi.inference.moments import jacobian, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import check_rows, parameter_names


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
    design: Design | None = None,
    **sampling: Unpack[Sampling],
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
    declared = declare(design, sampling, among=("weights", "clusters", "strata"))
    mine = check_rows("labeled", labeled)
    same_index(**{f"labeled[{k!r}]": a for k, a in labeled.items()}, features=features)
    features_unlabeled = same_columns(
        "features", features, "features_unlabeled", features_unlabeled
    )
    model, start, labels = model_of(loss, init, mine, is_score)
    W, Wu = as_features("features", features), as_features("features_unlabeled", features_unlabeled)
    n, N, d = W.shape[0], Wu.shape[0], len(start)
    same_rows(features=range(n), labeled=next(iter(mine.values())))
    check_counts(n, N, d + 2, f"{d} parameter(s)")
    options = make_options("ppi++", "matrix", False, alpha, alternative, small_sample, d)
    scheme = resolve(declared, n, N, (next(iter(labeled.values())), features_unlabeled))
    theta, g, J, pull = single_fit(model, mine, scheme.alpha, start, "reppi (labelled rows)")
    cluster = None if scheme.clusters is None else scheme.clusters[0]
    columns = [
        cross_fit(learner, W, g[:, j], Wu, folds=folds, key=key, groups=cluster) for j in range(d)
    ]
    h = np.stack([c.f for c in columns], axis=1)
    u = np.stack([c.f_unlabeled for c in columns], axis=1)
    p = scheme.parts(g, h, u, J, np.zeros((d, d)))
    M = np.asarray(tuned(p, "matrix", clip=False))
    moved = theta - np.linalg.solve(jacobian(p, M), p.score + M @ p.control)
    return conclude(
        Root(moved, p, M, lambda: (g, h, u), lambda: Labeled(g, h, pull())),
        scheme,
        options,
        estimand=f"{loss} regression" if isinstance(loss, str) else "M-estimate",
        names=parameter_names(labels, labeled.get("x")),
        notes=[],
        pandas=is_pandas(labeled.get("x")),
        spent=2 * d,
        tuning=d,
        method="RePPI",
    )
