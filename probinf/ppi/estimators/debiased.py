"""Predict-then-debias of any fit that knows the influence of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.frames import is_pandas
from probinf.errors import ArrayError
from probinf.ppi.designs.design import Design, Sampling, declare
from probinf.ppi.designs.resolve import resolve
from probinf.ppi.estimators.mean import mean_root
from probinf.ppi.inference.checks import check_counts
from probinf.ppi.inference.conclude import Options, conclude, make_options
from probinf.ppi.inference.moments import Tune
from probinf.ppi.inference.result import Result
from probinf.ppi.inference.rows import three_samples
from probinf.ppi.inference.scheme import Scheme

Rows = dict[str, np.ndarray]
AMONG = ("weights", "clusters", "strata")


class Fitted(NamedTuple):
    """A fit to one sample.

    Attributes:
        theta: (d,) estimates.
        influence: (rows, d) derivative of the estimates in the weight of each row, when weights
            sum to one; their weighted mean is zero.
    """

    theta: np.ndarray
    influence: np.ndarray


class Shared(Sampling, total=False):
    """Keywords that all estimators which debias whole fits have; see `probinf.ppi.ptd`.

    Attributes:
        tune: the weight of the predictions: ``"matrix"`` (the default), ``"element"``, a number,
            or None for the labelled rows alone.
        alpha: error rate of intervals and tests, 0.1 by default.
        alternative: ``"two-sided"`` (the default), ``"larger"`` or ``"smaller"``.
        small_sample: corrections for few labels, True by default.
        design: how rows were sampled.
        names: of the parameters.
    """

    tune: Tune
    alpha: Number
    alternative: str
    small_sample: bool
    design: Design | None
    names: tuple[str, ...] | list[str] | None


class Settings(NamedTuple):
    """The keywords of `Shared` with their defaults, and the design that they declare."""

    tune: Tune = "matrix"
    alpha: Any = 0.1
    alternative: str = "two-sided"
    small_sample: bool = True
    names: Any = None
    declared: Design = Design()

    @classmethod
    def of(cls, given: Shared) -> Settings:
        """Read keywords; an unknown one, or a design that is not served, is an error."""
        rest: dict[str, Any] = dict(given)
        own = {name: rest.pop(name) for name in cls._fields[:-1] if name in rest}
        return cls(**own, declared=declare(rest.pop("design", None), rest, among=AMONG))

    def options(self, d: int, predictors: int = 1) -> Options:
        """What `conclude` needs to know of d parameters."""
        return make_options(
            "ppi++",
            self.tune,
            False,
            self.alpha,
            self.alternative,
            self.small_sample,
            d,
            predictors=predictors,
        )


Fit = Callable[[str, Rows, np.ndarray], Fitted]


def column_of(rows: Rows, name: str, where: str, *, ndim: int = 1) -> np.ndarray:
    """A column of the rows as numbers, or an error that names it.

    Raises:
        ArrayError: the column is missing or has another number of axes.
    """
    if name not in rows:
        raise ArrayError(f"{where} lacks the column {name!r}; it holds {', '.join(rows)}.")
    values = rows[name].astype(float)
    if ndim == 2 and values.ndim == 1:
        values = values[:, None]
    if values.ndim != ndim:
        raise ArrayError(f"{where}[{name!r}] has {values.ndim} axes; {ndim} are needed.")
    return values


def names_of(labeled: dict[str, Any], column: str, d: int, given: Any = None) -> tuple[str, ...]:
    """Names of d coefficients: those given, those of a DataFrame's columns, or numbers."""
    if given is not None:
        if len(given) != d:
            raise ArrayError(f"{len(given)} names for {d} parameters.")
        return tuple(given)
    x: Any = labeled.get(column)
    if x is not None and is_pandas(x):
        found = list(x.columns) if x.ndim == 2 else [x.name]
        if len(found) == d:
            return tuple(str(name) for name in found)
    return tuple(f"{column}{j}" for j in range(d)) if d > 1 else (column,)


def debias(
    fit: Fit,
    labeled: dict[str, Any],
    proxies: dict[str, Any],
    unlabeled: dict[str, Any],
    given: Shared,
    *,
    estimand: str,
    need: int,
    column: str = "x",
) -> Result:
    """``b + M (gamma_u - gamma_l)`` of three fits: true rows, and both samples as predicted.

    Args:
        fit: called with the sample's name, its rows and its weights, which sum to one.
        given: the caller's keywords.
        need: labelled rows at least.
        column: whose columns name the parameters.
    """
    settings = Settings.of(given)
    mine, proxied, other = three_samples(labeled, proxies, unlabeled)
    n, N = len(next(iter(mine.values()))), len(next(iter(other.values())))
    check_counts(n, N, need, estimand)
    first = next(iter(labeled.values())), next(iter(unlabeled.values()))
    scheme = resolve(settings.declared, n, N, first)
    own = fit("labelled rows", mine, scheme.alpha)
    if settings.tune is None:
        none = np.zeros_like(own.influence), np.zeros((N, len(own.theta)))
        y, (f, fu) = own.theta + own.influence, none
    else:
        fits = [
            own,
            fit("predictions, labelled rows", proxied, scheme.alpha),
            fit("predictions, unlabelled rows", other, scheme.beta),
        ]
        y, f, fu = (found.theta + found.influence for found in fits)
    d = y.shape[1]
    return of_pseudo_values(
        y,
        f,
        fu,
        scheme,
        settings.options(d),
        estimand=estimand,
        names=names_of(labeled, column, d, settings.names),
        pandas=any(map(is_pandas, labeled.values())),
        spent=d,
    )


def of_pseudo_values(
    y: np.ndarray,
    f: np.ndarray,
    fu: np.ndarray,
    scheme: Scheme,
    options: Options,
    *,
    estimand: str,
    names: tuple[str, ...],
    pandas: bool,
    spent: int,
) -> Result:
    """The result of pseudo-values (n, d), (n, q) and (N, q), whose means are the three fits."""
    cost = options.cost(f.shape[1])
    return conclude(
        mean_root(y, f, fu, scheme, options),
        scheme,
        options,
        estimand=estimand,
        names=names,
        notes=[],
        pandas=pandas,
        spent=spent + cost,
        tuning=cost,
        method="classical" if options.tune is None else "predict-then-debias",
    )
