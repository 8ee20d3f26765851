"""Model: what the solver and the moments ask of a loss."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

Rows = Any  # a pytree of arrays (rows, ...)


@runtime_checkable
class Model(Protocol):
    """Scores of rows, and sums over rows that never store a gradient per row."""

    @property
    def has_loss(self) -> bool:
        """Whether the scores are gradients of a loss that `value` gives."""
        ...

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses."""
        ...

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d) score of every row."""
        ...

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d)."""
        ...
