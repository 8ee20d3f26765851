"""The rectified distribution function: predictions everywhere, corrected where labels exist."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.errors import ConvergenceError
from probinf.ppi.inference.scheme import Scheme


class Sorted:
    """Values with weights, sorted once on the host: weighted counts up to any point.

    Values of weight zero are left out: the distribution function does not jump there.
    """

    def __init__(self, values: np.ndarray, weights: np.ndarray) -> None:
        if weights.min() == 0 < weights.max():
            values, weights = values[weights > 0], weights[weights > 0]
        self.weight = float(weights[0]) if weights.min() == weights.max() else None
        if self.weight is not None:  # neither a permutation nor sums are needed: much faster
            self.values = np.sort(values)
            return
        order = np.argsort(values)
        self.values, steps = values[order], weights[order]
        self._sums = np.concatenate([[0.0], np.cumsum(steps)])
        self._squares = np.concatenate([[0.0], np.cumsum(steps**2)])

    def mass(self, count: Any) -> tuple[Any, Any]:
        """Sums of weights and of squared weights of the ``count`` smallest values."""
        if self.weight is not None:
            return np.asarray(count) * self.weight, np.asarray(count) * self.weight**2
        return self._sums[count], self._squares[count]

    @property
    def total(self) -> tuple[float, float]:
        """Sums of all weights and of their squares."""
        weight, square = self.mass(len(self.values))
        return float(weight), float(square)

    def upto(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of weights and of squared weights of values that are at most ``t``."""
        return self.mass(np.searchsorted(self.values, t, side="right"))

    def between(self, low: float, high: float) -> np.ndarray:
        """Values in [low, high]."""
        a = np.searchsorted(self.values, low, side="left")
        return self.values[a : np.searchsorted(self.values, high, side="right")]


@dataclasses.dataclass(frozen=True)
class Rectified:
    """D(t), the rectified distribution function minus q, with its variance.

    Attributes:
        q: level.
        lam: weight of the predictions.
        y, f, both: labels, predictions on labelled rows, and their maximum.
        control: predictions with the weights of the control, where they differ.
        other: predictions on unlabelled rows.
        factors: multiply the variances of labelled and unlabelled rows.
        floor: least variance: that around the estimate. Beyond the last label the plain variance is
            zero, although a few labels cannot tell where the distribution ends.
    """

    q: float
    lam: float
    y: Sorted
    f: Sorted
    both: Sorted
    control: Sorted | None
    other: Sorted
    factors: tuple[float, float] = (1.0, 1.0)
    floor: float = 0.0

    def evaluate(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """D and its variance at the points ``t``."""
        lam = self.lam
        py, yy = self.y.upto(t)
        pf, ff = self.f.upto(t)
        _, both = self.both.upto(t)
        pu, uu = self.other.upto(t)
        everything, squares_u = self.other.total
        minus, rest = pf, 0.0
        if self.control is not None:
            minus, _ = self.control.upto(t)
            rest = everything - self.control.total[0]
        total, squares = self.y.total
        value = py - self.q * total + lam * (pu - minus - self.q * rest)
        mean = (py - lam * pf) / total
        mine = yy + lam**2 * ff - 2 * lam * both - 2 * mean * (yy - lam * ff) + mean**2 * squares
        share = pu / everything
        theirs = lam**2 * (uu - 2 * share * uu + share**2 * squares_u)
        one, two = self.factors
        return value, np.maximum(
            np.maximum(mine, 0.0) * one + np.maximum(theirs, 0.0) * two, self.floor
        )

    def statistics(self, t: float) -> tuple[float, float]:
        """How far the distribution function just below ``t``, and at it, lies above the level.

        Both in standard errors. The quantile is ``t`` where the first is not positive and the
        second not negative.
        """
        found, variance = self.evaluate(np.array([np.nextafter(t, -np.inf), t]))
        value = np.where(np.abs(found) < 1e-15, 0.0, found)
        with np.errstate(divide="ignore", invalid="ignore"):
            below, at = np.where(value == 0, 0.0, value / np.sqrt(variance))
        return float(below), float(at)

    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labelled points (the jumps of Y and F), D there, and D just before the next one."""
        ends = [self.other.values[:1], self.other.values[-1:]]
        points = np.unique(np.concatenate([self.y.values, self.f.values, *ends]))
        value, _ = self.evaluate(points)
        before = np.searchsorted(self.other.values, points[1:], side="left")
        at = np.searchsorted(self.other.values, points[:-1], side="right")
        rise = self.lam * (self.other.mass(before)[0] - self.other.mass(at)[0])
        return points, value, np.append(value[:-1] + rise, value[-1])

    def _window(self, wanted: np.ndarray, points: np.ndarray) -> np.ndarray:
        """All data points from the first to the last wanted cell."""
        index = np.flatnonzero(wanted)
        low, high = index[0], min(index[-1] + 1, len(points) - 1)
        inner = self.other.between(points[low], points[high])
        if self.lam == 0:
            inner = inner[:0]
        return np.unique(np.concatenate([points[low : high + 1], inner]))

    def point(self) -> float:
        """The first data point at which D is not negative."""
        points, value, end = self._cells()
        reached = (value >= -1e-12) | (end >= -1e-12)
        if not reached.any():
            return float(points[-1])
        first = np.zeros_like(reached)
        first[np.argmax(reached)] = True
        window = self._window(first, points)
        found, _ = self.evaluate(window)
        return float(window[np.argmax(found >= -1e-12)])

    def accepted(self, critical: float, side: str, *, extend: bool) -> tuple[float, float]:
        """Limits of the quantiles t that are not rejected.

        From the first point at which the distribution function is not significantly below the
        level, to the last one below which it is not significantly above: with ties it jumps over
        the level at a point that is then accepted.

        Args:
            critical: quantile of the statistic.
            side: alternative; one-sided ones give a half-line.
            extend: False takes the distribution function at t for both comparisons, looks at data
                points only, and finds none where it jumps over the level.

        Raises:
            ConvergenceError: without ``extend``, no value is accepted.
        """
        points, value, end = self._cells()
        _, variance = self.evaluate(points)
        # Within a cell only the unlabelled part changes; 1/4 bounds its variance.
        spare = 0.25 * self.lam**2 * self.other.total[1] * self.factors[1]
        reach = critical * np.sqrt(variance + spare)
        low, high = np.minimum(value, end), np.maximum(value, end)
        not_above, not_below = low <= reach, high >= -reach
        if side == "larger":
            not_above[:] = True
        if side == "smaller":
            not_below[:] = True
        if not extend:
            not_above = not_below = not_above & not_below
        edges = np.zeros(len(points), bool)  # the window holds the point before the first, too
        edges[np.maximum(np.flatnonzero(not_below)[:1] - 1, 0)] = True
        edges[np.flatnonzero(not_above)[-1:]] = True
        window = self._window(edges, points) if edges.any() else points
        found, variance = self.evaluate(window)
        bound = critical * np.sqrt(variance) + 1e-15
        enough, spared = found >= -bound, found <= bound
        if not extend:
            return self._on_data(window, enough, spared, side)
        start, stop = -np.inf, np.inf
        below = np.sqrt(self.evaluate(np.nextafter(points[:1], -np.inf))[1][0])
        total = self.y.total[0]
        if side != "smaller" and self.q * total > critical * below:
            start = float(window[np.argmax(enough)]) if enough.any() else float(points[-1])
        if side != "larger":
            last = float(window[np.flatnonzero(spared)[-1]]) if spared.any() else -np.inf
            stop = self._next(last)
        return start, stop

    def _on_data(
        self, window: np.ndarray, enough: np.ndarray, spared: np.ndarray, side: str
    ) -> tuple[float, float]:
        """Hull of the data points at which the distribution function agrees with the level."""
        keep = spared if side == "smaller" else enough if side == "larger" else enough & spared
        if not keep.any():
            raise ConvergenceError(
                f"no data point is accepted as the {self.q:g} quantile: with ties the "
                "distribution function jumps over the level. Leave out compat='ppi_py'."
            )
        index = np.flatnonzero(keep)
        return (
            -np.inf if side == "smaller" else float(window[index[0]]),
            np.inf if side == "larger" else float(window[index[-1]]),
        )

    def _next(self, t: float) -> float:
        """The first jump of the distribution function beyond ``t``."""
        jumps = (self.y,) if self.lam == 0 else (self.y, self.f, self.other)
        later = [
            s.values[i]
            for s in jumps
            if (i := int(np.searchsorted(s.values, t, side="right"))) < len(s.values)
        ]
        return float(min(later)) if later else np.inf

    def density(self, at: float) -> float:
        """The slope that a 95 % interval implies (Woodruff, 1952); 1e12 at an atom."""
        points = self._cells()[0]
        low, high = np.clip(self.accepted(1.96, "two-sided", extend=True), points[0], points[-1])
        _, variance = self.evaluate(np.array([np.nextafter(at, -np.inf), at]))
        if high <= low or variance.max() <= 0:
            return 1e12  # the quantile does not move
        return float(2 * 1.96 * np.sqrt(variance.max()) / (high - low))


def rectified(
    y: np.ndarray, f: np.ndarray, other: Sorted, scheme: Scheme, q: float, lam: float
) -> Rectified:
    """The process of labels (n,), predictions (n,) and sorted unlabelled predictions."""
    return Rectified(
        q,
        lam,
        Sorted(y, scheme.alpha),
        Sorted(f, scheme.alpha),
        Sorted(np.maximum(y, f), scheme.alpha),
        Sorted(f, scheme.gamma) if scheme.joint else None,
        other,
    )
