"""Prior volumes of a nested-sampling run: evidence, its error, weights, and the insertion test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special

from probinf.core.estimate import Estimate

_SIMULATIONS = 400
_NOTHING = 1e-6  # of the evidence
_BLOCK = 20_000_000  # numbers simulated at once


class Points(NamedTuple):
    """Dead points, in any order.

    Attributes:
        log_likelihood: (n,).
        birth: (n,) contour above which each was drawn; NaN for a draw from the whole prior.
    """

    log_likelihood: np.ndarray
    birth: np.ndarray


class Volumes(NamedTuple):
    """Points in the order of their removal.

    Attributes:
        order: (n,) index of the points, by likelihood, ties at random.
        live: (n,) how many points were alive when each was removed, itself included.
        log_shell: (n,) log of the expected prior volume that each stands for.
    """

    order: np.ndarray
    live: np.ndarray
    log_shell: np.ndarray


def volumes(points: Points, rng: np.random.Generator) -> Volumes:
    """Expected volumes ``X_{i-1} / n_i`` with ``X_i = prod (1 - 1 / n_j)``.

    The number alive is counted from births, ``n_i = #{born below L_i} - #{removed before}``,
    so runs merge by concatenation, and points of equal likelihood, among them those of
    likelihood zero, are removed without replacement, one by one.

    Source: Skilling (2006); plateaus: Fowlie, Handley & Su (2021).
    """
    log_l = np.asarray(points.log_likelihood, float)
    birth = np.asarray(points.birth, float)
    order = np.lexsort((rng.permutation(log_l.size), log_l))
    sorted_l = log_l[order]
    first = int(np.isnan(birth).sum())
    later = np.sort(birth[~np.isnan(birth)])
    live = first + np.searchsorted(later, sorted_l, side="left") - np.arange(log_l.size)
    with np.errstate(divide="ignore"):
        shrink = np.log1p(-1.0 / live)
    log_x = np.concatenate([[0.0], np.cumsum(shrink)[:-1]])
    return Volumes(order, live, log_x - np.log(live))


def evidence(
    log_likelihood: np.ndarray, found: Volumes, rng: np.random.Generator
) -> tuple[Estimate, float]:
    """Log evidence with its error, and the information ``H = E[log(L / Z)]`` in nats.

    The value is the logarithm of the unbiased estimate ``sum L_i X_{i-1} / n_i``; the error
    is the standard deviation of log Z over simulated volumes.

    Args:
        log_likelihood: (n,), in the order of ``found``.
        found: from ``volumes``.
        rng: simulates the volumes.
    """
    terms = log_likelihood + found.log_shell
    value = float(scipy.special.logsumexp(terms))
    if not np.isfinite(value):
        return Estimate(value, float("nan")), float("nan")
    w = np.exp(terms - value)
    spread = float(np.log(_simulated(w, found, rng)).std())
    with np.errstate(invalid="ignore"):
        information = float(np.sum(np.where(w > 0, w * (log_likelihood - value), 0.0)))
    return Estimate(value, spread), information


def _simulated(w: np.ndarray, found: Volumes, rng: np.random.Generator) -> np.ndarray:
    """``sum_i w_i exp(log X_{i-1} - E) n_i (1 - t_i)``: Z / E[Z], with E the expectation in w_i.

    Points that hold none of the evidence are not simulated one by one: those before all others
    shrink the volume together, by a gamma variable with the mean and the variance of their sum
    (exact where the number alive stays the same), and those after all others are left out.
    """
    share = np.cumsum(w)
    first, last = np.searchsorted(share, (_NOTHING, share[-1] * (1 - _NOTHING)))
    part = slice(first, min(int(last) + 1, w.size))
    live = found.live[part]
    expected = found.log_shell[part] + np.log(live)
    scale = (w[part] * live).astype(np.float32)
    mean, variance = (np.sum(1.0 / found.live[:first] ** power) for power in (1, 2))
    block = max(1, min(_SIMULATIONS, _BLOCK // live.size))
    simulated = []
    for start in range(0, _SIMULATIONS, block):
        size = (min(block, _SIMULATIONS - start), live.size)
        began = np.zeros(size[0])
        if first:
            began = rng.gamma(mean**2 / variance, variance / mean, size[0])
        log_t = rng.standard_exponential(size, dtype=np.float32) / -live.astype(np.float32)
        before = np.cumsum(log_t, axis=1, dtype=float) - log_t - expected - began[:, None]
        removed = -np.expm1(log_t)
        if part.stop == w.size:
            removed[:, -1] = 1.0  # the last point stands for all that is left
        simulated.append((np.exp(before.astype(np.float32)) * removed) @ scale)
    return np.concatenate(simulated)


def insertion_p_value(ranks: np.ndarray, live: int) -> float:
    """p-value of the hypothesis that new points were drawn from the whole contour.

    The rank of a new point among the live ones is then uniform. Kolmogorov-Smirnov over the
    run, and over windows of ``live`` insertions with Bonferroni's correction: the smaller of
    the two, doubled.

    Args:
        ranks: (n,) insertion ranks, randomised to (0, 1).
        live: live points of a run.

    Source: Fowlie, Handley & Su (2020).
    """
    if ranks.size < live:
        return 1.0
    windows = np.array_split(ranks, max(1, ranks.size // live))
    smallest = min(uniform_p_value(w) for w in windows)
    return float(min(1.0, 2 * min(uniform_p_value(ranks), len(windows) * smallest)))


def uniform_p_value(values: np.ndarray) -> float:
    """Two-sided p-value of Kolmogorov and Smirnov for numbers that are uniform on (0, 1).

    The limit law with a correction that leaves an error of order 1 / n; ``scipy.stats``, whose
    numbers are exact, takes longer to import than all of probinf.

    Source: Vrbik (2018), Small-sample corrections to Kolmogorov-Smirnov test statistic.
    """
    n = values.size
    places = np.sort(values)
    below, above = places - np.arange(n) / n, np.arange(1, n + 1) / n - places
    distance = np.sqrt(n) * max(below.max(), above.max())
    return float(
        scipy.special.kolmogorov(distance + 1 / (6 * np.sqrt(n)) + (distance - 1) / (4 * n))
    )
