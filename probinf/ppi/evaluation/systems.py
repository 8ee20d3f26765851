"""Evaluation of systems by a judge: levels, paired differences, ranks, all with intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.frames import same_rows
from probinf.errors import ArrayError, MethodError
from probinf.ppi.estimators.mean import mean
from probinf.ppi.inference.checks import column, numeric
from probinf.ppi.inference.result import Result


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Systems evaluated on the same queries.

    Attributes:
        levels: mean score of every system.
        differences: of every pair (a - b), rows differenced first, so that what makes a query
            hard for all cancels.
        pairs: (pairs, 2) numbers of the systems in each difference.
        bands: (pairs, 2) limits that hold for all differences together.
        ranks: (systems, 2) best and worst rank that the bands allow, 1 being the highest score.
    """

    levels: Result
    differences: Result
    pairs: np.ndarray
    bands: np.ndarray
    ranks: np.ndarray

    def __repr__(self) -> str:
        level = 1 - self.levels.alpha
        lines = [f"{len(self.ranks)} systems; {level:.0%} intervals, simultaneous for ranks"]
        limits = np.asarray(self.levels.conf_int())
        order = np.argsort(-self.levels.theta)
        for j in order:
            best, worst = self.ranks[j]
            lines.append(
                f"  {self.levels.names[j]:20} {self.levels.theta[j]:.4g} "
                f"[{limits[j, 0]:.4g}, {limits[j, 1]:.4g}]  rank {best} to {worst}"
            )
        return "\n".join(lines)


def compare_systems(
    y: Any, f: Any, f_unlabeled: Any, *, names: Any = None, key: Any = 0, **options: Any
) -> Comparison:
    """Compare systems by human scores on few queries and a judge's scores on many.

    Args:
        y: (n, systems) human scores.
        f: (n, systems) the judge's scores of the same answers.
        f_unlabeled: (N, systems) the judge's scores on other queries.
        names: (systems,) names; the columns of a DataFrame by default.
        key: seed or key of the simultaneous bands.
        options: those of `mean`.

    Source: ARES (arXiv 2311.09476) for the use of PPI; ranks after Mogstad, Romano, Shaikh &
    Wilhelm (2024).
    """
    truth = column("y", y, ndim=(2,))
    Y, F = truth.values, numeric("f", f, ndim=(2,))
    Fu = numeric("f_unlabeled", f_unlabeled, ndim=(2,))
    same_rows(y=Y, f=F)
    S = Y.shape[1]
    if S < 2:
        raise MethodError("compare_systems needs two or more systems; use ppi.mean for one.")
    if F.shape[1] != S or Fu.shape[1] != S:
        raise ArrayError(f"y has {S} systems, f {F.shape[1]}, f_unlabeled {Fu.shape[1]}.")
    labels = truth.names if names is None else tuple(str(name) for name in names)
    if len(labels) != S:
        raise ArrayError(f"{len(labels)} names for {S} systems.")
    options = {"tune": "element", **options}
    levels = dataclasses.replace(mean(Y, F, Fu, **options), names=labels, estimand="mean score")
    pairs = np.array([(a, b) for a in range(S) for b in range(a + 1, S)])

    def difference(a: np.ndarray) -> np.ndarray:
        return a[:, pairs[:, 0]] - a[:, pairs[:, 1]]

    differences = dataclasses.replace(
        mean(difference(Y), difference(F), difference(Fu), **options),
        names=tuple(f"{labels[a]} - {labels[b]}" for a, b in pairs),
        estimand="difference of mean scores",
    )
    bands = np.asarray(differences.simultaneous(key=key))
    ranks = np.tile([1, S], (S, 1))
    for (a, b), (low, high) in zip(pairs, bands, strict=True):
        if low > 0:  # a is better than b
            ranks[b, 0] += 1
            ranks[a, 1] -= 1
        elif high < 0:
            ranks[a, 0] += 1
            ranks[b, 1] -= 1
    return Comparison(levels, differences, pairs, bands, ranks)


def difference(first: Result, second: Result, names: Any = None) -> Result:
    """Difference of two results from independent samples: the arms of an experiment, say.

    Args:
        first: minuend.
        second: subtrahend, with as many parameters.
        names: names of the differences.
    """
    if len(first.theta) != len(second.theta):
        raise ArrayError(f"{len(first.theta)} and {len(second.theta)} parameters do not match.")
    a, b = np.diag(first.cov), np.diag(second.cov)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (a + b) ** 2 / (a**2 / first.df + b**2 / second.df)
    return dataclasses.replace(
        first,
        estimand=f"difference of {first.estimand}",
        names=first.names if names is None else tuple(names),
        theta=first.theta - second.theta,
        cov=first.cov + second.cov,
        cov_labeled=first.cov_labeled + second.cov_labeled,
        df=np.where(np.isfinite(df), df, np.inf),
        n=first.n + second.n,
        N=first.N + second.N,
        rho=np.full(len(a), np.nan),
        contributions=None,
        clusters=None,
        notes=first.notes + second.notes,
    )
