"""Generalised linear models and robust regression: one loss of the linear predictor each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import same_index, same_rows
from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, MethodError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.compat import compat_glm
from probinf.ppi.estimators.estimate import find_root
from probinf.ppi.estimators.formulas import read_formula
from probinf.ppi.inference.checks import check_counts, column, numeric
from probinf.ppi.inference.columns import same_columns
from probinf.ppi.inference.conclude import conclude, make_options
from probinf.ppi.inference.losses import (
    Binomial,
    Expectile,
    Gamma,
    Gaussian,
    Huber,
    Linear,
    NegativeBinomial,
    Poisson,
    family_of,
)
from probinf.ppi.inference.moments import Tune
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import make_data
from probinf.ppi.inference.suspicions import proxy_notes

Family = str | Callable[[Any, Any], Any]


def _check_outcome(family: Any, name: str, y: np.ndarray) -> None:
    if isinstance(family, Binomial) and ((y < 0).any() or (y > 1).any()):
        raise ArrayError(
            f"{name} must lie in [0, 1] for logistic regression; it ranges from {y.min():g} to "
            f"{y.max():g}."
        )
    if isinstance(family, Poisson | NegativeBinomial) and (y < 0).any():
        raise ArrayError(f"{name} must not be negative for counts; its minimum is {y.min():g}.")
    if isinstance(family, Gamma) and (y <= 0).any():
        raise ArrayError(f"{name} must be positive for gamma; its minimum is {y.min():g}.")


def _start(family: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares where the linear predictor is on the outcome's scale, or on its logarithm."""
    if isinstance(family, Gaussian | Huber | Expectile):
        return np.linalg.lstsq(x, y, rcond=None)[0]
    if isinstance(family, Poisson | Gamma | NegativeBinomial):
        level = np.log(y + 0.5 * max(float(y.mean()), 1e-8))
        return np.linalg.lstsq(x, level, rcond=None)[0]
    return np.zeros(x.shape[1])


def glm(
    x: Any,
    y: Any,
    f: Any,
    x_unlabeled: Any = None,
    f_unlabeled: Any = None,
    *,
    family: Family,
    prediction: Any = None,
    offset: Any = None,
    method: str = "ppi++",
    tune: Tune = "trace",
    clip: bool = True,
    form: str = "loss",
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool = True,
    design: Design | None = None,
    compat: str | None = None,
    **sampling: Unpack[Sampling],
) -> Result:
    """Coefficients of a regression whose outcome is labelled on few rows and predicted on all.

    Either of arrays, ``(x, y, f, x_unlabeled, f_unlabeled)``, or of a formula and two DataFrames,
    ``("income ~ age + C(region)", labelled, unlabelled, prediction="income_hat")``. Formulas are
    those of `probinf.formula`, without effects that vary by group; ``weights``, ``propensity``,
    ``groups`` and ``strata`` may then name columns.

    Args:
        x: (n, d) regressors; add a column of ones for an intercept.
        y: (n,) labels.
        f: (n,) predictions of y; (n, K) for K predictors.
        x_unlabeled: (N, d) regressors.
        f_unlabeled: (N,) predictions.
        family: ``"gaussian"``, ``"binomial"``, ``"poisson"``, ``"gamma"``,
            ``"negative_binomial"``, ``"huber"``, ``"expectile"``, an instance with its parameter
            (``losses.Huber(2.0)``), or any ``loss(eta, y)`` in `jax.numpy`.
        prediction: with a formula, the column (or columns) of predictions of the outcome; they
            stand in for the outcome's column, in ``np.log(income)`` too.
        offset: pair of known terms of the linear predictor (labelled, unlabelled).
        compat: ``"ppi_py"`` follows that package: additive least squares, two rounds of tuning,
            pooled Hessian, normal quantile.

    All other arguments and errors are those of `estimate`.

    Source: PPI++ (arXiv 2311.01453), section 4.
    """
    more: Any = dict(sampling)
    if isinstance(x, str):
        if x_unlabeled is not None or f_unlabeled is not None or offset is not None:
            raise MethodError(
                "a formula takes (formula, labelled, unlabelled, prediction=...) and no further "
                "arrays; an offset stands in the formula, as offset(column)."
            )
        x, y, f, x_unlabeled, f_unlabeled, offset, more = read_formula(x, y, f, prediction, more)
    elif prediction is not None:
        raise MethodError("prediction= names a column for a formula; with arrays pass f instead.")
    if x_unlabeled is None or f_unlabeled is None:
        raise ArrayError(
            "x_unlabeled and f_unlabeled are missing: regressors and predictions of N rows."
        )
    declared = declare(design, more)
    loss = family_of(family)
    same_index(x=x, y=y, f=f)
    same_index(x_unlabeled=x_unlabeled, f_unlabeled=f_unlabeled)
    check_choice("form", form, ("loss", "onestep"))
    x_unlabeled = same_columns("x", x, "x_unlabeled", x_unlabeled)
    f_unlabeled = same_columns("f", f, "f_unlabeled", f_unlabeled)
    X = column("x", x, ndim=(2,))
    Y, F = numeric("y", y), numeric("f", f, ndim=(1, 2))
    Xu, Fu = (
        numeric("x_unlabeled", x_unlabeled, ndim=(2,)),
        numeric("f_unlabeled", f_unlabeled, ndim=(1, 2)),
    )
    n, N = same_rows(x=X.values, y=Y, f=F), same_rows(x_unlabeled=Xu, f_unlabeled=Fu)
    d = X.values.shape[1]
    if Xu.shape[1] != d:
        raise ArrayError(f"x has {d} columns, x_unlabeled {Xu.shape[1]}.")
    if F.shape[1:] != Fu.shape[1:]:
        raise ArrayError(f"f has shape {F.shape}, f_unlabeled {Fu.shape}: predictors differ.")
    check_counts(n, N, d + 1, f"{d} coefficients")
    _check_outcome(loss, "y", Y)
    if isinstance(loss, Binomial):
        _check_outcome(loss, "f", F)
        _check_outcome(loss, "f_unlabeled", Fu)
    guesses = F.reshape(n, -1).T
    unseen = Fu.reshape(N, -1).T
    several = len(guesses)
    options = make_options(
        method, tune, clip, alpha, alternative, small_sample, d, predictors=several
    )
    scheme = resolve(declared, n, N, (y, f_unlabeled))
    notes = []
    if options.method != "classical":
        notes = proxy_notes(guesses[0], Y, unseen[0], random=scheme.random)
    known: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    if offset is not None:
        if not (isinstance(offset, tuple | list) and len(offset) == 2):
            raise ArrayError("offset must be a pair (labelled, unlabelled) of arrays.")
        same_index(y=y, **{"offset[0]": offset[0]})
        same_index(f_unlabeled=f_unlabeled, **{"offset[1]": offset[1]})
        for side, rows, values in zip(known, (n, N), offset, strict=True):
            side["offset"] = numeric("offset", values, size=rows)
    mine = {"x": X.values, "y": Y, **known[0]}
    data = make_data(
        mine,
        tuple({**mine, "y": g} for g in guesses),
        tuple({"x": Xu, "y": g, **known[1]} for g in unseen),
        scheme,
    )
    what = family if isinstance(family, str) else type(loss).__name__.lower()
    what = f"{what} regression"
    model = Linear(loss)
    start = _start(loss, X.values, Y)
    if compat is not None:
        check_choice("compat", compat, ("ppi_py",))
        if declared.declared or several > 1:
            raise MethodError("compat='ppi_py' has no weights, designs or several predictors here.")
        return compat_glm(model, data, start, scheme, options, what, X.names, notes, X.pandas)
    root = find_root(model, data, start, scheme, options, form=form, what=what)
    return conclude(
        root,
        scheme,
        options,
        estimand=what,
        names=X.names,
        notes=notes,
        pandas=X.pandas,
        spent=d + options.cost(d * several),
        tuning=options.cost(d * several),
        method=f"{options.method}, {several} predictors" if several > 1 else None,
    )


def ols(
    x: Any, y: Any, f: Any, x_unlabeled: Any = None, f_unlabeled: Any = None, **options: Any
) -> Result:
    """Least-squares coefficients, of arrays or of a formula; arguments as in `glm`."""
    return glm(x, y, f, x_unlabeled, f_unlabeled, family="gaussian", **options)


def logistic(
    x: Any, y: Any, f: Any, x_unlabeled: Any = None, f_unlabeled: Any = None, **options: Any
) -> Result:
    """Logistic-regression coefficients (log odds ratios); f may be a probability. See `glm`."""
    return glm(x, y, f, x_unlabeled, f_unlabeled, family="binomial", **options)


def poisson(
    x: Any, y: Any, f: Any, x_unlabeled: Any = None, f_unlabeled: Any = None, **options: Any
) -> Result:
    """Poisson-regression coefficients (log rate ratios); arguments as in `glm`."""
    return glm(x, y, f, x_unlabeled, f_unlabeled, family="poisson", **options)
