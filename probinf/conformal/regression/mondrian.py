"""Predictive systems that are calibrated within groups, and groups of like predictions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.sets.intervals import Interval
from probinf.core.inputs.arrays import ArrayLike, as_float
from probinf.core.inputs.levels import Level
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key


@dataclasses.dataclass(frozen=True)
class MondrianSystem:
    """Predictive distributions, each calibrated by the points of its own group.

    Methods and shapes are those of :class:`PredictiveSystem`; what they promise holds within
    every group.

    Attributes:
        parts: one :class:`PredictiveSystem` per group.
        rows: the test points of each.
    """

    parts: tuple[Any, ...]
    rows: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """Number of test points."""
        return sum(r.size for r in self.rows)

    def _joined(self, found: list[np.ndarray]) -> np.ndarray:
        out = np.empty((self.size, *found[0].shape[1:]))
        for rows, values in zip(self.rows, found, strict=True):
            out[rows] = values
        return out

    def _of_rows(self, name: str, y: ArrayLike, *, size: bool = True) -> list[np.ndarray]:
        """``y`` group by group; a grid (1, g) is every group's."""
        value = np.asarray(as_float(name, y, size=self.size if size else None), float)
        shared = value.ndim == 0 or value.shape[0] == 1 != self.size
        return [value if shared else value[rows] for rows in self.rows]

    def cdf(self, y: ArrayLike, *, tau: ArrayLike = 0.5) -> np.ndarray:
        """Q(y, tau): (m,) for y (m,), or (m, g) for a grid y (1, g)."""
        values, taus = self._of_rows("y", y, size=False), self._of_rows("tau", tau, size=False)
        found = [p.cdf(v, tau=t) for p, v, t in zip(self.parts, values, taus, strict=True)]
        return self._joined([np.asarray(f) for f in found])

    def pit(self, y: ArrayLike, *, key: int | Key) -> np.ndarray:
        """(m,) exact probability integral transforms of the outcomes, uniform one by one."""
        values = self._of_rows("y", y)
        return self._joined([p.pit(v, key=key) for p, v in zip(self.parts, values, strict=True)])

    def quantile(self, level: ArrayLike) -> np.ndarray:
        """Quantiles (m,) or (m, L): the least y with ``P(Y <= y) >= level``, +inf past the data."""
        return self._joined([p.quantile(level) for p in self.parts])

    def interval(self, alpha: Level) -> Interval:
        """Central intervals, (m,) or (m, A), with alpha / 2 on either side."""
        found = [p.interval(alpha) for p in self.parts]
        lower, upper = (self._joined([getattr(f, e) for f in found]) for e in ("lower", "upper"))
        promise = found[0].guarantee.replace("marginal", "within every group")
        return Interval(lower, upper, found[0].alpha, promise)

    def crps(self, y: ArrayLike) -> np.ndarray:
        """(m,) continuous ranked probability scores."""
        values = self._of_rows("y", y)
        return self._joined([p.crps(v) for p, v in zip(self.parts, values, strict=True)])

    def sample(self, key: int | Key, draws: int) -> np.ndarray:
        """(m, draws) draws from the calibrated values of each point's group."""
        import jax

        keys = jax.random.split(as_key(key), len(self.parts))
        return self._joined([p.sample(k, draws) for p, k in zip(self.parts, keys, strict=True)])


def mondrian_bins(
    values_cal: ArrayLike, values_test: ArrayLike, *, bins: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Groups (n,) and (m,) of like values: predictions, difficulties, or a covariate.

    Calibration points are parted at their own quantiles, so that each bin holds about ``n / bins``
    of them. The promise within groups that depend on calibration covariates in this way still holds
    up to the few points at the edges; exactly, if the values are those of other data.

    Args:
        values_cal, values_test: (n,) and (m,), known before the outcome.
        bins: how many.

    Source: Boström & Johansson (2020), Mondrian conformal regressors.
    """
    at_least(1, bins=bins)
    cal = np.asarray(as_float("values_cal", values_cal, ndim=1), float)
    test = np.asarray(as_float("values_test", values_test, ndim=1), float)
    edges = np.quantile(cal, np.arange(1, bins) / bins, method="higher")
    return np.searchsorted(edges, cal, "right"), np.searchsorted(edges, test, "right")
