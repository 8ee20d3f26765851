"""optscale: how many tries until the best score is good enough."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import log_ndtr, ndtr
from scipy.stats import norm

from probinf.conformal import crc
from probinf.core.inputs.arrays import ArrayLike, Number
from probinf.core.inputs.levels import fraction
from probinf.core.inputs.limits import at_least, check_choice, inside
from probinf.errors import ArrayError, CalibrationError

_FACTORS = np.geomspace(0.125, 64.0, 73)


class Scale(NamedTuple):
    """How many tries to take.

    Attributes:
        tries: N*, those already taken included.
        below: estimated probability that one score is below the target.
        location: of the truncated normal law of scores; NaN for ``"empirical"``.
        spread: of it.
        reached: whether N* keeps to ``max_tries``; where it does not, ``tries`` is that limit.
    """

    tries: int
    below: float
    location: float
    spread: float
    reached: bool

    def summary(self) -> str:
        """The number of tries, for reading."""
        short = "" if self.reached else ", the limit, which does not suffice"
        return f"{self.tries} tries{short}; one score misses the target with {self.below:.1%}"

    def __str__(self) -> str:
        return self.summary()


class Calibrated(NamedTuple):
    """A factor on the number of tries that has been shown to suffice.

    Attributes:
        factor: multiply ``log q / log F`` by it.
        miss_rate: share of calibration questions in which the best score missed the target.
        mean_tries: of the calibration questions.
        guarantee: what is promised, and under which assumption.
    """

    factor: float
    miss_rate: float
    mean_tries: float
    guarantee: str

    def summary(self) -> str:
        """The factor and what it gave on the calibration questions, for reading."""
        return (
            f"factor {self.factor:.4g}: {self.miss_rate:.1%} of the calibration questions missed, "
            f"{self.mean_tries:.3g} tries on average; {self.guarantee}"
        )

    def __str__(self) -> str:
        return self.summary()


def optscale(
    scores: ArrayLike,
    *,
    target: Number,
    q: Number = 0.05,
    law: Literal["truncated normal", "empirical"] = "truncated normal",
    prior: tuple[float, float] | None = None,
    prior_sd: Number = 0.1,
    factor: Number = 1.0,
    max_tries: int = 1024,
) -> Scale:
    """The fewest tries whose best score reaches a target with probability ``1 - q``.

    Scores of one question are taken as independent draws of one law F, so that the best of N
    misses the target with probability F(target)^N, and ``N* = ceil(log q / log F(target))``.

    Args:
        scores: (n,) of the first tries, in [0, 1].
        target: s*, the score that is good enough, in (0, 1).
        q: allowed probability of missing it.
        law: normal truncated to [0, 1], by maximum likelihood, or the empirical one with one
            score more on either side of the target.
        prior: location and spread that earlier questions suggest; then the mode of the
            posterior.
        prior_sd: standard deviation of both around it.
        factor: of :func:`calibrate_optscale`.
        max_tries: largest number that is returned.

    Raises:
        ArrayError: a score is NaN or outside [0, 1], or there is none (one alone needs a prior).

    Source: Wang et al. (2025), arXiv 2506.22376, where N* is found by search.
    """
    values = _scores("scores", scores, 1)
    inside(0, 1, target=target, q=q)
    at_least(1, max_tries=max_tries)
    inside(0, np.inf, prior_sd=prior_sd, factor=factor)
    check_choice("law", law, ("truncated normal", "empirical"))
    below, location, spread = _below(values, float(target), law, prior, float(prior_sd))
    wanted = _needed(below, float(q), float(factor))
    tries = int(min(max(wanted, values.size), max(max_tries, values.size)))
    return Scale(tries, below, location, spread, bool(wanted <= max_tries))


def calibrate_optscale(
    scores: ArrayLike,
    *,
    peek: int,
    target: Number,
    q: Number = 0.05,
    law: Literal["truncated normal", "empirical"] = "truncated normal",
    prior: tuple[float, float] | None = None,
    prior_sd: Number = 0.1,
) -> Calibrated:
    """The least factor on the tries with which questions miss the target at a rate of ``q``.

    The law of scores is a guess from a few tries, and the tries it asks for may be too few.
    Conformal risk control finds, on earlier questions with many tries, the factor under which a
    new question misses with probability ``q`` at most, however wrong the guess is.

    A question of which no try reaches the target misses at every factor. Where these are more
    than a share ``q``, no number of tries serves, and the target has to be lower.

    Args:
        scores: (questions, tries) of earlier questions, in order of the tries.
        peek: first tries, from which the law is estimated.
        target, q, law, prior, prior_sd: as of :func:`optscale`.

    Raises:
        ArrayError: a score is NaN or outside [0, 1].
        CalibrationError: no factor is enough, or there are too few questions for ``q``.

    Source: conformal risk control, Angelopoulos et al. (2024).
    """
    values = _scores("scores", scores, 2)
    at_least(1, peek=peek)
    inside(0, 1, target=target)
    check_choice("law", law, ("truncated normal", "empirical"))
    level = fraction("q", q)
    m, n = values.shape
    if peek > n:
        raise ArrayError(f"peek={peek} of scores with {n} tries per question.")
    below = [_below(row[:peek], float(target), law, prior, float(prior_sd))[0] for row in values]
    asked = np.array([[_needed(b, level, f) for f in _FACTORS] for b in below])
    best = np.maximum.accumulate(values, 1)
    tries = np.clip(asked, peek, n).astype(int)
    missed = best[np.arange(m)[:, None], tries - 1] < target
    losses = missed.astype(float)  # more tries never lower the best score
    found = crc(losses, alpha=level)
    if found.index is None:
        hopeless = float((best[:, -1] < target).mean())
        raise CalibrationError(
            f"calibrate_optscale: no number of tries up to {n} keeps misses at q={level:g} on "
            f"{m} questions; {hopeless:.0%} of them never reach the target {float(target):g}. "
            "Lower the target, raise q, or give more questions or tries."
        )
    k = found.index
    return Calibrated(
        float(_FACTORS[k]), float(losses[:, k].mean()), float(tries[:, k].mean()), found.guarantee
    )


def _needed(below: float, q: float, factor: float) -> float:
    """N*, 1 where every score is good enough and infinite where none is."""
    if below <= 0:
        return 1.0
    if below >= 1:
        return np.inf
    return float(np.ceil(factor * np.log(q) / np.log(below) * (1 - 1e-12)))


def _below(
    values: np.ndarray, target: float, law: str, prior: Any, prior_sd: float
) -> tuple[float, float, float]:
    """F(target), and the parameters of F."""
    if law == "empirical":
        return float((1 + (values < target).sum()) / (2 + values.size)), np.nan, np.nan
    if prior is None and values.size < 2:
        raise ArrayError(
            "scores: one score alone has no spread; give more, or prior= from earlier questions."
        )

    def loss(theta: np.ndarray) -> float:
        location, spread = theta[0], np.exp(theta[1])
        total = _log_mass(-location / spread, (1 - location) / spread)
        fit = norm.logpdf((values - location) / spread) - theta[1] - total
        found = -fit.sum()
        if prior is not None:
            found += (location - prior[0]) ** 2 / (2 * prior_sd**2)
            found += (spread - prior[1]) ** 2 / (2 * prior_sd**2)
        return float(found)

    start = np.array([values.mean(), np.log(max(values.std(), 0.02))])
    bounds = [(-2.0, 3.0), (np.log(1e-3), np.log(5.0))]  # beyond, the law hardly changes
    fit = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    location, spread = float(fit.x[0]), float(np.exp(fit.x[1]))
    low, high = -location / spread, (1 - location) / spread
    at = (target - location) / spread
    below = float(np.exp(_log_mass(low, at) - _log_mass(low, high)))
    return below, location, spread


def _log_mass(low: float, high: float) -> float:
    """Log of the standard normal mass between two points, in whichever tail."""
    if low > 0:
        low, high = -high, -low
    if high <= 0:
        above = float(log_ndtr(high))
        return above + float(np.log1p(-np.exp(float(log_ndtr(low)) - above)))
    return float(np.log(ndtr(high) - ndtr(low)))


def _scores(name: str, given: ArrayLike, ndim: int) -> np.ndarray:
    values = np.asarray(given, float)
    if values.ndim != ndim or values.size == 0:
        raise ArrayError(f"{name} must have {ndim} axes and entries, got shape {values.shape}.")
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ArrayError(f"{name}{list(where)} is {values[where]:g}; scores must lie in [0, 1].")
    return values
