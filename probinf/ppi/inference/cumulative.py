"""Cumulative logits of ordered classes: likelihood, slopes and curvature for any tie of slopes."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.special import expit


class Point(NamedTuple):
    """The loss at parameters (q,).

    Attributes:
        value: weighted sum of minus log probabilities; infinite where a row's class has none.
        slope: (q,) its gradient.
        H: (q, q) its curvature.
        scores: (rows, q) gradient of every row, without weights.
    """

    value: float
    slope: np.ndarray
    H: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Cumulative:
    """``logit P(class <= k) = a_k + x @ b_k`` of rows whose class is known.

    Attributes:
        x: (n, p) regressors without an intercept.
        number: (n,) class, from 0 to K - 1; every class occurs.
        weights: (n,) of the rows.
        tie: (K - 1, K - 1 or 1) slopes at the thresholds from parameters: the identity leaves all
            free, ones tie them together (proportional odds), a lower triangle of ones makes the
            parameters differences between neighbours.

    Parameters are (a, c): thresholds (K - 1,), and row by row c (columns of ``tie``, p), of which
    the slopes are ``tie @ c``.

    Source: McCullagh (1980); that the loss is convex in (a, b), Burridge (1981), Pratt (1981).
    """

    x: np.ndarray
    number: np.ndarray
    weights: np.ndarray
    tie: np.ndarray

    @property
    def thresholds(self) -> int:
        """How many thresholds lie between the classes."""
        return len(self.tie)

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds (K - 1,) and slopes (K - 1, p)."""
        m = self.thresholds
        return theta[:m], self.tie @ theta[m:].reshape(self.tie.shape[1], -1)

    def start(self) -> np.ndarray:
        """Parameters without any slope: the classes at their weighted frequencies."""
        share = np.bincount(self.number, self.weights, minlength=self.thresholds + 1)
        below = np.cumsum(share)[:-1] / share.sum()
        slopes = np.zeros(self.tie.shape[1] * self.x.shape[1])
        return np.concatenate([np.log(below / (1 - below)), slopes])

    def _ends(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (n,) above and below each row's class, infinite at the ends."""
        a, b = self.unpack(theta)
        eta = np.pad(a + self.x @ b.T, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
        eta[:, 0], eta[:, -1] = -np.inf, np.inf
        rows = np.arange(len(eta))
        return eta[rows, self.number + 1], eta[rows, self.number]

    def value(self, theta: np.ndarray) -> float:
        """Weighted sum of minus log probabilities."""
        upper, lower = self._ends(theta)
        gap = upper - lower
        if not (gap > 0).all():
            return float("inf")
        # F(u) - F(l) = F(u) (1 - F(l)) (1 - exp(l - u)), without cancellation
        each = np.logaddexp(0, -upper) + np.logaddexp(0, lower) - np.log(-np.expm1(-gap))
        return float(self.weights @ each)

    def at(self, theta: np.ndarray) -> Point:
        """Value, gradient, curvature and scores at parameters inside the domain."""
        m, p = self.thresholds, self.x.shape[1]
        upper, lower = self._ends(theta)
        with np.errstate(over="ignore"):  # a wide gap has no share in the slope
            r = 1 / np.expm1(upper - lower)
        rows, k = np.arange(len(upper)), self.number
        slope, square = np.zeros((len(upper), m + 2)), np.zeros((len(upper), m + 2))
        slope[rows, k + 1] = -expit(-upper) - r
        slope[rows, k] = expit(lower) + r
        square[rows, k + 1] = expit(upper) * expit(-upper) + r * (1 + r)
        square[rows, k] = expit(lower) * expit(-lower) + r * (1 + r)
        cross = np.zeros((len(upper), m + 1))
        cross[rows, k] = -r * (1 + r)  # between the thresholds k and k + 1, numbered from one
        slope, square, cross = slope[:, 1:-1], square[:, 1:-1], cross[:, 1:-1]
        z = np.column_stack([np.ones(len(upper)), self.x])
        full = np.zeros((m, p + 1, m, p + 1))
        for j in range(m):
            full[j, :, j] = (z.T * (self.weights * square[:, j])) @ z
            if j:
                full[j - 1, :, j] = (z.T * (self.weights * cross[:, j - 1])) @ z
                full[j, :, j - 1] = full[j - 1, :, j].T
        tie, q = self.tie, self.tie.shape[1]
        aa = full[:, 0, :, 0]
        ab = np.einsum("jkl,kc->jcl", full[:, 0, :, 1:], tie).reshape(m, q * p)
        bb = np.einsum("jr,jukv,kc->rucv", tie, full[:, 1:, :, 1:], tie).reshape(q * p, q * p)
        tied = slope @ tie
        scores = np.hstack([slope, (tied[:, :, None] * self.x[:, None]).reshape(len(z), q * p)])
        H = np.block([[aa, ab], [ab.T, bb]])
        return Point(self.value(theta), self.weights @ scores, H, scores)


def runs_away(start: np.ndarray, H: np.ndarray) -> bool:
    """Whether curvature has all but vanished since the start: the optimum lies at infinity."""
    return bool((np.diag(H) < 1e-5 * np.diag(start)).any())


def class_probabilities(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(rows, K) probabilities of the classes at thresholds a (K - 1,) and slopes b (K - 1, p).

    Where thresholds cross, the cumulative probabilities are put in order.

    Source: Chernozhukov, Fernandez-Val & Galichon (2009): order brings them no farther from those
    of any law.
    """
    below = np.sort(expit(a + x @ b.T), axis=1)
    return np.diff(below, axis=1, prepend=0.0, append=1.0)
