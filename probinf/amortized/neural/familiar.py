"""Familiar: how far a data set's summary lies from those seen in training."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.fixed import Fixed
from probinf.errors import RangeWarning

_LEVELS = 201


class Familiar(Fixed):
    """Mean and covariance of the training summaries, and quantiles of their distances.

    Attributes:
        mean: (c,) of the summaries.
        factor: (c, c) Cholesky factor of their covariance.
        distances: quantiles of the squared Mahalanobis distance in training.
    """

    mean: Float[Array, " c"]
    factor: Float[Array, "c c"]
    distances: Float[Array, " levels"]

    @classmethod
    def of(cls, summaries: np.ndarray) -> Familiar:
        """From the summaries (n, c) of the training data."""
        s = np.asarray(summaries, float)
        mean = s.mean(axis=0)
        centred = s - mean
        covariance = centred.T @ centred / max(len(s) - 1, 1)
        variances = np.diag(covariance)
        ridge = 1e-4 * np.where(variances > 0, variances, 1.0) + 1e-6 * variances.max(initial=1e-6)
        factor = np.linalg.cholesky(covariance + np.diag(ridge))
        d2 = np.square(np.linalg.solve(factor, centred.T)).sum(axis=0)
        quantiles = np.quantile(d2, np.linspace(0, 1, _LEVELS))
        return cls(*(jnp.asarray(v, float) for v in (mean, factor, quantiles)))

    @classmethod
    def blank(cls, size: int) -> Familiar:
        """Of the right structure; to be filled from a file."""
        return cls(jnp.zeros(size), jnp.eye(size), jnp.zeros(_LEVELS))

    def __call__(self, summary: Float[Array, " c"]) -> Familiarity:
        """Distance of one summary, and the share of training data at least as far."""
        gap = summary - self.mean
        d2 = jnp.sum(jax.scipy.linalg.solve_triangular(self.factor, gap, lower=True) ** 2)
        levels = jnp.linspace(0.0, 1.0, _LEVELS)
        share = 1.0 - jnp.interp(d2, self.distances, levels)
        return Familiarity(d2, share, d2 / jnp.maximum(self.distances[-1], 1e-30))


class Familiarity(NamedTuple):
    """How unusual one data set is.

    Attributes:
        distance: squared Mahalanobis distance of its summary.
        share: of the training data at least as far out; 0 beyond all of them.
        excess: distance over the largest one in training.
    """

    distance: Float[Array, ""]
    share: Float[Array, ""]
    excess: Float[Array, ""]

    def warn(self) -> None:
        """Warn when the data lie beyond all training data; silent under a trace."""
        if isinstance(self.excess, jax.core.Tracer) or not float(self.excess) > 1:
            return
        warnings.warn(
            f"the observations lie outside the training data: the Mahalanobis distance of their "
            f"summary is {float(self.excess) ** 0.5:.3g} times the largest one in training. "
            "Check units and the simulator, and correct the answer with pi.refine.",
            RangeWarning,
            stacklevel=3,
        )
