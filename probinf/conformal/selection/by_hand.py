"""Chiseling by hand: the next cut is picked from what was revealed, tests are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from probinf.conformal.calibration.randomness import uniforms
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import as_level, fraction
from probinf.core.program import Key
from probinf.errors import ArrayError, MethodError

Rule = Callable[[np.ndarray], Any]


class Revealed(NamedTuple):
    """What may be looked at: rows (r,) of the data, their covariates (r, d), their outcomes."""

    rows: np.ndarray
    X: np.ndarray
    y: np.ndarray


class ChiselByHand:
    """Carve a region in which a binary outcome is frequent, cut by cut, and test it exactly.

    Some points are revealed, the others are masked. From what is revealed think of a rule, cut the
    points with its lowest values off (they are revealed, too) and test the rest when it looks
    promising, as often as wanted: ``P(a test rejects where P(y = 1 | region) <= above) <= alpha``
    whatever the way in which rules and times were picked, because masked points stay a sample of
    the region, and because a test that follows others takes into account that they did not reject.

    Args:
        X: (n, d) covariates.
        y: (n,) outcomes, 0 or 1; in a trial with even odds of treatment, whether "treated" and
            "success" agree, whose frequency is one half without an effect.
        above: frequency that the region is to exceed.
        key: random key or seed of the points revealed first.
        alpha: probability of a false discovery.
        start: fraction of the points revealed first.

    Raises:
        ArrayError: NaN, outcomes that are not 0 or 1, sizes that differ.
        LevelError: above, alpha or start outside (0, 1).

    Source: Cheng, Spector & Janson (2025), algorithm 1, with binary outcomes.
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        above: Number,
        key: int | Key,
        alpha: Number = 0.05,
        start: Number = 0.2,
    ) -> None:
        same_index(X=X, y=y)
        self._x = np.asarray(as_float("X", X, ndim=2), float)
        self._y = np.asarray(as_float("y", y, ndim=1, size=len(self._x)), float)
        if not np.isin(self._y, (0, 1)).all():
            raise ArrayError("y must hold 0 and 1 only; exact tests are for binary outcomes.")
        self._above, self._left = fraction("above", above), as_level(alpha)
        self._masked = np.asarray(uniforms(key, len(self._x)) > fraction("start", start))
        self._rules: list[tuple[Rule, float]] = []
        self._open = np.ones(self.masked + 1)  # by successes: chance that no test has rejected
        self.rejected = False

    @property
    def masked(self) -> int:
        """How many points are masked still."""
        return int(self._masked.sum())

    @property
    def budget(self) -> float:
        """What is left of alpha."""
        return self._left

    @property
    def revealed(self) -> Revealed:
        """All that may be looked at so far."""
        rows = np.flatnonzero(~self._masked)
        return Revealed(rows, self._x[rows], self._y[rows])

    def cut(self, rule: Rule, count: int) -> Revealed:
        """Reveal the ``count`` masked points of lowest ``rule(X)``, and all that tie with them.

        The rule is given the covariates of masked points; it must not pass them on to you.

        Raises:
            ArrayError: a rule that gives no number for each row.
            MethodError: nothing would be left, or a test has rejected.
        """
        self._check_open()
        if not 1 <= count < self.masked:
            raise MethodError(f"count must lie in 1..{self.masked - 1}, got {count}.")
        rows = np.flatnonzero(self._masked)
        found = np.asarray(as_float("rule(X)", rule(self._x[rows]), ndim=1, size=rows.size))
        threshold = float(np.sort(found)[count - 1])
        gone = rows[found <= threshold]
        if gone.size == rows.size:
            raise MethodError(
                "the rule gives all remaining points one value, so that none would stay masked; "
                "take one that tells points apart, or a smaller count."
            )
        self._masked[gone] = False
        self._rules.append((rule, threshold))
        self._open = self._open[int(self._y[gone].sum()) :][: self.masked + 1]
        return Revealed(gone, self._x[gone], self._y[gone])

    def test(self, spend: Number = 0.5) -> bool:
        """Whether the region is found to exceed ``above``, at a share ``spend`` of what is left.

        Only the level that a whole number of successes can use is spent.

        Raises:
            MethodError: a test has rejected already.
        """
        from scipy.stats import binom

        self._check_open()
        level = self._left * fraction("spend", spend, closed=True)
        law = binom.pmf(np.arange(self.masked + 1), self.masked, self._above) * self._open
        if law.sum() <= 0:
            return False
        tail = np.cumsum(law[::-1])[::-1] / law.sum()
        least = int((np.append(tail, 0.0) <= level).argmax())
        used = float(np.append(tail, 0.0)[least])
        self._left = (self._left - used) / (1 - used)
        self.rejected = bool(self._y[self._masked].sum() >= least)
        if not self.rejected:
            self._open = np.where(np.arange(self._open.size) < least, self._open, 0.0)
        return self.rejected

    def contains(self, X: ArrayLike) -> np.ndarray:
        """Whether new points lie in the region."""
        x = np.asarray(as_float("X", X, ndim=2), float)
        inside = np.ones(len(x), bool)
        for rule, threshold in self._rules:
            inside &= np.asarray(rule(x)) > threshold
        return inside

    def _check_open(self) -> None:
        if self.rejected:
            raise MethodError("a test has rejected: the region stands as it is; start anew.")
