"""Means, of one or several columns, and discrete distributions."""

from __future__ import annotations

import dataclasses
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas, same_index, same_rows
from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, MethodError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.skewed import unskewed
from probinf.ppi.inference.checks import check_counts, class_numbers, column, numeric, table
from probinf.ppi.inference.columns import class_columns, matching_columns, same_columns
from probinf.ppi.inference.conclude import Options, Root, conclude, make_options
from probinf.ppi.inference.moments import Tune, tuned
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.scheme import Scheme
from probinf.ppi.inference.suspicions import proxy_notes


def mean_root(
    y: np.ndarray, f: np.ndarray, fu: np.ndarray, scheme: Scheme, options: Options
) -> Root:
    """Root of the mean's equation: y (n, d), f (n, q), fu (N, q); q is a multiple of d."""
    d, q = y.shape[1], f.shape[1]
    eye = np.eye(d)
    slope = np.tile(eye, (q // d, 1)) * (scheme.beta.sum() - scheme.gamma.sum())

    def rows(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        repeated = np.tile(theta, q // d)
        return theta - y, repeated - f, repeated - fu

    start = scheme.alpha @ y / scheme.alpha.sum()
    total = eye * scheme.alpha.sum()
    p = scheme.parts(*rows(start), total, slope)
    rule = options.tune if q == d else "matrix"
    M = tuned(p, rule, clip=options.clip and q == d, pooled=options.pooled)
    theta = start - np.linalg.solve(total + M @ slope, p.score + M @ p.control)
    if scheme.joint:  # centred on the joint mean, the parts depend on theta
        p = scheme.parts(*rows(theta), total, slope)
    else:
        p = p._replace(score=p.score + total @ (theta - start))
    return Root(theta, p, M, lambda: rows(theta))


def named_like(y: Any, f: Any) -> tuple[str, Any]:
    """What names the columns of predictions: other predictions, else the outcomes."""
    return ("f", f) if is_pandas(f) else ("y", y)


def mean(
    y: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    method: str = "ppi++",
    tune: Tune = "trace",
    clip: bool = True,
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool | str = True,
    design: Design | None = None,
    compat: str | None = None,
    **sampling: Unpack[Sampling],
) -> Result:
    """Mean of an outcome that few rows show and a model predicts for all.

    The interval covers the population mean whatever the quality of the predictions, as long as
    the labelled rows are a random sample (or their design is declared) and the predictions were
    made without the labels.

    Args:
        y: (n,) or (n, d) labels.
        f: predictions on the labelled rows, like ``y``; with y (n,), (n, K) are K predictors,
            which are combined optimally.
        f_unlabeled: predictions on the N unlabelled rows.
        method: ``"ppi++"``, ``"ppi"`` (weight 1) or ``"classical"`` (labels only).
        tune: ``"trace"``, ``"element"``, ``"matrix"``, a coordinate (int), a fixed weight
            (float), or None; see `estimate`.
        clip: keep the weight within [0, 1].
        alpha: error rate.
        alternative: ``"two-sided"``, ``"larger"``, ``"smaller"``.
        small_sample: t distribution with Welch's degrees of freedom and unbiased variances;
            False is the normal approximation. ``"skew"`` is for few and skewed labels: errors from
            leaving out one label after another, and an interval that reaches further on the side
            of the tail; it needs a simple random sample of labels.
        design: how rows were sampled, a `Design`; a simple random sample of labels by default.
        compat: ``"ppi_py"`` gives the numbers of that package (normal quantile, divisor n).
        sampling: the fields of `Design` one by one: ``weights=``, ``propensity=``, ``groups=``
            (its clusters), ``strata=``, ``finite_population=``.

    Raises:
        ArrayError: NaN, or shapes that do not fit.
        TooFewLabelsError: too few rows for a variance.
        MethodError: options that exclude each other.

    Source: PPI (arXiv 2301.09633), PPI++ (arXiv 2311.01453).
    """
    declared = declare(design, sampling)
    same_index(y=y, f=f)
    f = matching_columns("y", y, "f", f)
    f_unlabeled = matching_columns(*named_like(y, f), "f_unlabeled", f_unlabeled)
    truth = column("y", y, ndim=(1, 2))
    Y = truth.values[:, None] if truth.values.ndim == 1 else truth.values
    F, Fu = table("f", f), table("f_unlabeled", f_unlabeled)
    same_rows(y=Y, f=F)
    if F.shape[1] != Fu.shape[1]:
        raise ArrayError(f"f has {F.shape[1]} column(s), f_unlabeled {Fu.shape[1]}.")
    if F.shape[1] % Y.shape[1]:
        raise ArrayError(
            f"f has {F.shape[1]} column(s) for {Y.shape[1]} column(s) of y; give one prediction "
            "per outcome, or for one outcome one column per predictor."
        )
    n, N, d = len(Y), len(Fu), Y.shape[1]
    check_counts(n, N, 2, "a mean with a standard error")
    names = truth.names if Y.shape[1] > 1 or truth.pandas else ("mean",)
    several = F.shape[1] // d
    skew = isinstance(small_sample, str)
    if skew:
        check_choice("small_sample", small_sample, (True, False, "skew"))
        if declared.declared or compat is not None:
            raise MethodError(
                "small_sample='skew' leaves out one row after another of a simple random sample; "
                "with weights, groups, strata or compat use small_sample=True."
            )
    options = make_options(
        method, tune, clip, alpha, alternative, bool(small_sample), d, predictors=several
    )
    scheme = resolve(declared, n, N, (y, f_unlabeled))
    notes: list[str] = []
    if options.method != "classical":
        notes = proxy_notes(F[:, 0], Y[:, 0], Fu[:, 0], random=scheme.random)
    if compat is not None:
        check_choice("compat", compat, ("ppi_py",))
        if F.shape != Y.shape or declared.declared:
            raise MethodError("compat='ppi_py' has no weights, designs or several predictors here.")
        options = dataclasses.replace(options, small_sample=False, pooled=True)
    if options.tune is None:
        F, Fu = F[:, :d], Fu[:, :d]
    root = mean_root(Y, F, Fu, scheme, options)
    label = f"{options.method}, {several} predictors" if several > 1 else None
    spent, tuning = 1 + options.cost(F.shape[1]), options.cost(F.shape[1])
    found = conclude(
        root,
        scheme,
        options,
        estimand="mean",
        names=names,
        notes=notes,
        pandas=truth.pandas,
        spent=spent,
        tuning=tuning,
        method=label,
    )
    if not skew:
        return found

    def solve(own: np.ndarray, guess: np.ndarray, other: np.ndarray) -> np.ndarray:
        part = resolve(declared, len(own), len(other), (own, other))
        return mean_root(own, guess, other, part, options).theta

    return unskewed(found, solve, Y, F, Fu, free=scheme.degrees(spent, tuning))


def distribution(
    y: Any,
    f: Any,
    f_unlabeled: Any,
    *,
    classes: int | None = None,
    tune: Tune = "matrix",
    **options: Any,
) -> Result:
    """Probabilities of the classes of a discrete outcome.

    Args:
        y: (n,) class numbers 0 ... classes - 1.
        f: (n,) predicted classes, or (n, classes) predicted probabilities.
        f_unlabeled: the same for the N unlabelled rows.
        classes: how many there are; by default one more than the largest number seen.
        tune: as in `mean`; the matrix uses all predicted classes for every class.
        options: all others of `mean`.

    `Result.simultaneous` gives limits that hold for all classes together.

    Raises:
        ArrayError: class numbers that are not integers, or outside their range.
    """
    same_index(y=y, f=f)
    truth = numeric("y", y)
    guess, unseen = numeric("f", f, ndim=(1, 2)), numeric("f_unlabeled", f_unlabeled, ndim=(1, 2))
    if classes is None:
        given = [a.max() + 1 if a.ndim == 1 else a.shape[1] for a in (truth, guess, unseen)]
        classes = int(max(given))
    f = class_columns("f", f, classes)
    f_unlabeled = class_columns(
        "f_unlabeled", same_columns("f", f, "f_unlabeled", f_unlabeled), classes
    )
    guess, unseen = numeric("f", f, ndim=(1, 2)), numeric("f_unlabeled", f_unlabeled, ndim=(1, 2))

    def coded(name: str, a: np.ndarray) -> np.ndarray:
        if a.ndim == 2:
            if a.shape[1] != classes or (a < -1e-9).any() or (abs(a.sum(axis=1) - 1) > 1e-3).any():
                raise ArrayError(
                    f"{name} must hold {classes} probabilities per row that sum to one."
                )
            return a
        return np.eye(classes)[class_numbers(name, a, classes)]

    found = mean(
        coded("y", truth), coded("f", guess), coded("f_unlabeled", unseen), tune=tune, **options
    )
    names = tuple(f"class {k}" for k in range(classes))
    return dataclasses.replace(found, estimand="distribution", names=names)
