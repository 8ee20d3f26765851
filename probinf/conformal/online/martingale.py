"""Exchangeability martingales: is the calibration still valid?"""

from __future__ import annotations

import bisect
import dataclasses
from typing import Any

import numpy as np

from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import check_choice
from probinf.core.keys import as_generator
from probinf.core.program import Key
from probinf.errors import ArrayError

JUMPS = (0.001, 0.01, 0.1)
SLOPES = (-2.0, -1.0, 0.0, 1.0, 2.0)
BENDS = (-1.0, -0.5, 0.5, 1.0)
_SLOPES, _BENDS = np.zeros((2, len(SLOPES) + len(BENDS)))
_SLOPES[: len(SLOPES)], _BENDS[len(SLOPES) :] = SLOPES, BENDS
_JUMPS = np.array(JUMPS)[:, None]
_POWERS = (np.arange(64) + 0.5) / 64


class ExchangeabilityTest:
    """A bet against exchangeability, score by score.

    As long as the scores so far are exchangeable, capital of one grows beyond ``1 / alpha`` with
    probability at most ``alpha``, however long one looks (Ville's inequality); after a shift it
    grows exponentially. Each new score has a conformal p-value among all scores before it, ties
    broken at random; these are independent and uniform under exchangeability, and what is bet on
    is that they are not. ``update`` changes the test itself, and returns it.

    Attributes:
        alpha: probability of ever raising a false alarm.
        bet: ``"jumper"`` or ``"power"``.
        steps: scores seen, without those that came first.
        log_wealth: logarithm of the capital now.
        alarm: the step, counted from 1, at which the capital first reached ``1 / alpha``, or None.
        p_value: ``1 / (largest capital so far)``, valid at any time.
    """

    def __init__(
        self,
        calibration: ArrayLike = (),
        *,
        alpha: Number = 0.01,
        bet: str = "jumper",
        key: int | Key = 0,
    ) -> None:
        check_choice("bet", bet, ("jumper", "power"))
        first = np.asarray(as_float("calibration", calibration, ndim=1, finite=True), float)
        self.alpha, self.bet = fraction("alpha", alpha), bet
        self._sorted: list[float] = sorted(first.tolist())
        self._random = as_generator(key)
        self._capital = _start(bet)
        self.steps, self.log_wealth, self._highest = 0, 0.0, 0.0
        self.alarm: int | None = None

    @property
    def p_value(self) -> float:
        """One over the largest capital so far."""
        return float(np.exp(-self._highest))

    def update(self, score: ArrayLike) -> ExchangeabilityTest:
        """Take in the next score.

        Raises:
            ArrayError: it is not one finite number.
        """
        return self._take(float(as_float("score", score, ndim=0, finite=True)))

    def _take(self, s: float) -> ExchangeabilityTest:
        left, right = bisect.bisect_left(self._sorted, s), bisect.bisect_right(self._sorted, s)
        n = len(self._sorted)
        p = (n - right + self._random.uniform() * (right - left + 1)) / (n + 1)
        self._sorted.insert(right, s)
        self._capital, self.log_wealth = _grown(self.bet, self._capital, p)
        self._highest = max(self._highest, self.log_wealth)
        self.steps += 1
        if self.alarm is None and self.log_wealth >= -np.log(self.alpha):
            self.alarm = self.steps
        return self

    def __repr__(self) -> str:
        said = "no alarm" if self.alarm is None else f"alarm at step {self.alarm}"
        return (
            f"ExchangeabilityTest: {self.steps} steps, {said} (false alarm <= {self.alpha:g} at "
            f"any time), log wealth {self.log_wealth:.3g}, p-value {self.p_value:.3g}"
        )


@dataclasses.dataclass(frozen=True)
class Drift:
    """What a test of exchangeability found along a series of scores.

    Attributes:
        log_wealth: (T,) logarithm of the capital after every score.
        alarm: the index of the score at which the capital first reached ``1 / alpha``, or None.
        alpha: probability of ever raising a false alarm.
        guarantee: what is promised.
    """

    log_wealth: np.ndarray
    alarm: int | None
    alpha: float
    guarantee: str

    @property
    def p_values(self) -> np.ndarray:
        """(T,) one over the largest capital so far: valid at any time, never increasing."""
        return np.asarray(np.exp(-np.maximum.accumulate(np.maximum(self.log_wealth, 0.0))))

    def summary(self) -> str:
        """The verdict, for reading."""
        p = self.p_values[-1] if self.log_wealth.size else 1.0
        said = "no alarm" if self.alarm is None else f"alarm at score {self.alarm}"
        return f"{self.log_wealth.size} scores, {said}, p-value {p:.3g}; {self.guarantee}"

    __str__ = summary


def detect_drift(
    scores: ArrayLike,
    calibration: ArrayLike = (),
    *,
    alpha: Number = 0.01,
    bet: str = "jumper",
    key: int | Key = 0,
) -> Drift:
    """Watch scores for a change of their law: are calibration and new points still exchangeable?

    Args:
        scores: (T,) nonconformity scores in order of time.
        calibration: (n,) scores of before, which the new ones are compared with from the start.
        alpha: probability of ever raising a false alarm.
        bet: ``"jumper"``, which bets on larger, smaller, more central or more extreme scores and
            changes its mind, or ``"power"``, a mixture of steady bets on larger scores alone, which
            misses fewer of the weak shifts to those and never sees scores that shrink.
        key: random key or seed, which breaks ties.

    Raises:
        ArrayError: NaN or infinite scores.
        LevelError: alpha outside (0, 1).
        MethodError: an unknown bet.

    Source: Vovk, Nouretdinov & Gammerman (2003); Vovk et al. (2021), simple jumper.
    """
    values = np.asarray(as_float("scores", scores, ndim=1, finite=True), float)
    if not values.size:
        raise ArrayError("scores is empty: there is nothing to watch.")
    test = ExchangeabilityTest(calibration, alpha=alpha, bet=bet, key=key)
    found = np.array([test._take(s).log_wealth for s in values.tolist()])
    promise = f"a false alarm ever has probability <= {test.alpha:g}, exchangeable data (Ville)"
    alarm = None if test.alarm is None else test.alarm - 1
    return Drift(found, alarm, test.alpha, promise)


def _shapes(p: float) -> np.ndarray:
    """Densities of a p-value that the jumper bets on: lines and parabolas that integrate to one."""
    return np.asarray(1 + _SLOPES * (p - 0.5) + _BENDS * (6 * p * p - 6 * p + 1))


def _start(bet: str) -> Any:
    """Logarithm of the capital now, and how it is spread over bets, which sums to one."""
    if bet == "power":
        return 0.0, np.full(_POWERS.size, 1 / _POWERS.size)
    count = len(SLOPES) + len(BENDS)
    return 0.0, np.full((len(JUMPS), count), 1 / (len(JUMPS) * count))


def _grown(bet: str, capital: Any, p: float) -> tuple[Any, float]:
    """The capital after a p-value, and the logarithm of its total."""
    log_total, share = capital
    if bet == "power":
        gains = _POWERS * max(p, 1e-300) ** (_POWERS - 1)
    else:
        share = (1 - _JUMPS) * share + _JUMPS * (share.sum(axis=1, keepdims=True) / share.shape[1])
        gains = _shapes(p)
    share = share * gains
    total = share.sum()
    log_total = log_total + float(np.log(total))
    return (log_total, share / total), log_total
