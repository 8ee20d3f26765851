"""Predict-then-debias: three ordinary fits, combined; any column may be predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.estimate import single_fit, start_of
from probinf.ppi.estimators.mean import mean_root
from probinf.ppi.inference.checks import check_counts
from probinf.ppi.inference.conclude import conclude, make_options
from probinf.ppi.inference.losses import Autodiff, Linear, Model, family_of
from probinf.ppi.inference.moments import Tune
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import flatten_parameters, parameter_names, three_samples


def model_of(
    loss: str | Callable[[Any, Any], Any], init: Any, labeled: dict[str, Any], is_score: bool
) -> tuple[Model, np.ndarray, tuple[str, ...]]:
    """The model of a loss or of a family's name, its start, and names of its parameters."""
    start, unravel, names = flatten_parameters(start_of(init, labeled))
    if isinstance(loss, str):
        return Linear(family_of(loss)), start, names
    model = Autodiff(loss, unravel, is_score)
    model.check(len(start), {k: np.asarray(a) for k, a in labeled.items()})
    return model, start, names


def ptd(
    loss: str | Callable[[Any, Any], Any],
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    *,
    init: Any = None,
    is_score: bool = False,
    tune: Tune = "matrix",
    alpha: Number = 0.1,
    alternative: str = "two-sided",
    small_sample: bool = True,
    design: Design | None = None,
    names: tuple[str, ...] | list[str] | None = None,
    **sampling: Unpack[Sampling],
) -> Result:
    """Predict, then debias: ``b + M (gamma_u - gamma_l)`` from three separate fits.

    b fits the true labelled rows, gamma_l and gamma_u the rows with predictions put in, labelled
    and unlabelled. Regressors may be predicted as well as outcomes. The covariances come from
    influence functions, so nothing is refitted.

    Args:
        loss: name of a family (rows then hold ``x`` and ``y``), or ``loss(theta, row)``.
        labeled: dictionary of true columns (n, ...).
        proxies: dictionary of predicted columns on labelled rows.
        unlabeled: dictionary of columns (N, ...), predictions put in.
        tune: ``"matrix"`` is the optimal M, ``"element"`` one number per parameter.

    All other arguments and errors are those of `estimate`.

    Source: predict-then-debias (arXiv 2501.18577), algorithm 3; with the optimal M it equals the
    estimator of Chen & Chen (2000) asymptotically.
    """
    declared = declare(design, sampling, among=("weights", "clusters", "strata"))
    mine, proxied, other = three_samples(labeled, proxies, unlabeled)
    model, start, labels = model_of(loss, init, mine, is_score)
    n, N, d = len(next(iter(mine.values()))), len(next(iter(other.values()))), len(start)
    check_counts(n, N, d + 1, f"{d} parameter(s)")
    options = make_options("ppi++", tune, False, alpha, alternative, small_sample, d)
    scheme = resolve(declared, n, N, (next(iter(labeled.values())), next(iter(unlabeled.values()))))
    fits = [
        single_fit(model, mine, scheme.alpha, start, "ptd (labelled rows)"),
        single_fit(model, proxied, scheme.alpha, start, "ptd (predictions, labelled rows)"),
        single_fit(model, other, scheme.beta, start, "ptd (predictions, unlabelled)"),
    ]
    # Pseudo-values, whose means are the fits: what remains is the mean of several columns.
    y, f, fu = (theta - scores @ np.linalg.inv(J).T for theta, scores, J in fits)
    return conclude(
        mean_root(y, f, fu, scheme, options),
        scheme,
        options,
        estimand=f"{loss} regression" if isinstance(loss, str) else "M-estimate",
        names=parameter_names(labels, labeled.get("x"), names),
        notes=[],
        pandas=is_pandas(labeled.get("x")),
        spent=d + options.cost(d),
        tuning=options.cost(d),
        method="predict-then-debias",
    )
