"""Models of a linear predictor, with one slope per row instead of a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.ppi.inference.losses.model import Rows
from probinf.ppi.inference.moments import over_blocks


@dataclasses.dataclass(frozen=True)
class Linear:
    """A loss of a linear predictor: rows hold ``x`` (rows, d), ``y`` (rows,) and ``offset``.

    A family may know its own derivative, ``slope(eta, y)``; otherwise it is differentiated.
    """

    family: Callable[[Any, Any], Any]

    def _eta(self, theta: jax.Array, rows: Rows) -> jax.Array:
        return rows["x"] @ theta + rows.get("offset", 0.0)

    def _slope(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        known = getattr(self.family, "slope", None)
        if known is not None:
            return known(eta, y)
        return jax.jvp(lambda e: self.family(e, y), (eta,), (jnp.ones_like(eta),))[1]

    @property
    def has_loss(self) -> bool:
        """Always."""
        return True

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses."""
        return weights @ self.family(self._eta(theta, rows), rows["y"])

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d): slope of the loss times the regressors."""
        return self._slope(self._eta(theta, rows), rows["y"])[:, None] * rows["x"]

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d), in one pass over the rows."""

        def one(rows: Rows, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
            x, y, eta = rows["x"], rows["y"], self._eta(theta, rows)
            slope, second = jax.jvp(lambda e: self._slope(e, y), (eta,), (jnp.ones_like(eta),))
            return (weights * slope) @ x, (x.T * (weights * second)) @ x

        return over_blocks(one, rows, weights)
