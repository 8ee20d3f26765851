"""Intervals of probabilities that stay between 0 and 1."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.ppi.inference.result import Result
from probinf.ppi.inference.transforms import transformed


@dataclasses.dataclass(frozen=True, repr=False)
class SurvivalResult(Result):
    """A `Result` of probabilities, whose intervals and tests are made for ``log(-log(p))``.

    On that scale the errors of a survival curve are closer to normal, and limits never leave
    [0, 1]. An estimate that itself does (predictions can push it there), or whose interval on this
    scale is not defined, keeps its plain limits, cut to [0, 1].

    Source: Kalbfleisch & Prentice (2002), equation 1.20; Borgan & Liestoel (1990) compare scales.
    """

    @property
    def _slope(self) -> np.ndarray:
        """(d,) change of p in that of log(-log(p)), zero where there is no such scale."""
        p = np.where((self.theta > 0) & (self.theta < 1), self.theta, 1.0)
        return -p * np.log(p)

    @property
    def plain(self) -> Result:
        """The same estimates with symmetric limits and tests."""
        return Result(**{a.name: getattr(self, a.name) for a in dataclasses.fields(Result)})

    def _transformed(self, value: np.ndarray, slope: np.ndarray, names: Any, what: str) -> Result:
        return transformed(self.plain, value, slope, names, what)  # no probabilities any more

    def _limits(self, below: np.ndarray, above: np.ndarray, side: str = "two-sided") -> Any:
        plain = self.theta - below, self.theta + above
        low, high = np.clip(plain, 0.0, 1.0)
        scaled = self._slope > 0
        p, slope = np.where(scaled, self.theta, 0.5), np.where(scaled, self._slope, 1.0)
        low = np.where(scaled, p ** np.exp(below / slope), low)
        high = np.where(scaled, p ** np.exp(-above / slope), high)
        low = np.where(side == "smaller", 0.0, low)
        high = np.where(side == "larger", 1.0, high)
        return self._intervals(np.stack([low, high], axis=1))

    def _statistic(self, null: Any) -> np.ndarray:
        plain = super()._statistic(null)
        at = np.clip(np.broadcast_to(np.asarray(null, float), self.theta.shape), 0.0, 1.0)
        scaled = self._slope > 0
        p = np.where(scaled, self.theta, 0.5)
        with np.errstate(divide="ignore", over="ignore"):
            gap = np.log(-np.log(at)) - np.log(-np.log(p))
            moved = np.where(gap == 0, 0.0, gap * self._slope / self._se)
        return np.where(scaled, moved, plain)
