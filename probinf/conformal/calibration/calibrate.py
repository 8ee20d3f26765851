"""Calibration: sorted scores, ready for any level and any number of test points."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from probinf.conformal.calibration.randomness import row_uniforms
from probinf.conformal.calibration.ranks import (
    lower_rank,
    order_stat,
    upper_rank,
    weighted_quantile,
)
from probinf.core.inputs.arrays import ArrayLike, as_float, as_weights
from probinf.core.inputs.levels import Level
from probinf.core.program import Key
from probinf.errors import ArrayError


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Nonconformity scores of points that the model has not seen.

    Attributes:
        scores: (n,) ascending.
        weights: (n,) in the order of ``scores``, or None when all count alike.
    """

    scores: np.ndarray
    weights: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of calibration points."""
        return int(self.scores.size)

    def quantile(self, alpha: Level, *, test_weights: ArrayLike = 1.0) -> Any:
        """Threshold q with P(test score <= q) >= 1 - alpha; +inf when the points are too few.

        Args:
            alpha: miscoverage, scalar or (A,).
            test_weights: for weighted calibration, scalar or (m,).
        """
        if self.weights is not None:
            return weighted_quantile(self.scores, self.weights, alpha, test_weights=test_weights)
        return self._at(upper_rank(self.size, alpha))

    def lower_quantile(self, alpha: Level) -> Any:
        """Threshold q with P(test score >= q) >= 1 - alpha; -inf when the points are too few."""
        if self.weights is not None:
            raise ArrayError("lower_quantile: calibrate the negated scores when there are weights.")
        return self._at(lower_rank(self.size, alpha))

    def _at(self, ranks: Any) -> Any:
        padded = np.concatenate([[-np.inf], self.scores, [np.inf]])
        found = padded[np.clip(ranks, 0, self.size + 1)]
        return float(found) if np.ndim(found) == 0 else found

    def pvalue(
        self, scores: ArrayLike, *, key: int | Key | None = None, test_weights: ArrayLike = 1.0
    ) -> np.ndarray:
        """Conformal p-values: small when a test score is larger than calibration's.

        Without a key ties count against rejection, P(p <= u) <= u. With a key they are broken by
        one uniform number per test point (shared by the later axes), and P(p <= u) = u exactly.
        The number is made of the key and the scores: points that are asked one at a time get
        their own, as long as their scores differ.

        Args:
            scores: (m, ...) test scores.
            key: random key or seed for exact p-values.
            test_weights: for weighted calibration, scalar or (m,).

        Source: Vovk, Gammerman & Shafer (2005), section 2.2.
        """
        test = np.asarray(as_float("scores", scores))
        at_least = self._mass_from(test, "left")
        above = self._mass_from(test, "right")
        own = 1.0 if self.weights is None else as_weights("test_weights", test_weights)
        own = np.asarray(own, float)
        if own.ndim and own.shape != test.shape[:1]:
            raise ArrayError(f"test_weights must be one number or {test.shape[:1]}, one per point.")
        own = own.reshape(own.shape + (1,) * (test.ndim - own.ndim)) if own.ndim else own
        total = (float(self.size) if self.weights is None else self.weights.sum()) + own
        if (np.asarray(total) <= 0).any():
            raise ArrayError("test_weights and the calibration weights are all zero at some point.")
        if key is None:
            return np.asarray((own + at_least) / total)
        u = np.asarray(row_uniforms(key, np.atleast_1d(test)))
        u = u.reshape(u.shape + (1,) * (test.ndim - 1)) if test.ndim else u[0]
        return np.asarray((above + u * (own + at_least - above)) / total)

    def _mass_from(self, test: np.ndarray, side: Any) -> np.ndarray:
        index = np.searchsorted(self.scores, test, side=side)
        if self.weights is None:
            return np.asarray(self.size - index, float)
        return np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)[index]

    def update(self, scores: ArrayLike, weights: ArrayLike | None = None) -> Calibration:
        """A new calibration with further scores merged in."""
        more = calibrate(scores, weights=weights)
        if (more.weights is None) != (self.weights is None):
            raise ArrayError("update: give weights for the new scores if and only if the old had.")
        joined = np.concatenate([self.scores, more.scores])
        if self.weights is None or more.weights is None:
            return Calibration(np.sort(joined))
        return calibrate(joined, weights=np.concatenate([self.weights, more.weights]))


def calibrate(scores: ArrayLike, *, weights: ArrayLike | None = None) -> Calibration:
    """Sort calibration scores once, on the host.

    Args:
        scores: (n,) scores of exchangeable held-out points.
        weights: (n,) likelihood ratios of the test law to the calibration law, if they differ.

    Raises:
        ArrayError: NaN scores, or weights that are negative or of another size.
    """
    values = np.asarray(as_float("scores", scores, ndim=1)) + 0.0
    if weights is None:
        return Calibration(np.sort(values))
    mass = np.asarray(as_weights("weights", weights, size=values.size), float)
    order = np.argsort(values, kind="stable")
    return Calibration(values[order], mass[order])


def threshold(
    scores: Any,
    alpha: Level,
    *,
    weights: ArrayLike | None = None,
    test_weights: ArrayLike = 1.0,
) -> Any:
    """Split-conformal threshold of (n,) scores, on the host or inside ``jit``."""
    if weights is not None:
        return weighted_quantile(scores, weights, alpha, test_weights=test_weights)
    return order_stat(scores, upper_rank(scores.shape[0], alpha))
