"""lfo: how well the past predicts what comes next."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probinf.core.estimate import Estimate
from probinf.core.inputs.limits import at_least
from probinf.core.program import Key
from probinf.core.psis import psis
from probinf.errors import StructureError
from probinf.evidence.pointwise import log_likelihood, trusted_k
from probinf.evidence.refitting import refits_of, told
from probinf.results.posterior import Posterior
from probinf.results.precision import in_its_precision
from probinf.runtime.method import Method


@dataclasses.dataclass(frozen=True)
class FutureOut:
    """Expected log predictive density of what comes next, given all data before it.

    Attributes:
        elpd: the sum over times, with its standard error.
        pointwise: (times,) log density of the next ``ahead`` data, given those before.
        times: (times,) number of data before.
        pareto_k: (times,) of the weights; 0 where the model was fitted anew.
        refits: numbers of data that a fit of its own was made of.
        ahead: data that are predicted at a time, jointly.
        findings: by fit, codes of what ``diagnose`` found wrong with it.
    """

    elpd: Estimate
    pointwise: np.ndarray
    times: np.ndarray
    pareto_k: np.ndarray
    refits: tuple[int, ...]
    ahead: int
    findings: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        steps = "next datum" if self.ahead == 1 else f"next {self.ahead} data"
        first = (
            f"elpd_lfo {self.elpd.value:.1f} ± {self.elpd.error:.1f} over {len(self.times)} times, "
            f"of the {steps}, by {len(self.refits)} fits"
        )
        return "\n".join([first, *told(self.findings)])

    __repr__ = __str__


@in_its_precision
def lfo(
    posterior: Posterior,
    method: Method[Any] | None = None,
    *,
    key: int | Key,
    first: int | None = None,
    ahead: int = 1,
    site: str | None = None,
    max_draws: int = 4000,
    max_k: float | None = None,
    progress: bool = True,
) -> FutureOut:
    """Leave-future-out cross-validation of a series, with as few fits as Pareto k allows.

    A fit of the first data predicts the next one. The draws are then weighted by its likelihood
    and predict the one after, until the weights get too uneven and the model is fitted anew. The
    likelihood of a datum must not depend on later ones.

    Args:
        posterior: given the whole series, with a program that knows its likelihood per datum.
        method: of the fits; by default that of the posterior's chains, else NUTS.
        key: random key or seed of the fits.
        first: data of the first fit; a third of the series by default.
        ahead: how many data are predicted at a time, jointly. The windows overlap: most data count
            ``ahead`` times in the sum, and the standard error knows that neighbours depend.
        site: of the series; needed where there are several observed sites. Its first axis is time.
        max_draws: thin to at most this many draws.
        max_k: Pareto k beyond which the model is fitted anew; by default
            ``min(1 - 1 / log10(draws), 0.7)``.
        progress: show a progress bar for every fit.

    Raises:
        StructureError: there is no likelihood per datum, or the series is too short.

    ``SMC(path="data")`` passes through the posterior of every first part of the data, so that
    its ``history["log_evidence_of_first"]`` holds the same for ``ahead=1`` without a fit.

    Source: Bürkner, Gabry & Vehtari (2020).
    """
    seen = log_likelihood(posterior, site, max_draws, "lfo")
    count = seen.shape[0]
    first = max(1, count // 3) if first is None else first
    at_least(1, ahead=ahead, first=first)
    if count < first + ahead:
        raise StructureError(
            f"lfo: the series has {count} data, fewer than first={first} and ahead={ahead}."
        )
    refits = refits_of(posterior, seen, method, key, max_draws, progress)
    times = np.arange(first, count - ahead + 1)
    pointwise, pareto_k = np.empty(times.size), np.zeros(times.size)
    bound = trusted_k(len(seen.log_w)) if max_k is None else max_k
    fitted: list[int] = []
    log_l, base = np.zeros((0, count)), np.zeros(0)  # of the last fit
    for j, t in enumerate(times):
        log_w = base
        if fitted:
            log_w, pareto_k[j] = psis(base + log_l[:, fitted[-1] : t].sum(axis=1))
        if not fitted or pareto_k[j] > bound:
            out = np.arange(count) >= t
            left_out = np.broadcast_to(out.reshape(-1, *[1] * (len(seen.shape) - 1)), seen.shape)
            found = refits.without(left_out.ravel(), int(t), f"data from {t} on")
            log_l = found.log_l.reshape(len(found.log_w), count, -1).sum(axis=2)
            base = log_w = found.log_w
            fitted.append(int(t))
            pareto_k[j] = 0.0
        next_ones = log_l[:, t : t + ahead].sum(axis=1)
        pointwise[j] = logsumexp(log_w + next_ones) - logsumexp(log_w)
    at_time = np.any(seen.real.reshape(count, -1), axis=1).tolist()
    real = np.array([any(at_time[t : t + ahead]) for t in times])
    times, pointwise, pareto_k = times[real], pointwise[real], pareto_k[real]
    error = _error(pointwise, ahead)
    return FutureOut(
        Estimate(float(pointwise.sum()), error),
        pointwise,
        times,
        pareto_k,
        tuple(fitted),
        ahead,
        refits.findings,
    )


def _error(pointwise: np.ndarray, ahead: int) -> float:
    """Standard error of the sum, of windows that overlap in ``ahead - 1`` data.

    Source: Newey & West (1987), equation 5, with ``ahead - 1`` lags.
    """
    n = pointwise.size
    if n < 2:
        return float("nan")
    rest = pointwise - pointwise.mean()
    total = float(rest @ rest)
    for lag in range(1, min(ahead, n)):
        total += 2 * (1 - lag / ahead) * float(rest[lag:] @ rest[:-lag])
    return float(np.sqrt(max(total, 0.0) * n / (n - 1)))
