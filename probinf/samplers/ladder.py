"""The ladder of parallel tempering: swaps, its spacing, and the evidence along it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import expit, logsumexp

from probinf.core.estimate import Estimate
from probinf.core.program import Key
from probinf.results.statistics.ess import ess_mean
from probinf.results.summary import MIN_DRAWS

_SMALLEST = 1e-5  # first positive inverse temperature before anything is known
_FLOOR = 1e-3  # rejection rate that an interval counts at least, so that none collapses


def first_ladder(rungs: int) -> np.ndarray:
    """Inverse temperatures from 0 to 1, geometric in between."""
    return np.concatenate([[0.0], np.geomspace(_SMALLEST, 1.0, rungs - 1)])


def log_swap(
    betas: Float[Array, " k"], log_likelihood: Float[Array, " k"]
) -> Float[Array, " pairs"]:
    """Log acceptance ratio of exchanging the positions of every pair of neighbours.

    ``(beta_k - beta_{k+1}) (l_{k+1} - l_k)``; a position of likelihood zero, which only the
    base can hold, is never passed on.

    Source: Syed, Bouchard-Côté, Deligiannidis & Doucet (2022), eq. 5.
    """
    lower, upper = log_likelihood[:-1], log_likelihood[1:]
    possible = jnp.isfinite(lower)
    gain = jnp.where(possible, lower, 0.0) - upper
    return jnp.where(possible, jnp.diff(betas) * gain, -jnp.inf)


def swap(
    key: Key, log_ratio: Float[Array, " pairs"], round_: Int[Array, ""]
) -> tuple[Int[Array, " k"], Bool[Array, " pairs"]]:
    """Where every rung takes its new position from, and which pairs were tried.

    Even pairs on even rounds, odd pairs on odd ones: the deterministic, non-reversible scheme,
    under which a position keeps its direction until a swap is rejected.
    """
    pairs = log_ratio.shape[0]
    tried = (jnp.arange(pairs) + round_) % 2 == 0
    accepted = tried & (jnp.log(jax.random.uniform(key, (pairs,))) < log_ratio)
    up = jnp.concatenate([accepted, jnp.zeros((1,), bool)])
    down = jnp.concatenate([jnp.zeros((1,), bool), accepted])
    index = jnp.arange(pairs + 1)
    return jnp.where(up, index + 1, jnp.where(down, index - 1, index)), tried


def respaced(betas: Float[Array, " k"], rejection: Float[Array, " pairs"]) -> Float[Array, " k"]:
    """The ladder on which all rejection rates would be equal.

    The cumulative rejection is interpolated (in log beta, where beta is positive) and
    inverted on a regular grid.

    Source: Syed et al. (2022), section 5.1.
    """
    total = jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(jnp.maximum(rejection, _FLOOR))])
    wanted = jnp.linspace(0.0, 1.0, betas.shape[0]) * total[-1]
    below = jnp.clip(jnp.searchsorted(total, wanted, side="right") - 1, 0, betas.shape[0] - 2)
    share = (wanted - total[below]) / (total[below + 1] - total[below])
    low, high = betas[below], betas[below + 1]
    safe = jnp.where(low > 0, low, high)
    inside = jnp.where(low > 0, safe * (high / safe) ** share, share * high)
    return inside.at[0].set(0.0).at[-1].set(1.0).astype(betas.dtype)


class LadderEvidence(NamedTuple):
    """Log evidence along a ladder, twice.

    Attributes:
        bridged: sum over rungs of bridged log ratios of neighbours; the estimate to use. None
            where there is none, for the reason ``missing``.
        thermodynamic: the integral of the mean log likelihood over inverse temperature, by the
            trapezoidal rule with its correction for curvature; NaN where a likelihood is zero.
    """

    bridged: Estimate | None
    thermodynamic: float
    missing: str = ""


def ladder_evidence(betas: np.ndarray, log_likelihood: np.ndarray) -> LadderEvidence:
    """The evidence from the log likelihoods at every rung.

    Every ratio of neighbouring evidences is Bennett's: the stepping stone from below and the
    one from above, weighted so that the variance is least. The error comes from the effective
    size of the linearised estimate as one time series, so it counts the autocorrelation of the
    chains, the correlation between rungs, and the disagreement of the ladders.

    Args:
        betas: (ladder, k) inverse temperatures from 0 to 1.
        log_likelihood: (ladder, draw, k), -inf allowed at 0.

    Source: Bennett (1976), eq. 12; Xie et al. (2011) for stepping stones; Friel, Hurn & Wyse
    (2014), eq. 15, for the corrected trapezoid.
    """
    betas, log_l = np.asarray(betas, float), np.asarray(log_likelihood, float)
    thermodynamic = _thermodynamic(betas, log_l)
    if reason := _missing(log_l):
        return LadderEvidence(None, thermodynamic, reason)
    values, series = [], []
    for own, rows in zip(betas, log_l, strict=True):
        value, influence = _along(own, rows)
        values.append(value)
        series.append(value + influence)
    joined = np.array(series)
    # a constant likelihood leaves nothing to err about
    with np.errstate(invalid="ignore", divide="ignore"):
        size = ess_mean(joined) if np.ptp(joined) > 0 else np.inf
    error = float(joined.std(ddof=1) / np.sqrt(size))
    value = float(logsumexp(values) - np.log(len(values)))
    if not np.isfinite([value, error]).all():
        reason = f"its error cannot be told from {log_l.shape[1]} rounds. Use more draws."
        return LadderEvidence(None, thermodynamic, reason)
    return LadderEvidence(Estimate(value, error), thermodynamic)


def _missing(log_l: np.ndarray) -> str:
    """Why these log likelihoods give no evidence; empty where they do."""
    rounds = log_l.shape[1]
    if rounds < MIN_DRAWS:
        return f"{rounds} rounds are too few for an evidence with an error: use draws=100 or more."
    dead = np.isneginf(log_l[:, :, 0]).all(axis=1)
    if dead.any():
        return (
            f"none of the {rounds} draws of the base in {dead.sum()} of {dead.size} ladders has a "
            "likelihood above zero, so that its evidence has no lower bound. Use more draws, or "
            "SMC with many particles."
        )
    return ""


def _along(betas: np.ndarray, log_l: np.ndarray) -> tuple[float, np.ndarray]:
    total, influence = 0.0, np.zeros(len(log_l))
    for k, step in enumerate(np.diff(betas)):
        below, above = step * log_l[:, k], step * log_l[:, k + 1]
        log_ratio = _bennett(below, above)
        from_below, from_above = expit(below - log_ratio), expit(log_ratio - above)
        slope = np.mean(from_below * (1 - from_below)) + np.mean(from_above * (1 - from_above))
        total += log_ratio
        influence += (from_below - from_above) / max(slope, np.finfo(float).tiny)
    return total, influence


def _bennett(below: np.ndarray, above: np.ndarray) -> float:
    """Root in c of ``mean expit(below - c) = mean expit(c - above)``, by bisection."""
    finite = np.concatenate([below[np.isfinite(below)], above])
    low, high = finite.min() - 50.0, finite.max() + 50.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if expit(below - middle).mean() > expit(middle - above).mean():
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _thermodynamic(betas: np.ndarray, log_l: np.ndarray) -> float:
    if not np.isfinite(log_l).all():
        return float("nan")
    mean, variance, steps = log_l.mean(axis=1), log_l.var(axis=1), np.diff(betas, axis=1)
    area = np.sum(steps * (mean[:, 1:] + mean[:, :-1]) / 2, axis=1)
    bend = np.sum(steps**2 * np.diff(variance, axis=1) / 12, axis=1)
    return float(np.mean(area - bend))
