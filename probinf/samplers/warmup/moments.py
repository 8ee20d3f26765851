"""What the warm-up learns of the target's spread: variances, a covariance, or one by groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.kernels import blackjax
from probinf.kernels.metric import LowRank


@dataclasses.dataclass(frozen=True)
class Moments:
    """Running variances of all coordinates, or their covariance (BlackJAX's, which are Stan's).

    Args:
        dense: a covariance instead of variances.
    """

    dense: bool = False

    def _parts(self) -> Any:
        return blackjax.mass_matrix(diagonal=not self.dense)

    def start(self, size: int) -> Any:
        """Unit covariance of ``size`` coordinates."""
        return self._parts()[0](size)

    def update(self, state: Any, vector: Float[Array, " d"]) -> Any:
        """One more position."""
        return self._parts()[1](state, vector)

    def close(self, state: Any) -> Any:
        """The estimate from all positions since the last one, which are then forgotten."""
        return self._parts()[2](state)

    def mean(self, state: Any) -> Float[Array, " d"]:
        """Of the positions since the last estimate."""
        return state.wc_state.mean

    def covariance(self, state: Any, dtype: Any) -> Any:
        """The last estimate."""
        return state.inverse_mass_matrix.astype(dtype)


@dataclasses.dataclass(frozen=True)
class GroupedMoments:
    """Variances of all coordinates, and correlations inside groups of them only.

    The covariance is a ``LowRank`` metric whose directions are the eigenvectors of the groups'
    correlations, so that every kernel that takes one takes the other, at a cost of d times the
    number of grouped coordinates.

    Args:
        groups: coordinates of each group; no coordinate is in two of them.
    """

    groups: tuple[tuple[int, ...], ...]

    @property
    def _index(self) -> np.ndarray:
        return np.concatenate([np.asarray(group) for group in self.groups])

    def start(self, size: int) -> Any:
        """Unit covariance of ``size`` coordinates."""
        return Moments().start(size), Moments(dense=True).start(self._index.size)

    def update(self, state: Any, vector: Float[Array, " d"]) -> Any:
        """One more position."""
        inside = Moments(dense=True).update(state[1], vector[self._index])
        return Moments().update(state[0], vector), inside

    def close(self, state: Any) -> Any:
        """The estimate from all positions since the last one, which are then forgotten."""
        return Moments().close(state[0]), Moments(dense=True).close(state[1])

    def mean(self, state: Any) -> Float[Array, " d"]:
        """Of the positions since the last estimate."""
        return Moments().mean(state[0])

    def covariance(self, state: Any, dtype: Any) -> LowRank:
        """The last estimate."""
        variances, inside = (part.inverse_mass_matrix for part in state)
        labels = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        sd = jnp.sqrt(jnp.diagonal(inside))
        same = labels[:, None] == labels
        correlation = jnp.where(same, inside / (sd[:, None] * sd), 0.0)
        values, vectors = jnp.linalg.eigh(correlation)
        directions = jnp.zeros((variances.size, sd.size), vectors.dtype)
        return LowRank(
            jnp.sqrt(variances).astype(dtype),
            directions.at[self._index].set(vectors).astype(dtype),
            jnp.maximum(values, 1e-6).astype(dtype),
        )
