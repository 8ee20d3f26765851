"""Which texts are too improbable to have a say: two Weibull laws of the tries' probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp

from probinf.errors import ArrayError, ConvergenceError

_FEWEST = 5  # as many as there are parameters
_SHARE = (0.2, 0.8)  # of the first component, as published
_SHAPE = (0.1, 30.0)  # in standard deviations of the log: a single value is no component


class Weibulls(NamedTuple):
    """A mixture of two Weibull laws, that of the larger mean first.

    Attributes:
        share: (2,) of each.
        shape: (2,).
        log_scale: (2,).
    """

    share: np.ndarray
    shape: np.ndarray
    log_scale: np.ndarray

    def log_terms(self, log_prob: np.ndarray) -> np.ndarray:
        """(2, n) log of share times density of the log probability, by component."""
        shape, log_scale = self.shape[:, None], self.log_scale[:, None]
        return np.log(self.share)[:, None] + _log_density(log_prob, shape, log_scale)


def likely(log_prob: np.ndarray) -> np.ndarray:
    """Which tries stay: those of the likelier component, and all at or above the mean.

    Args:
        log_prob: (n,) finite or -inf.

    Raises:
        ArrayError: they are too few for a fit.
        ConvergenceError: no fit was found.
    """
    possible = np.isfinite(log_prob)
    log_mean = logsumexp(log_prob) - np.log(len(log_prob))
    above = possible & (log_prob >= log_mean - 1e-9)
    found = log_prob[possible]
    if len(found) == 0 or np.ptp(found) == 0:
        return possible
    if len(found) < _FEWEST:
        raise ArrayError(
            f"prune: two Weibull laws are fitted to the probabilities of the tries, and "
            f"{len(found)} tries are fewer than their {_FEWEST} parameters; take more tries, or "
            "prune=None."
        )
    high, low = fitted(found).log_terms(found)
    kept = above.copy()
    kept[possible] |= high >= low
    return kept


def fitted(log_prob: np.ndarray) -> Weibulls:
    """The mixture of the largest likelihood among those found from several starts.

    The fit is of log probabilities, in units of their spread: powers and multiples of a Weibull
    variable are Weibull variables, so that no probability is too small to count.

    Raises:
        ConvergenceError: none was found.
    """
    centre, spread = log_prob.mean(), log_prob.std()
    z = (log_prob - centre) / spread
    tried = [
        minimize(
            _minus_log_likelihood,
            _start(z, cut),
            args=(z,),
            jac=True,
            bounds=[_SHARE, *[tuple(np.log(_SHAPE))] * 2, *[(z.min() - 3, z.max() + 3)] * 2],
        )
        for cut in (0.25, 0.5, 0.75)
    ]
    best = min(tried, key=lambda one: one.fun)
    if not np.isfinite(best.fun):
        raise ConvergenceError(
            f"prune: no mixture of Weibull laws fits the {len(z)} probabilities of the tries; use "
            "prune=None."
        )
    share = np.array([best.x[0], 1 - best.x[0]])
    shape = np.exp(best.x[1:3]) / spread
    log_scale = centre + spread * best.x[3:5]
    return ordered(Weibulls(share, shape, log_scale))


def ordered(found: Weibulls) -> Weibulls:
    """The component of the larger mean first."""
    log_mean = found.log_scale + gammaln(1 + 1 / found.shape)
    order = np.argsort(-log_mean)
    return Weibulls(*(v[order] for v in found))


def _start(z: np.ndarray, cut: float) -> np.ndarray:
    """Those above a quantile, and those below it."""
    at = np.quantile(z, cut)
    parts = z[z >= at], z[z <= at]
    shape = [np.clip(1.28 / max(part.std(), 1e-3), *_SHAPE) for part in parts]
    centre = [part.mean() + 0.58 / k for part, k in zip(parts, shape, strict=True)]
    return np.array([np.clip(1 - cut, *_SHARE), *np.log(shape), *centre])


def _minus_log_likelihood(x: np.ndarray, z: np.ndarray) -> tuple[float, np.ndarray]:
    """And its gradient in share, logs of the shapes, logs of the scales."""
    share, shape, log_scale = np.array([x[0], 1 - x[0]]), np.exp(x[1:3]), x[3:5]
    terms = Weibulls(share, shape, log_scale).log_terms(z)
    total = logsumexp(terms, 0)
    belongs = np.exp(terms - total)
    u = shape[:, None] * (z - log_scale[:, None])
    grown = np.exp(np.minimum(u, 500.0))
    by_shape = (belongs * (1 + u - u * grown)).sum(1)
    by_scale = (belongs * shape[:, None] * (grown - 1)).sum(1)
    by_share = belongs[0].sum() / share[0] - belongs[1].sum() / share[1]
    return -float(total.sum()), -np.array([by_share, *by_shape, *by_scale])


def _log_density(z: np.ndarray, shape: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Of the log of a Weibull variable."""
    u = shape * (z - log_scale)
    return np.log(shape) + u - np.exp(np.minimum(u, 500.0))
