"""DSL: design-based supervised learning, with cross-fitted outcome models and repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from probinf.core.inputs.columns import (
    Number,
    check_counts,
    check_level,
    is_pandas,
    numeric,
    positive,
    same_rows,
)
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, MethodError
from probinf.ppi.designs.design import make_design
from probinf.ppi.estimators.crossfit import cross_fit
from probinf.ppi.estimators.estimate import find_root
from probinf.ppi.estimators.ptd import model_of
from probinf.ppi.inference.conclude import conclude, make_options
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import check_rows, make_data


def dsl(
    loss: str | Callable[[Any, Any], Any],
    labeled: dict[str, Any],
    unlabeled: dict[str, Any],
    features: Any,
    features_unlabeled: Any,
    *,
    predicted: tuple[str, ...] | list[str] = ("y",),
    propensity: Any = None,
    learner: Any = None,
    folds: int = 5,
    repeats: int = 10,
    key: Any = 0,
    init: Any = None,
    is_score: bool = False,
    alpha: Number = 0.05,
    alternative: str = "two-sided",
    groups: Any = None,
    finite_population: bool = False,
) -> Result:
    """Design-based supervised learning: regress on design-adjusted predictions.

    The moment of a row is ``m(predicted) + R / pi * (m(true) - m(predicted))``: labelling
    probabilities pi that are known by design make it unbiased however bad the predictions are.
    Predictions are cross-fitted on the labelled rows from the features, which hold the
    surrogate labels (of a language model, say).

    Args:
        loss: name of a family (rows then hold ``x`` and ``y``), or ``loss(theta, row)``.
        labeled: dictionary of true columns (n, ...).
        unlabeled: dictionary (N, ...) of the columns that need no expert.
        features: (n, p) surrogate labels and whatever else predicts the missing columns.
        features_unlabeled: (N, p).
        predicted: columns that unlabelled rows lack; outcomes or regressors.
        propensity: (n,) known probabilities with which the labelled rows were labelled; they are
            rescaled to add up. A simple random sample if left out.
        learner: as in `cross_fit`.
        folds: of the cross-fitting.
        repeats: random splits, combined by medians.
        key: seed or key of the splits.
        groups: pair of cluster labels; folds keep clusters together.
        finite_population: the target is the fit to these very rows, all labelled.

    All other arguments and errors are those of `estimate`.

    Source: Egami, Hinck, Stewart & Wei (2023, NeurIPS; 2024), estimator and variance; split
    medians after Chernozhukov et al. (2018), definition 3.3.
    """
    mine, other = check_rows("labeled", labeled), check_rows("unlabeled", unlabeled)
    unknown = [name for name in predicted if name not in mine]
    missing = [name for name in mine if name not in other and name not in predicted]
    if unknown or missing:
        raise ArrayError(
            f"labeled lacks {unknown} and unlabeled lacks {missing}; predicted= names the columns "
            "that only labelled rows have."
        )
    if repeats < 1:
        raise MethodError(f"repeats={repeats}; at least one split is needed.")
    W = numeric("features", features, ndim=(1, 2))
    Wu = numeric("features_unlabeled", features_unlabeled, ndim=(1, 2))
    W, Wu = W.reshape(len(W), -1), Wu.reshape(len(Wu), -1)
    n = same_rows(features=W, labeled=next(iter(mine.values())))
    N = same_rows(features_unlabeled=Wu, unlabeled=next(iter(other.values())))
    model, start, labels = model_of(loss, init, mine, is_score)
    d = len(start)
    check_counts(n, N, max(d + 2, folds), f"{d} parameter(s)")
    if propensity is not None:
        p = positive("propensity", propensity, n)
        # sum of 1 / pi estimates the number of rows; rescaled, it is that number
        propensity = np.minimum(p * (1 / np.maximum(p, 1e-300)).sum() / (n + N), 1.0)
    design = make_design(
        n, N, propensity=propensity, groups=groups, finite_population=finite_population
    )
    # A weight of one in the merged form is N / (n + N) in the two-sample form.
    weight = 1.0 if design.joint else N / (n + N)
    options = make_options("ppi++", weight, False, check_level(alpha), alternative, True, d)
    cluster = None if design.clusters is None else design.clusters[0]
    x = labeled.get("x")
    if x is not None and is_pandas(x) and x.ndim == 2 and x.shape[1] == d:
        labels = tuple(str(c) for c in x.columns)
    rng = as_generator(key)
    results = []
    for _ in range(repeats):
        seed = int(rng.integers(2**31))
        proxied, rest = dict(mine), {k: other[k] for k in mine if k in other}
        for name in predicted:
            target = mine[name].astype(float)
            if target.ndim > 2:
                raise ArrayError(f"predicted column {name!r} has {target.ndim} dimensions.")
            found = cross_fit(learner, W, target, Wu, folds=folds, key=seed, groups=cluster)
            proxied[name], rest[name] = found.f, found.f_unlabeled
        floats = {k: mine[k].astype(float) if k in predicted else mine[k] for k in mine}
        data = make_data(floats, (proxied,), ({k: rest[k] for k in mine},), design)
        root = find_root(model, data, start, design, options, what="dsl")
        start = root.theta
        results.append(
            conclude(
                root,
                design,
                options,
                estimand=f"{loss} regression" if isinstance(loss, str) else "M-estimate",
                names=labels,
                notes=[],
                pandas=x is not None and is_pandas(x),
                spent=d,
                method=f"DSL, {repeats} split(s)",
            )
        )
    return _median(results)


def _median(results: list[Result]) -> Result:
    """Medians of estimates and of covariances that include the spread over splits."""
    thetas = np.array([r.theta for r in results])
    theta = np.median(thetas, axis=0)
    spread = [np.outer(t - theta, t - theta) for t in thetas]
    cov = np.median([r.cov + s for r, s in zip(results, spread, strict=True)], axis=0)
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    cov = (vectors * np.maximum(values, 1e-12 * values.max())) @ vectors.T
    nearest = results[int(np.argmin(((thetas - theta) ** 2).sum(axis=1)))]
    notes = tuple(note for note in nearest.notes if "wider" not in note)
    return dataclasses.replace(nearest, theta=theta, cov=cov, notes=notes)
