"""Evaluation of systems by a judge: levels, paired differences, ranks, all with intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.frames import same_index, same_rows
from probinf.errors import ArrayError, MethodError
from probinf.ppi.estimators.mean import mean, named_like
from probinf.ppi.inference.checks import column, numeric
from probinf.ppi.inference.columns import matching_columns
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

    def to_dataframe(self) -> Any:
        """A DataFrame with one row per system, the best first: scores and ranks."""
        table = self.levels.to_dataframe()
        table["best rank"], table["worst rank"] = self.ranks.T
        return table.iloc[np.argsort(-self.levels.theta, kind="stable")]

    def plot(self, axis: Any = None) -> Any:
        """Scores and intervals of the systems; returns the axis."""
        return self.levels.plot(axis)

    def summary(self) -> str:
        """Systems from the best to the worst, for reading."""
        level = 1 - self.levels.alpha
        lines = [f"{len(self.ranks)} systems; {100 * level:.6g}% intervals, simultaneous for ranks"]
        limits = np.asarray(self.levels.conf_int())
        order = np.argsort(-self.levels.theta)
        for j in order:
            best, worst = self.ranks[j]
            lines.append(
                f"  {self.levels.names[j]:20} {self.levels.theta[j]:.4g} "
                f"[{limits[j, 0]:.4g}, {limits[j, 1]:.4g}]  rank {best} to {worst}"
            )
        return "\n".join(lines)

    __repr__ = summary


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
    same_index(y=y, f=f)
    f = matching_columns("y", y, "f", f)
    f_unlabeled = matching_columns(*named_like(y, f), "f_unlabeled", f_unlabeled)
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
    return Comparison(levels, differences, pairs, bands, ranks_of(pairs, bands, S))


def ranks_of(pairs: np.ndarray, bands: np.ndarray, S: int) -> np.ndarray:
    """Best and worst rank (S, 2) that bands of all differences (pairs, 2) allow."""
    ranks = np.tile([1, S], (S, 1))
    for (a, b), (low, high) in zip(pairs, bands, strict=True):
        if low > 0:  # a is better than b
            ranks[b, 0] += 1
            ranks[a, 1] -= 1
        elif high < 0:
            ranks[a, 0] += 1
            ranks[b, 1] -= 1
    return ranks


def difference(first: Result | Any, second: Result | Any, names: Any = None) -> Result:
    """Difference of two results from independent samples: the arms of an experiment, say.

    Parameters are matched by name where both results have the same names, by position otherwise.
    Intervals and tests are those of a normal or t approximation: of quantiles, too, whose standard
    errors follow from the intervals of the two.

    Args:
        first: minuend.
        second: subtrahend, with as many parameters.
        names: names of the differences; parameters are then matched by position.

    Raises:
        MethodError: something else than a `Result`.
        ArrayError: parameters that do not match.
    """
    for what, result in (("first", first), ("second", second)):
        if not isinstance(result, Result):
            raise MethodError(
                f"{what} is a {type(result).__name__}, which has no covariance to add; give "
                "results of ppi.mean, ppi.quantile, ppi.glm or the like."
            )
    order = _matched(first.names, second.names, by_position=names is not None)
    theta, rest = second.theta[order], second.cov[np.ix_(order, order)]
    a, b = np.diag(first.cov), np.diag(rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (a + b) ** 2 / (a**2 / first.df + b**2 / second.df[order])
    same = first.estimand == second.estimand
    fields = {field.name: getattr(first, field.name) for field in dataclasses.fields(Result)}
    fields |= {
        "estimand": f"difference of {first.estimand}"
        if same
        else f"{first.estimand} minus {second.estimand}",
        "method": first.method if first.method == second.method else "difference",
        "names": first.names if names is None else tuple(names),
        "theta": first.theta - theta,
        "cov": first.cov + rest,
        "cov_labeled": first.cov_labeled + second.cov_labeled[np.ix_(order, order)],
        "df": np.where(np.isfinite(df), df, np.inf),
        "lam": first.lam if np.array_equal(first.lam, second.lam) else np.full(len(a), np.nan),
        "n": first.n + second.n,
        "N": first.N + second.N,
        "rho": np.full(len(a), np.nan),
        "cov_type": first.cov_type if first.cov_type == second.cov_type else "two rules",
        "contributions": None,
        "clusters": None,
        "skewness": None,
        "imputed": None,
        "notes": tuple(dict.fromkeys(first.notes + second.notes)),
    }
    return Result(**fields)


def _matched(first: tuple[str, ...], second: tuple[str, ...], *, by_position: bool) -> np.ndarray:
    """Where the parameters of the minuend lie in the subtrahend."""
    if len(first) != len(second):
        raise ArrayError(f"{len(first)} and {len(second)} parameters do not match.")
    if by_position or len(first) == 1 or not set(first) & set(second):
        return np.arange(len(first))
    if sorted(first) != sorted(second):
        raise ArrayError(
            f"the parameters {', '.join(first)} and {', '.join(second)} are only in part the same; "
            "rename them, or pass names= to subtract by position."
        )
    if first == second:
        return np.arange(len(first))
    return np.array([second.index(name) for name in first])
