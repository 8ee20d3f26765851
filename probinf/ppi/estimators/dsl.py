"""DSL: design-based supervised learning, with cross-fitted outcome models and repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas, same_index, same_rows
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, MethodError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.crossfit import as_features, cross_fit
from probinf.ppi.estimators.dsl_result import DSLResult, LabelErrors
from probinf.ppi.estimators.estimate import find_root
from probinf.ppi.estimators.panel import swept
from probinf.ppi.estimators.ptd import model_of
from probinf.ppi.inference.checks import check_counts, positive
from probinf.ppi.inference.columns import same_columns
from probinf.ppi.inference.conclude import Root, conclude, make_options
from probinf.ppi.inference.moments import jacobian
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import check_rows, like_columns, make_data, parameter_names
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.sums import sum_by


def dsl(
    loss: str | Callable[[Any, Any], Any],
    labeled: dict[str, Any],
    unlabeled: dict[str, Any],
    features: Any,
    features_unlabeled: Any,
    *,
    predicted: tuple[str, ...] | list[str] = ("y",),
    fixed_effects: tuple[str, ...] | list[str] = (),
    learner: Any = None,
    folds: int = 5,
    repeats: int = 10,
    key: Any = 0,
    init: Any = None,
    is_score: bool = False,
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    design: Design | None = None,
    **sampling: Unpack[Sampling],
) -> DSLResult:
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
        fixed_effects: columns of ids (``"unit"``, ``"time"``) in both samples whose effects are
            swept out of all rows; least squares of a predicted outcome only. Errors are clustered
            by the first, unless clusters are declared.
        learner: as in `cross_fit`.
        folds: of the cross-fitting.
        repeats: random splits, combined by medians.
        key: seed or key of the splits.
        design: how rows were sampled; ``propensity`` (n,) is rescaled to add up, folds keep
            ``clusters`` together, and there are no weights or strata.

    All other arguments and errors are those of `estimate`. The result also says how many labels a
    standard error or a power would take, see `DSLResult`.

    Source: Egami, Hinck, Stewart & Wei (2023, NeurIPS; 2024), estimator and variance; split
    medians after Chernozhukov et al. (2018), definition 3.3.
    """
    declared = declare(design, sampling, among=("propensity", "clusters", "finite_population"))
    unlabeled = like_columns(labeled, "unlabeled", unlabeled)
    if fixed_effects:
        if loss != "gaussian" or tuple(predicted) != ("y",):
            raise MethodError(
                f"fixed_effects serve least squares of a predicted outcome; got loss={loss!r} and "
                f"predicted={tuple(predicted)}. Remedy: loss='gaussian', predicted=('y',)."
            )
        labeled, unlabeled, units = swept(labeled, unlabeled, tuple(fixed_effects))
        if declared.clusters is None:
            declared = dataclasses.replace(declared, clusters=units)
    mine, other = check_rows("labeled", labeled), check_rows("unlabeled", unlabeled)
    same_index(**{f"labeled[{k!r}]": a for k, a in labeled.items()}, features=features)
    same_index(
        **{f"unlabeled[{k!r}]": a for k, a in unlabeled.items()}, features=features_unlabeled
    )
    features_unlabeled = same_columns(
        "features", features, "features_unlabeled", features_unlabeled
    )
    unknown = [name for name in predicted if name not in mine]
    missing = [name for name in mine if name not in other and name not in predicted]
    if unknown or missing:
        lacking = {"labeled": unknown, "unlabeled": missing}
        told = [f"{where} lacks {', '.join(names)}" for where, names in lacking.items() if names]
        raise ArrayError(
            f"{' and '.join(told)}; predicted= names the columns that only labelled rows have."
        )
    at_least(1, repeats=repeats)
    W, Wu = as_features("features", features), as_features("features_unlabeled", features_unlabeled)
    n, N = W.shape[0], Wu.shape[0]
    same_rows(features=range(n), labeled=next(iter(mine.values())))
    same_rows(features_unlabeled=range(N), unlabeled=next(iter(other.values())))
    model, start, labels = model_of(loss, init, mine, is_score)
    d = len(start)
    check_counts(n, N, d + 2, f"{d} parameter(s)")
    if declared.propensity is not None:
        p = positive("propensity", declared.propensity, n)
        # sum of 1 / pi estimates the number of rows; rescaled, it is that number
        scaled = np.minimum(p * (1 / np.maximum(p, 1e-300)).sum() / (n + N), 1.0)
        declared = dataclasses.replace(declared, propensity=scaled)
    scheme = resolve(declared, n, N, (next(iter(labeled.values())), features_unlabeled))
    # A weight of one in the merged form is N / (n + N) in the two-sample form.
    weight = 1.0 if scheme.joint else N / (n + N)
    options = make_options("ppi++", weight, False, alpha, alternative, True, d)
    cluster = None if scheme.clusters is None else scheme.clusters[0]
    rng = as_generator(key)
    results, errors = [], []
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
        data = make_data(floats, (proxied,), ({k: rest[k] for k in mine},), scheme)
        root = find_root(model, data, start, scheme, options, what="dsl")
        start = root.theta
        errors.append(_label_errors(root, scheme))
        results.append(
            conclude(
                root,
                scheme,
                options,
                estimand=f"{loss} regression" if isinstance(loss, str) else "M-estimate",
                names=parameter_names(labels, labeled.get("x")),
                notes=[],
                pandas=is_pandas(labeled.get("x")),
                spent=d,
                tuning=0,
                method=f"DSL, {repeats} split(s)",
            )
        )
    return _median(results, errors)


def _label_errors(root: Root, scheme: Scheme) -> LabelErrors:
    """Prediction errors of the units that were labelled, as they enter the estimate."""
    mine, proxied, _ = root.rows()
    back = -np.linalg.inv(jacobian(root.parts, root.M)).T
    rows = scheme.alpha[:, None] * (mine - proxied) @ back
    chance = 1 / (scheme.alpha * (scheme.n + scheme.N))
    size, factor = np.ones(scheme.n), scheme.factors(len(root.theta), 0)[0]
    pair = scheme.clusters
    if pair is not None and not np.isin(*pair).any():  # clusters were labelled, not rows of them
        ids = np.unique(pair[0], return_inverse=True)[1]
        size = np.bincount(ids).astype(float)
        rows, chance = sum_by(rows, ids), np.bincount(ids, chance) / size
        factor *= len(size) / (len(size) - 1)
    if not scheme.joint:  # their number is fixed
        rows = rows - rows.mean(axis=0)
    return LabelErrors(rows, chance, size, factor)


def _median(results: list[Result], errors: list[LabelErrors]) -> DSLResult:
    """Medians of estimates and of covariances that include the spread over splits."""
    thetas = np.array([r.theta for r in results])
    theta = np.median(thetas, axis=0)
    spread = [np.outer(t - theta, t - theta) for t in thetas]
    cov = np.median([r.cov + s for r, s in zip(results, spread, strict=True)], axis=0)
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    cov = (vectors * np.maximum(values, 1e-12 * values.max())) @ vectors.T
    k = int(np.argmin(((thetas - theta) ** 2).sum(axis=1)))
    fields = {field.name: getattr(results[k], field.name) for field in dataclasses.fields(Result)}
    notes = tuple(note for note in results[k].notes if "wider" not in note)
    fields |= {"theta": theta, "cov": cov, "notes": notes}
    return DSLResult(**fields, label_errors=errors[k])
