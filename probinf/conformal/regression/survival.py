"""Lower bounds of lifetimes, calibrated with times that were censored."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from probinf.conformal.calibration.ranks import weighted_quantile
from probinf.conformal.regression.curves import SurvivalCurves, censored
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.frames import same_index
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import check_choice
from probinf.errors import ArrayError, CalibrationError, InfiniteSetWarning, MethodError

METHODS = ("doubly robust", "weights", "cutoff")
_LEVELS = 400  # levels of the curves that are tried, at most


@dataclasses.dataclass(frozen=True)
class SurvivalBounds:
    """Times that lifetimes exceed with a promised probability.

    Attributes:
        lower: (m,) lower bounds; zero where the data support none.
        alpha: probability of an event before its bound.
        guarantee: what is promised, and under which assumption.
    """

    lower: np.ndarray
    alpha: float
    guarantee: str

    def contains(self, time: ArrayLike) -> np.ndarray:
        """(m,) whether each lifetime reaches its bound."""
        return np.asarray(as_float("time", time, ndim=1, size=len(self.lower))) >= self.lower

    def summary(self) -> str:
        """Bounds and promise, for reading."""
        if not len(self.lower):
            return f"no test points: {self.guarantee}"
        low, mid, high = np.quantile(self.lower, [0.1, 0.5, 0.9])
        return (
            f"{len(self.lower)} lower bounds of lifetimes: {self.guarantee}; {low:.4g} / {mid:.4g} "
            f"/ {high:.4g} (10, 50, 90 % of them), {np.mean(self.lower <= 0):.1%} are zero"
        )

    __str__ = summary


def survival_bounds(
    time: ArrayLike,
    event: ArrayLike,
    survival_cal: SurvivalCurves,
    censoring_cal: SurvivalCurves,
    survival_test: SurvivalCurves,
    censoring_test: SurvivalCurves,
    *,
    alpha: Number = 0.1,
    method: str = "doubly robust",
    cap: Number = 0.1,
    censor_time: ArrayLike | None = None,
    cutoff: Number | None = None,
) -> SurvivalBounds:
    """Lower bounds of lifetimes from calibration rows some of whose times are censored.

    A bound is a quantile of a row's estimated survival curve, at a level that is calibrated: an
    event that was seen before its bound counts for all those whose events censoring hid, by the
    inverse of the chance to be seen. Bounds stop where so few rows would still be seen that one of
    them could outweigh alpha.

    Args:
        time: (n,) when each calibration row was last seen.
        event: (n,) 1 where the event happened then, 0 where the row was censored.
        survival_cal, survival_test: curves ``P(T > t | x)`` of the n and of m new rows, from other
            data; they decide how sharp bounds are.
        censoring_cal, censoring_test: curves ``P(C > t | x)`` of the same rows; they decide
            whether bounds are right.
        alpha: probability of an event before the bound.
        method: ``"weights"`` is exact for any n when the censoring curves are the true ones;
            ``"doubly robust"`` fills in what was hidden from the survival curves, and is right in
            large samples when either kind of curves is; ``"cutoff"`` uses the rows that could have
            been watched until ``cutoff``, exact with the true curves, and needs ``censor_time``.
        cap: bounds stay below the time at which the chance not to be censored falls to this.
        censor_time: (n,) censoring times of all rows, also of those with an event ("cutoff").
        cutoff: time that no bound exceeds ("cutoff"), chosen without these data.

    Raises:
        ArrayError: NaN, sizes that differ, times that are not positive, events not 0 or 1.
        CalibrationError: no row could have been watched until ``cutoff``.
        MethodError: an unknown method, ``cutoff`` without its arguments.

    Warns:
        InfiniteSetWarning: too few rows for this alpha: bounds of zero.

    Source: Candès, Lei & Ren (2023), algorithm 1 ("cutoff"); Gui, Hore, Ren & Barber (2024) for
    cutoffs that adapt to x; Farina, Tchetgen Tchetgen & Kuchibhotla (2025) for augmented weights;
    Angelopoulos et al. (2024) for the finite-sample term.
    """
    same_index(time=time, event=event, censor_time=censor_time)
    check_choice("method", method, METHODS)
    level, least = fraction("alpha", alpha), fraction("cap", cap)
    t, seen = censored(time, event)
    for name, curves, rows in (
        ("survival_cal", survival_cal, t.size),
        ("censoring_cal", censoring_cal, t.size),
        ("censoring_test", censoring_test, len(survival_test)),
    ):
        if len(curves) != rows:
            raise ArrayError(f"{name} must have {rows} rows, got {len(curves)}.")
    if not np.array_equal(survival_cal.grid, survival_test.grid):
        raise ArrayError("survival_cal and survival_test must share one grid: a level is a common "
                         "quantile of both.")  # fmt: skip
    if (method == "cutoff") != (cutoff is not None and censor_time is not None):
        raise MethodError(
            'method="cutoff" needs cutoff= and censor_time= (of all rows), the other methods take '
            "neither; without censoring times of the events use "
            'method="weights" or "doubly robust".'
        )
    if method == "cutoff":
        assert cutoff is not None and censor_time is not None
        lower = _cutoff(t, censor_time, float(cutoff), survival_cal, censoring_cal,
                        survival_test, censoring_test, level)  # fmt: skip
        promise = "P(T >= bound) >= 1-alpha with the true chance to be watched until the cutoff"
    else:
        ends = [
            np.minimum(c.falls_to(least), s.grid[-1])
            for s, c in ((survival_cal, censoring_cal), (survival_test, censoring_test))
        ]
        levels, lost = _losses(t, seen, survival_cal, censoring_cal, ends[0], method)
        lower = _calibrated(levels, lost, t.size, survival_test, censoring_test, ends[1], level)
        promise = (
            "P(T >= bound) >= 1-alpha with the true censoring curves"
            if method == "weights"
            else "P(T >= bound) >= 1-alpha in large samples, if the survival or the censoring "
            "curves are right"
        )
    if (lower <= 0).any():
        warnings.warn(
            f"{np.mean(lower <= 0):.1%} of the bounds are zero: {t.size} calibration rows "
            f"({int(seen.sum())} events) cannot support alpha = {level:g} there; give more rows or "
            "a larger alpha.",
            InfiniteSetWarning,
            stacklevel=2,
        )
    return SurvivalBounds(lower, level, promise)


def _bounds(curves: SurvivalCurves, levels: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(m, A) first times by which the curves have lost each level, no later than ``ends`` (m,)."""
    lost = np.maximum(1 - curves.values, 0.0)
    place = np.stack([np.searchsorted(row, levels - 1e-12, "left") for row in lost])
    grid = np.append(curves.grid, np.inf)
    return np.minimum(grid[place], ends[:, None])


def _losses(
    t: np.ndarray,
    seen: np.ndarray,
    survival: SurvivalCurves,
    censoring: SurvivalCurves,
    ends: np.ndarray,
    method: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Levels (A,) and the estimated sum over rows of ``1{T < bound}`` at each, nondecreasing."""
    lost = 1 - survival.at(t)
    counts = seen & (t < ends)
    levels = np.unique(np.append(lost[counts], 1.0))
    if levels.size > _LEVELS:
        levels = np.unique(np.quantile(levels, np.linspace(0, 1, _LEVELS), method="lower"))
    bounds = _bounds(survival, levels, ends)
    chance = censoring.before(t)
    weight = np.where(seen, 1 / np.where(counts, chance, 1.0), 0.0)
    early = t[:, None] < bounds
    total = (weight[:, None] * early).sum(axis=0)
    if method == "doubly robust":
        total = total + _augmented(t, seen, survival, censoring, bounds).sum(axis=0)
    return levels, np.maximum.accumulate(total)


def _augmented(
    t: np.ndarray,
    seen: np.ndarray,
    survival: SurvivalCurves,
    censoring: SurvivalCurves,
    bounds: np.ndarray,
) -> np.ndarray:
    """(n, A) what the survival curves say of the rows that were censored before their bounds.

    The chance of an event before the bound, given survival so far, is integrated against the
    martingale of censoring: ``sum_u P(T < b | T > u) dM(u) / P(C > u)``.
    """
    grid = censoring.grid
    inverse = 1 / np.maximum(censoring.values, 1e-300)
    jump = np.diff(np.column_stack([np.ones(len(t)), inverse]), axis=1)
    alive = survival.at(np.broadcast_to(grid, censoring.values.shape))
    usable = (alive > 0) & (censoring.values > 1e-12)
    jump = np.where(usable, jump, 0.0)
    plain, shared = (
        np.column_stack([np.zeros(len(t)), np.cumsum(v, axis=1)])
        for v in (jump, jump / np.where(usable, alive, 1.0))
    )
    until = np.searchsorted(grid, np.where(seen, t, np.nextafter(t, np.inf)), "left")
    last = np.minimum(until[:, None], np.searchsorted(grid, bounds, "left"))
    rows = np.arange(len(t))[:, None]
    reach = survival.before(bounds)
    compensator = plain[rows, last] - reach * shared[rows, last]
    now = survival.at(t)
    hidden = ~seen & (now > 0)
    share = np.where(hidden, 1 / np.where(hidden, np.maximum(censoring.at(t), 1e-300), 1.0), 0.0)
    later = np.maximum(1 - reach / np.where(now > 0, now, 1.0)[:, None], 0.0)
    return np.where(t[:, None] < bounds, share[:, None] * later, 0.0) - compensator


def _calibrated(
    levels: np.ndarray,
    lost: np.ndarray,
    n: int,
    survival: SurvivalCurves,
    censoring: SurvivalCurves,
    ends: np.ndarray,
    alpha: float,
) -> np.ndarray:
    """(m,) bounds at the largest level at which the new row's own loss still fits into alpha."""
    bounds = _bounds(survival, levels, ends)
    heaviest = 1 / np.maximum(censoring.before(bounds), 1e-300)  # a loss of the new row, at most
    fits = lost + heaviest <= alpha * (n + 1) + 1e-9
    last = fits.sum(axis=1)  # both sides grow with the level
    picked = bounds[np.arange(len(bounds)), np.maximum(last - 1, 0)]
    return np.where(last > 0, picked, 0.0)


def _cutoff(
    t: np.ndarray,
    censor_time: ArrayLike,
    cutoff: float,
    survival_cal: SurvivalCurves,
    censoring_cal: SurvivalCurves,
    survival_test: SurvivalCurves,
    censoring_test: SurvivalCurves,
    alpha: float,
) -> np.ndarray:
    """(m,) weighted split conformal bounds of lifetimes cut at one time."""
    c = np.asarray(as_float("censor_time", censor_time, ndim=1, size=t.size), float)
    if (c < t).any():
        where = int((c < t).argmax())
        raise ArrayError(
            f"censor_time must not be before time, as at [{where}]: {c[where]:g} < {t[where]:g}; "
            "it is when the row would have been censored, also where the event came first."
        )
    watched = c >= cutoff
    if not watched.any():
        raise CalibrationError(
            f"no row could have been watched until cutoff={cutoff:g}; choose an earlier one."
        )
    score = np.where(t < cutoff, 1 - survival_cal.at(t), np.inf)[watched]
    chance = [
        curves.before(np.full(len(curves), cutoff)) for curves in (censoring_cal, censoring_test)
    ]
    if min(chance[0][watched].min(), chance[1].min(initial=1.0)) <= 0:
        raise CalibrationError(
            f"a censoring curve gives no chance to be watched until cutoff={cutoff:g}; choose an "
            "earlier one."
        )
    level = -np.asarray(
        weighted_quantile(-score, 1 / chance[0][watched], alpha, test_weights=1 / chance[1])
    )
    lost = 1 - survival_test.values
    place = np.array(
        [np.searchsorted(row, a - 1e-12, "left") for row, a in zip(lost, level, strict=True)]
    )
    grid = np.append(survival_test.grid, np.inf)
    return np.where(np.isneginf(level), 0.0, np.minimum(grid[place], cutoff))
