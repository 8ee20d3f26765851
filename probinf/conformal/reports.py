"""Coverage within groups and along covariates, with exact bands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from probinf.conformal.calibration.ranks import upper_rank
from probinf.conformal.calibration.robust import clopper_pearson
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import is_pandas, same_index
from probinf.core.inputs.levels import as_groups, fraction
from probinf.core.inputs.limits import at_least
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class CoverageReport:
    """Coverage of prediction sets over all test points and within parts of them.

    Attributes:
        parts: names of the rows, the first of which is ``"all"``.
        counts: (rows,) test points.
        covered: (rows,) of these, those whose set held the outcome.
        interval: (rows, 2) exact limits of the coverage that these sets have there, all rows
            together with probability ``1 - level``.
        band: (rows, 2) shares within which the coverage lies, all rows together with probability
            ``1 - level``, if every part is covered as the promise says.
        alpha: the miscoverage that was promised.
        level: probability of a false alarm in any row.
    """

    parts: tuple[str, ...]
    counts: np.ndarray
    covered: np.ndarray
    interval: np.ndarray
    band: np.ndarray
    alpha: float
    level: float

    @property
    def coverage(self) -> np.ndarray:
        """(rows,) share of the test points that was covered."""
        return np.asarray(self.covered / self.counts)

    @property
    def low(self) -> np.ndarray:
        """(rows,) whether fewer were covered than the band allows."""
        return np.asarray(self.coverage < self.band[:, 0] - 1e-12)

    @property
    def high(self) -> np.ndarray:
        """(rows,) whether more were covered than the band allows: sets are too large there."""
        return np.asarray(self.coverage > self.band[:, 1] + 1e-12)

    def frame(self) -> Any:
        """The table as a DataFrame, one row per part."""
        import pandas as pd

        columns = {
            "count": self.counts,
            "coverage": self.coverage,
            "lower": self.interval[:, 0],
            "upper": self.interval[:, 1],
            "band lower": self.band[:, 0],
            "band upper": self.band[:, 1],
            "verdict": np.select([self.low, self.high], ["low", "high"], ""),
        }
        return pd.DataFrame(columns, index=list(self.parts))

    def summary(self) -> str:
        """The table, for reading."""
        width = max(map(len, self.parts))
        lines = [
            f"coverage, promised {1 - self.alpha:g}; limits and bands hold for all rows together "
            f"with probability {1 - self.level:g}",
            f"{'':{width}}  points  coverage  exact limits      band if kept",
        ]
        for k, name in enumerate(self.parts):
            said = " LOW" if self.low[k] else " high" if self.high[k] else ""
            lines.append(
                f"{name:{width}}  {self.counts[k]:6d}  {self.coverage[k]:8.3f}  "
                f"[{self.interval[k, 0]:.3f}, {self.interval[k, 1]:.3f}]    "
                f"[{self.band[k, 0]:.3f}, {self.band[k, 1]:.3f}]{said}"
            )
        return "\n".join(lines)

    __str__ = summary


def coverage_report(
    covered: ArrayLike,
    *,
    alpha: Number,
    n: int | Mapping[Any, int] | None = None,
    groups: ArrayLike | None = None,
    covariates: Any = None,
    bins: int = 4,
    level: Number = 0.05,
) -> CoverageReport:
    """Where are the sets covered less often than promised: in which group, at which covariates?

    Limits are Clopper-Pearson's, given the sets. Bands are quantiles of the exact law of the
    count: BetaBinomial where the threshold came from ``n`` calibration points, binomial otherwise.
    Both pay for the number of rows (Bonferroni), so that one row outside is evidence enough.

    Args:
        covered: (m,) whether each set held its outcome, ``out.contains(y)``.
        alpha: the miscoverage promised.
        n: calibration points behind the threshold; a dictionary by group where each had its own
            (Mondrian). By default the coverage promised is taken as exact.
        groups: (m,) names of groups.
        covariates: DataFrame or dictionary of (m,) columns. Numbers are cut at their quantiles,
            texts and columns of few values are taken as they are.
        bins: parts of a column of numbers.
        level: probability that any row is wrong.

    Raises:
        ArrayError: shapes or indexes that differ, missing values, a group without calibration
            points in ``n``.
        LevelError: alpha or level outside (0, 1).

    Source: Vovk (2012), proposition 2b; Clopper & Pearson (1934).
    """
    same_index(covered=covered, groups=groups)
    inside = np.asarray(covered)
    if inside.dtype != bool or inside.ndim != 1 or not inside.size:
        raise ArrayError(
            f"covered must be booleans (m,), one per test point, got {inside.dtype} "
            f"{inside.shape}; of several levels take one column, out.contains(y)[:, 0]."
        )
    at_least(2, bins=bins)
    missed, chance = fraction("alpha", alpha), fraction("level", level)
    parts: list[tuple[str, np.ndarray, Any]] = [("all", np.ones(inside.size, bool), None)]
    if groups is not None:
        parts += [
            (str(name), rows, name)
            for name, rows in _levels(as_groups("groups", groups, inside.size))
        ]
    for name, column in _columns(covariates, covered, inside.size):
        parts += [(f"{name} {part}", rows, None) for part, rows in _cut(name, column, bins)]
    counts = np.array([rows.sum() for _, rows, _ in parts])
    hits = np.array([(inside & rows).sum() for _, rows, _ in parts])
    share = chance / len(parts)
    limits = [clopper_pearson(k, int(m), error=share) for k, m in zip(hits, counts, strict=True)]
    bands = [
        _band(int(m), missed, share, _calibrated(n, name, group))
        for m, (name, _, group) in zip(counts, parts, strict=True)
    ]
    return CoverageReport(
        tuple(name for name, _, _ in parts),
        counts,
        hits,
        np.array(limits, float).reshape(-1, 2),
        np.array(bands),
        missed,
        chance,
    )


def _calibrated(n: Any, name: str, group: Any) -> int | None:
    """Calibration points behind the threshold of a part, None where unknown."""
    if n is None:
        return None
    if isinstance(n, int | np.integer):
        at_least(1, n=n)
        return int(n)
    if not isinstance(n, Mapping):
        raise ArrayError(f"n must be a number of calibration points or one per group, got {n!r}.")
    if group is None:  # thresholds of several groups: their mixture has no such law
        return None
    found = {str(k): v for k, v in n.items()}.get(str(group))
    if found is None:
        raise ArrayError(f"n has no calibration points of the group {name}; it has {list(n)}.")
    at_least(1, n=found)
    return int(found)


@lru_cache(maxsize=4096)
def _band(m: int, alpha: float, share: float, n: int | None) -> tuple[float, float]:
    """Shares between which the covered points of ``m`` lie with probability ``1 - share``."""
    from scipy.stats import betabinom, binom

    if n is None:
        law = binom(m, 1 - alpha)
    else:
        k = int(upper_rank(n, alpha))
        if k > n:  # infinite sets
            return 1.0, 1.0
        law = betabinom(m, k, n + 1 - k)
    points = np.arange(m + 1)
    below = law.cdf(points)
    low = int(np.argmax(below > share / 2))  # P(fewer than low) <= share / 2
    above = int(np.argmax(below >= 1 - share / 2 - 1e-15))  # P(more than above) <= share / 2
    return low / m, above / m


def _levels(values: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    return [(name, values == name) for name in np.unique(values)]


def _columns(covariates: Any, covered: Any, size: int) -> list[tuple[str, Any]]:
    if covariates is None:
        return []
    if is_pandas(covariates):
        same_index(covered=covered, covariates=covariates)
        if covariates.ndim == 1:
            return [(str(covariates.name or "covariate"), covariates.to_numpy())]
        return [(str(name), covariates[name].to_numpy()) for name in covariates.columns]
    if not isinstance(covariates, Mapping):
        raise ArrayError("covariates must be a DataFrame or a dictionary of columns by name.")
    return [(str(name), column) for name, column in covariates.items()]


def _cut(name: str, column: Any, bins: int) -> list[tuple[str, np.ndarray]]:
    values = np.asarray(column)
    if values.dtype.kind in "OUSb" or np.unique(values).size <= bins:
        return [(f"= {part}", rows) for part, rows in _levels(as_groups(name, column))]
    numbers = np.asarray(as_float(name, column, ndim=1, finite=True), float)
    edges = np.unique(np.quantile(numbers, np.arange(1, bins) / bins))
    index = np.searchsorted(edges, numbers, "right")
    ends = [-np.inf, *edges, np.inf]
    found = []
    for k in range(edges.size + 1):
        if (index == k).any():
            low, high = f"{ends[k]:.4g}", f"{ends[k + 1]:.4g}"
            what = f"< {high}" if k == 0 else f">= {low}" if k == edges.size else f"{low} to {high}"
            found.append((what, index == k))
    return found
