"""Result: estimates, standard errors, intervals and tests, in the words of statsmodels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import Number
from probinf.core.inputs.levels import as_level
from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.errors import ArrayError, MethodError
from probinf.ppi.inference.influence import Influence
from probinf.ppi.inference.labelled import frame, series
from probinf.ppi.inference.plots import interval_plot
from probinf.ppi.inference.simulation import KINDS, largest_quantile, reweighted
from probinf.ppi.inference.skewness import skewed, symmetric
from probinf.ppi.inference.student import critical, p_value
from probinf.ppi.inference.summary import Table
from probinf.ppi.inference.transforms import linearised, transformed

ALTERNATIVES = ("two-sided", "larger", "smaller")


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """Estimates with a confidence statement.

    Attributes:
        estimand: what was estimated.
        method: how.
        names: name of every parameter.
        theta: (d,) estimates.
        cov: (d, d) their covariance.
        df: (d,) degrees of freedom of the t distribution; infinite for the normal.
        lam: trust in the predictions: a number, one per parameter, or a (d, q) matrix.
        n, N: labelled and unlabelled rows.
        cov_labeled: (d, d) covariance that the labelled rows alone would give.
        rho: (d,) correlation of true and predicted influences.
        cov_type: rule of the covariance.
        alpha: error rate of `conf_int` by default.
        alternative: side of `conf_int` by default.
        notes: warnings that concern this result.
        pandas: give Series and DataFrames.
        contributions: computes `influence`.
        clusters: cluster numbers of labelled and unlabelled rows, or None.
        skewness: (d,) of the estimates, which intervals and tests then correct for, or None.
        imputed: computes what predictions alone would have said: the estimate less theirs (d,),
            and the contributions (N, d) of unlabelled rows to theirs; or None.

    Raises:
        LevelError: ``alpha`` is no error rate.
        MethodError: ``alternative`` is none of the three.
    """

    estimand: str
    method: str
    names: tuple[str, ...]
    theta: np.ndarray
    cov: np.ndarray
    df: np.ndarray
    lam: float | np.ndarray
    n: int
    N: int
    cov_labeled: np.ndarray
    rho: np.ndarray
    cov_type: str = "robust"
    alpha: Number = 0.1
    alternative: str = "two-sided"
    notes: tuple[str, ...] = ()
    pandas: bool = False
    contributions: Callable[[], Influence] | None = None
    clusters: tuple[np.ndarray, np.ndarray] | None = None
    skewness: np.ndarray | None = None
    imputed: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None

    def __post_init__(self) -> None:
        self._settings(None, None)

    def _series(self, values: np.ndarray) -> Any:
        return series(values, self.names) if self.pandas else values

    @property
    def params(self) -> Any:
        """Estimates (d,)."""
        return self._series(self.theta)

    @property
    def bse(self) -> Any:
        """Standard errors (d,)."""
        return self._series(self._se)

    @property
    def _se(self) -> np.ndarray:
        return np.sqrt(np.diag(self.cov))

    @property
    def tvalues(self) -> Any:
        """Estimates over standard errors (d,)."""
        return self._series(self._statistic(0.0))

    @property
    def pvalues(self) -> Any:
        """P-values (d,) of the hypothesis that a parameter is zero."""
        return self.test()

    @property
    def n_eff(self) -> np.ndarray:
        """(d,) labels that a labelled-only analysis would need for the same variance."""
        variance = np.diag(self.cov)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.n * np.diag(self.cov_labeled) / variance

    def cov_params(self) -> Any:
        """Covariance (d, d) of the estimates."""
        return frame(self.cov, self.names, self.names) if self.pandas else self.cov

    def _statistic(self, null: Any) -> np.ndarray:
        difference, se = self.theta - np.asarray(null, float), self._se
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(difference == 0, 0.0, difference / se)

    def _settings(self, alpha: Number | None, alternative: str | None) -> tuple[float, str]:
        side = self.alternative if alternative is None else alternative
        check_choice("alternative", side, ALTERNATIVES)
        return as_level(self.alpha if alpha is None else alpha), side

    def test(self, null: Any = 0.0, alternative: str | None = None) -> Any:
        """P-values (d,) of ``parameter = null``; below alpha exactly if `conf_int` excludes it.

        Args:
            null: a number, or one per parameter.
            alternative: ``"two-sided"``, ``"larger"`` or ``"smaller"`` than null.
        """
        _, side = self._settings(None, alternative)
        t = symmetric(self._statistic(null), self.skewness)
        return self._series(p_value(t, self.df, side))

    def conf_int(self, alpha: Number | None = None, alternative: str | None = None) -> Any:
        """Confidence limits (d, 2).

        Args:
            alpha: error rate; that of the result by default.
            alternative: ``"two-sided"``; ``"larger"`` gives (lower, inf), ``"smaller"``
                (-inf, upper).
        """
        level, side = self._settings(alpha, alternative)
        reach = critical(level, self.df, side)
        most, least = (skewed(t, self.skewness) for t in (reach, -reach))
        return self._limits(most * self._se, -least * self._se, side)

    def _limits(self, below: np.ndarray, above: np.ndarray, side: str = "two-sided") -> Any:
        low = self.theta - below if side != "smaller" else np.full_like(self.theta, -np.inf)
        high = self.theta + above if side != "larger" else np.full_like(self.theta, np.inf)
        return self._intervals(np.stack([low, high], axis=1))

    def _intervals(self, limits: np.ndarray) -> Any:
        return frame(limits, self.names, ("lower", "upper")) if self.pandas else limits

    @cached_property
    def influence(self) -> Influence:
        """Contribution of every row to the error; their outer products sum to the covariance."""
        if self.contributions is None:
            raise MethodError(f"{self.method} does not give influence values.")
        return self.contributions()

    def contrast(self, R: Any, names: tuple[str, ...] | list[str] | None = None) -> Result:
        """Linear combinations ``R @ params`` as a result of their own.

        Args:
            R: (k, d) or (d,) coefficients.
            names: (k,) names.
        """
        matrix = np.atleast_2d(np.asarray(R, float))
        if matrix.shape[1] != len(self.theta):
            raise ArrayError(
                f"R has {matrix.shape[1]} columns for {len(self.theta)} parameters "
                f"({', '.join(self.names)})."
            )
        return self._transformed(matrix @ self.theta, matrix, names, "contrast")

    def delta(
        self, function: Callable[[Any], Any], names: tuple[str, ...] | list[str] | None = None
    ) -> Result:
        """Any differentiable function of the parameters, by the delta method.

        Args:
            function: (d,) parameters to a scalar or vector, in `jax.numpy`.
            names: names of what it returns.
        """
        value, slope = linearised(function, self.theta)
        return self._transformed(value, slope, names, "delta")

    def _transformed(self, value: np.ndarray, slope: np.ndarray, names: Any, what: str) -> Result:
        return transformed(self, value, slope, names, what)

    def simultaneous(
        self, alpha: Number | None = None, *, key: Any = 0, draws: int = 20_000
    ) -> Any:
        """Limits (d, 2) that cover all parameters together: max-t.

        Args:
            alpha: probability that any parameter is missed.
            key: seed or key of the draws.
            draws: simulated maxima.

        Source: Montiel Olea & Plagborg-Moller (2019), the plug-in sup-t band.
        """
        level, _ = self._settings(alpha, None)
        reach = largest_quantile(self.cov, self.df.min(), 1 - level, as_generator(key), draws)
        return self._limits(reach * self._se, reach * self._se)

    def bootstrap(self, *, key: Any = 0, draws: int = 2000, kind: str = "multiplier") -> np.ndarray:
        """Draws (draws, d) around the estimate from re-weighted influence values.

        Args:
            key: seed or key.
            draws: how many.
            kind: ``"multiplier"`` (exponential weights minus one, which keep skewness) or
                ``"rademacher"`` (signs). Rows of one cluster share their weight. Beyond 100,000
                unlabelled rows their part is drawn from its normal limit.

        Source: Chernozhukov, Chetverikov & Kato (2013) for multipliers.
        """
        check_choice("kind", kind, KINDS)
        noise = reweighted(self.influence, self.clusters, kind, as_generator(key), draws)
        return self.theta + noise

    def summary(self) -> Any:
        """A table to read: header, one row per parameter, notes."""
        return Table(self)

    def to_dataframe(self, alpha: Number | None = None) -> Any:
        """A DataFrame with one row per parameter, for reports."""
        limits = np.asarray(self.conf_int(alpha))
        columns = {
            "coef": self.theta,
            "std err": self._se,
            "pvalue": np.asarray(self.pvalues),
            "lower": limits[:, 0],
            "upper": limits[:, 1],
            "df": self.df,
            "n_eff": self.n_eff,
        }
        return frame(np.stack(list(columns.values()), axis=1), self.names, tuple(columns))

    def plot(self, axis: Any = None) -> Any:
        """Estimates and intervals, beside those of the labelled rows alone; returns the axis."""
        return interval_plot(self, axis)

    def __repr__(self) -> str:
        return str(self.summary())
