"""Means, of one or several columns, and discrete distributions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.columns import (
    Number,
    check_choice,
    check_counts,
    column,
    numeric,
    proxy_notes,
    same_index,
    same_rows,
)
from probinf.errors import ArrayError, MethodError
from probinf.ppi.designs.design import Design, make_design
from probinf.ppi.inference.conclude import Options, Root, conclude, make_options
from probinf.ppi.inference.moments import Tune, tuned
from probinf.ppi.inference.result import Result


def _matrix(a: np.ndarray) -> np.ndarray:
    return a[:, None] if a.ndim == 1 else a


def mean_root(
    y: np.ndarray, f: np.ndarray, fu: np.ndarray, design: Design, options: Options
) -> Root:
    """Root of the mean's equation: y (n, d), f (n, q), fu (N, q); q is a multiple of d."""
    d, q = y.shape[1], f.shape[1]
    eye = np.eye(d)
    slope = np.tile(eye, (q // d, 1)) * (design.beta.sum() - design.gamma.sum())

    def rows(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        repeated = np.tile(theta, q // d)
        return theta - y, repeated - f, repeated - fu

    start = design.alpha @ y / design.alpha.sum()
    total = eye * design.alpha.sum()
    p = design.parts(*rows(start), total, slope)
    rule = options.tune if q == d else "matrix"
    M = tuned(p, rule, clip=options.clip and q == d, pooled=options.pooled)
    theta = start - np.linalg.solve(total + M @ slope, p.score + M @ p.control)
    if design.joint:  # centred on the joint mean, the parts depend on theta
        p = design.parts(*rows(theta), total, slope)
    else:
        p = p._replace(score=p.score + total @ (theta - start))
    return Root(theta, p, M, lambda: rows(theta))


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
    small_sample: bool = True,
    weights: Any = None,
    propensity: Any = None,
    groups: Any = None,
    strata: Any = None,
    finite_population: bool = False,
    compat: str | None = None,
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
            False is the normal approximation.
        weights: pair of row weights (labelled, unlabelled), either may be None; the density
            ratio under covariate shift.
        propensity: (n,) known probabilities with which the labelled rows were labelled.
        groups: pair of cluster labels.
        strata: pair of stratum labels; labels were drawn within strata. The shares
            of strata among all n + N rows count as known.
        finite_population: the target is the mean of these very n + N rows.
        compat: ``"ppi_py"`` gives the numbers of that package (normal quantile, divisor n).

    Raises:
        ArrayError: NaN, or shapes that do not fit.
        TooFewLabelsError: too few rows for a variance.
        MethodError: options that exclude each other.

    Source: PPI (arXiv 2301.09633), PPI++ (arXiv 2311.01453).
    """
    same_index(y=y, f=f)
    truth = column("y", y, ndim=(1, 2))
    guess, unseen = numeric("f", f, ndim=(1, 2)), numeric("f_unlabeled", f_unlabeled, ndim=(1, 2))
    same_rows(y=truth.values, f=guess)
    Y, F, Fu = _matrix(truth.values), _matrix(guess), _matrix(unseen)
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
    options = make_options(method, tune, clip, alpha, alternative, small_sample, d)
    design = make_design(
        n,
        N,
        weights=weights,
        propensity=propensity,
        groups=groups,
        strata=strata,
        finite_population=finite_population,
    )
    notes: list[str] = []
    if options.method != "classical":
        notes = proxy_notes(F[:, 0], Y[:, 0], Fu[:, 0], random=design.random)
    if compat is not None:
        check_choice("compat", compat, ("ppi_py",))
        if F.shape != Y.shape or not design.simple or design.joint or weights is not None:
            raise MethodError("compat='ppi_py' has no weights, designs or several predictors here.")
        options = dataclasses.replace(options, small_sample=False, pooled=True)
    several = F.shape[1] // d
    if several > 1 and options.tune is not None:
        options = make_options("ppi++", "matrix", clip, alpha, alternative, small_sample, d)
    if options.tune is None:
        F, Fu = F[:, :d], Fu[:, :d]
    root = mean_root(Y, F, Fu, design, options)
    label = f"{options.method}, {several} predictors" if several > 1 else None
    spent = 1 + (F.shape[1] if options.tune == "matrix" else options.tuned)
    return conclude(
        root,
        design,
        options,
        estimand="mean",
        names=names,
        notes=notes,
        pandas=truth.pandas,
        spent=spent,
        method=label,
    )


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
    truth = numeric("y", y)
    guess, unseen = numeric("f", f, ndim=(1, 2)), numeric("f_unlabeled", f_unlabeled, ndim=(1, 2))
    if classes is None:
        given = [a.max() + 1 if a.ndim == 1 else a.shape[1] for a in (truth, guess, unseen)]
        classes = int(max(given))

    def coded(name: str, a: np.ndarray) -> np.ndarray:
        if a.ndim == 2:
            if a.shape[1] != classes or (a < -1e-9).any() or (abs(a.sum(axis=1) - 1) > 1e-3).any():
                raise ArrayError(
                    f"{name} must hold {classes} probabilities per row that sum to one."
                )
            return a
        if (a != np.round(a)).any() or a.min() < 0 or a.max() >= classes:
            raise ArrayError(
                f"{name} must hold class numbers 0 ... {classes - 1}; it ranges from {a.min():g} "
                f"to {a.max():g}."
            )
        return np.eye(classes)[a.astype(int)]

    found = mean(
        coded("y", truth), coded("f", guess), coded("f_unlabeled", unseen), tune=tune, **options
    )
    names = tuple(f"class {k}" for k in range(classes))
    return dataclasses.replace(found, estimand="distribution", names=names)
