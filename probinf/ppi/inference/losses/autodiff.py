"""Models of any loss or score of one row, by automatic differentiation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from probinf.errors import ArrayError
from probinf.ppi.inference.losses.model import Rows


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Any ``loss(theta, row) -> scalar`` or ``score(theta, row) -> (d,)`` of one row."""

    function: Callable[[Any, Any], Any]
    unravel: Callable[[Any], Any]
    is_score: bool = False

    def _one(self, theta: jax.Array, row: Any) -> jax.Array:
        value = self.function(self.unravel(theta), row)
        if not self.is_score:
            return value
        return ravel_pytree(value)[0]

    def check(self, d: int, rows: Rows) -> None:
        """Raise unless the function takes such rows and returns a scalar, or a score (d,)."""
        kinds = tuple((k, a.shape[1:], a.dtype.kind in "biu") for k, a in rows.items())
        self._check(d, kinds)

    @lru_cache(maxsize=256)  # noqa: B019, what is compiled is kept per function, too
    def _check(self, d: int, kinds: tuple[tuple[str, tuple[int, ...], bool], ...]) -> None:
        shapes = {name: shape for name, shape, _ in kinds}
        what = "score" if self.is_score else "loss"
        with jax.enable_x64(True):
            theta = jax.ShapeDtypeStruct((d,), jnp.float64)
            row = {
                name: jax.ShapeDtypeStruct(shape, jnp.int64 if whole else jnp.float64)
                for name, shape, whole in kinds
            }
            try:
                found = jax.eval_shape(self._one, theta, row)
            except KeyError as cause:
                raise ArrayError(
                    f"the {what} reads the column {cause} of a row; its columns are "
                    f"{', '.join(shapes)}."
                ) from None
        wanted = (d,) if self.is_score else ()
        if getattr(found, "shape", None) != wanted:
            raise ArrayError(
                f"the {what} of one row must have shape {wanted}, not "
                f"{getattr(found, 'shape', found)}; the columns of a row have shapes {shapes}."
            )

    @property
    def has_loss(self) -> bool:
        """Whether the function is a loss."""
        return not self.is_score

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses; only for losses."""
        return weights @ jax.vmap(self._one, (None, 0))(theta, rows)

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d) gradient of the loss, or the score, of every row."""
        one = self._one if self.is_score else jax.grad(self._one)
        return jax.vmap(one, (None, 0))(theta, rows)

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d)."""

        def total(t: jax.Array) -> tuple[jax.Array, jax.Array]:
            if self.is_score:
                found = weights @ self.scores(t, rows)
            else:  # one reverse pass
                found = jax.grad(self.value)(t, rows, weights)
            return found, found

        J, found = jax.jacfwd(total, has_aux=True)(theta)
        return found, J
