"""Synthetic-powered prediction: many synthetic scores steady a few real ones, within bounds."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from probinf.conformal.calibration.ranks import order_stat, upper_rank
from probinf.conformal.sets.reporting import warn_infinite
from probinf.core.inputs.arrays import ArrayLike, Number, as_float
from probinf.core.inputs.levels import fraction
from probinf.errors import ArrayError


class SpiBounds(NamedTuple):
    """Coverage of SPI whatever the synthetic scores are.

    Attributes:
        lower: least coverage; attained when synthetic scores are all too small.
        upper: largest coverage, for distinct real scores.
        low_rank: rank r+ of the real score that the threshold never falls below; 0 is -inf.
        high_rank: rank r- of the real score that it never exceeds; m + 1 is +inf.
    """

    lower: float
    upper: float
    low_rank: int
    high_rank: int


@dataclasses.dataclass(frozen=True)
class SpiThreshold:
    """A threshold on scores from few real and many synthetic scores.

    Attributes:
        threshold: the set is {y : score(x, y) <= threshold}.
        bounds: coverage for any synthetic law.
        guarantee: the bounds, in words.
    """

    threshold: float
    bounds: SpiBounds
    guarantee: str


@lru_cache(maxsize=4096)
def _chance(m: int, n: int, r: int, k: int) -> float:
    """P(the real score of rank r has at most rank k among the synthetic ones), under one law."""
    from scipy.special import gammaln

    M = m + 1
    place = np.arange(1, min(k, n + 1) + 1)
    log_p = (
        _log_choose(gammaln, place + r - 2, np.array(r - 1))
        + _log_choose(gammaln, n + M - place - r + 1, np.array(M - r))
        - _log_choose(gammaln, np.array(n + M), np.array(M))
    )
    return float(np.exp(log_p).sum())


def _ranks_with(m: int, n: int, k: int, least: float, *, strictly: bool) -> int:
    """How many real ranks 1..m+1 have at least, or more than, this chance: it falls with rank."""
    low, high = 0, m + 1
    while low < high:
        r = (low + high + 1) // 2
        chance = _chance(m, n, r, k)
        if chance > least or (not strictly and chance >= least):
            low = r
        else:
            high = r - 1
    return low


def _log_choose(gammaln, n, k):  # type: ignore[no-untyped-def]
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def spi_bounds(m: int, n: int, *, alpha: Number, beta: Number = 0.4) -> SpiBounds:
    """Coverage limits of :func:`spi` for m real and n synthetic scores, before any data.

    Args:
        m: real scores.
        n: synthetic scores.
        alpha: miscoverage asked for.
        beta: width of the windows: small trusts synthetic scores more and loosens the bounds.

    Source: Bashari, Lotan, Lee, Dobriban & Romano (2025), theorem 3.5.
    """
    if m < 1 or n < 1:
        raise ArrayError(f"spi needs at least one real and one synthetic score, got {m} and {n}.")
    a, b = fraction("alpha", alpha), fraction("beta", beta)
    k = int(upper_rank(n, a))
    r_plus = m + 1 if k >= n else _ranks_with(m, n, k, 1 - b / 2, strictly=False)
    r_minus = _ranks_with(m, n, k, b / 2, strictly=True)
    return SpiBounds(r_plus / (m + 1), r_minus / (m + 1), r_plus, r_minus)


def spi_beta(m: int, n: int, *, alpha: Number, floor: Number) -> float:
    """Smallest beta on a grid of 0.01 whose coverage is at least ``floor`` for any synthetic law.

    Raises:
        ArrayError: no beta reaches the floor with so few real scores.
    """
    least = fraction("floor", floor)
    for beta in np.arange(1, 100) / 100:
        if spi_bounds(m, n, alpha=alpha, beta=beta).lower >= least - 1e-12:
            return float(beta)
    raise ArrayError(
        f"floor {floor:g} cannot be kept with {m} real scores at alpha = {alpha:g}; the best is "
        f"{spi_bounds(m, n, alpha=alpha, beta=0.99).lower:.3g}."
    )


def spi(
    real: ArrayLike, synthetic: ArrayLike, *, alpha: Number = 0.1, beta: Number = 0.4
) -> SpiThreshold:
    """Threshold from m real and n synthetic scores, with a guarantee for any synthetic law.

    Close laws give coverage near 1 - alpha with far less spread than m real scores alone. The
    worst case lies below 1 - alpha (it is ``bounds.lower``); use :func:`spi_beta` to set a floor.

    Args:
        real: (m,) scores of real calibration points.
        synthetic: (n,) scores of synthetic points.
        alpha: miscoverage asked for.
        beta: see :func:`spi_bounds`.

    Raises:
        ArrayError: NaN or no scores.

    Source: Bashari et al. (2025), algorithm 1, in closed form.
    """
    s = np.asarray(as_float("real", real, ndim=1), float)
    t = np.asarray(as_float("synthetic", synthetic, ndim=1), float)
    bounds = spi_bounds(s.size, t.size, alpha=alpha, beta=beta)
    k = int(upper_rank(t.size, fraction("alpha", alpha)))
    low, high = order_stat(s, np.array([bounds.low_rank, bounds.high_rank]))
    q = float(max(low, min(order_stat(t, k + 1), high)))
    warn_infinite(q, "more real scores, or a larger beta, are needed.")
    promise = f"coverage in [{bounds.lower:.3f}, {bounds.upper:.3f}] for any synthetic scores"
    return SpiThreshold(q, bounds, promise)


def gespi(at_alpha: ArrayLike, at_relaxed: ArrayLike, pooled: ArrayLike) -> np.ndarray:
    """Clip a pooled answer between two real ones: ``max(relaxed, min(strict, pooled))``.

    For any procedure whose threshold grows as its level falls (conformal, risk control, tests):
    run it on real data at alpha and at alpha + epsilon, and on real and synthetic data together
    at alpha. The result has level at most alpha + epsilon, whatever the synthetic data are.

    Args:
        at_alpha: thresholds from real data at alpha (the cautious ones).
        at_relaxed: thresholds from real data at alpha + epsilon; not above ``at_alpha``.
        pooled: thresholds from real and synthetic data at alpha.

    Raises:
        ArrayError: a relaxed threshold exceeds the strict one.

    Source: Bashari et al. (2025b), general synthetic-powered inference.
    """
    strict, relaxed, joint = (
        np.asarray(as_float(name, v), float)
        for name, v in (("at_alpha", at_alpha), ("at_relaxed", at_relaxed), ("pooled", pooled))
    )
    if (relaxed > strict).any():
        raise ArrayError("at_relaxed exceeds at_alpha: were the two levels swapped?")
    return np.asarray(np.maximum(relaxed, np.minimum(strict, joint)))
