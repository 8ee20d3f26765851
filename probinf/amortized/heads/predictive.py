"""Predictive: what every distribution of a real outcome offers."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from probinf.core.program import Key
from probinf.errors import LevelError


class Predictive(eqx.Module):
    """A batch of normalised densities of one real outcome each."""

    @abc.abstractmethod
    def log_density(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Log density at y."""

    @abc.abstractmethod
    def expected_log_density(
        self, mean: Float[Array, "*batch"], sd: Float[Array, "*batch"], key: Key | None = None
    ) -> Float[Array, "*batch"]:
        """Expectation of the log density under N(mean, sd²).

        Where there is no closed form, a key gives an unbiased estimate at random points, which
        is what training needs: a network learns to put narrow peaks on points that stay the same.
        """

    @abc.abstractmethod
    def cdf(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Probability of values up to y."""

    @abc.abstractmethod
    def icdf(self, q: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Quantile of level q in [0, 1]; infinite at 0 and 1."""

    @property
    @abc.abstractmethod
    def mean(self) -> Float[Array, "*batch"]:
        """Expectation."""

    @property
    @abc.abstractmethod
    def variance(self) -> Float[Array, "*batch"]:
        """Variance."""

    @abc.abstractmethod
    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "*rows"]:
        """Independent draws, ``shape`` in front of the batch."""

    @abc.abstractmethod
    def expected_improvement(self, best: ArrayLike) -> Float[Array, "*batch"]:
        """Expectation of ``max(y - best, 0)``, the acquisition of Bayesian optimisation."""

    @property
    def sd(self) -> Float[Array, "*batch"]:
        """Standard deviation."""
        return jnp.sqrt(self.variance)

    def quantile(self, levels: ArrayLike | Sequence[float]) -> Float[Array, "*rows"]:
        """Quantiles, the levels' axes in front of the batch.

        Raises:
            LevelError: a level is outside [0, 1] or NaN.
        """
        levels = np.asarray(levels, float)
        if not ((levels >= 0) & (levels <= 1)).all():
            raise LevelError(f"quantile: levels must lie in [0, 1], got {levels}.")
        found = _quantiles(self, jnp.asarray(levels.ravel(), float))
        return found.reshape(*levels.shape, *found.shape[1:])

    def interval(
        self, level: float = 0.95
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Central interval of probability ``level``: lower and upper end.

        Raises:
            LevelError: ``level`` is outside (0, 1).
        """
        if not 0 < level < 1:
            raise LevelError(f"interval: level must lie in (0, 1), got {level}.")
        low, high = self.quantile([(1 - level) / 2, (1 + level) / 2])
        return low, high


@eqx.filter_jit
def _quantiles(law: Predictive, levels: Float[Array, " levels"]) -> Float[Array, "levels *batch"]:
    batch = law.mean.shape
    return jax.lax.map(lambda level: law.icdf(jnp.broadcast_to(level, batch)), levels)
