"""Models of a linear predictor, with one slope per row instead of a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.ppi.inference.losses.model import Rows
from probinf.ppi.inference.moments import Totals, over_blocks


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

        def one(rows: Rows, weights: jax.Array) -> jax.Array:
            slope, second = self._slopes(theta, rows)
            x = rows["x"]
            return _products(x, weights * second, weights * slope)

        found = over_blocks(one, rows, weights)
        return found[-1], found[:-1]

    def totals(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> Totals:
        """`Totals`, in one pass over the rows."""

        def one(rows: Rows, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
            slope, second = self._slopes(theta, rows)
            x, each = rows["x"], weights * slope
            return _products(x, weights * second, each), _products(x, each**2, weights * each)

        first, other = over_blocks(one, rows, weights)
        return Totals(first[-1], first[:-1], other[-1], other[:-1])

    def _slopes(self, theta: jax.Array, rows: Rows) -> tuple[jax.Array, jax.Array]:
        y, eta = rows["y"], self._eta(theta, rows)
        return jax.jvp(lambda e: self._slope(e, y), (eta,), (jnp.ones_like(eta),))


def _products(x: jax.Array, outer: jax.Array, single: jax.Array) -> jax.Array:
    """(d + 1, d): sums of ``outer x x'`` and, below, of ``single x``; one product is faster."""
    return jnp.concatenate([x.T * outer, single[None]]) @ x
