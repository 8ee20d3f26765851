"""The law of observations of a Gaussian memory that all have one loading: a Kalman filter."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from numpyro.distributions import Distribution, constraints

from probinf.core.program import Key


class Moves(NamedTuple):
    """How the memory moves on: matrices of every kind of step, and the kind of each step."""

    kept: Float[Array, "kinds size size"]
    added: Float[Array, "kinds size size"]
    root: Float[Array, "kinds size size"]  # of ``added``
    which: Int[Array, " n"]


class FractionalLaw(Distribution):
    """Observations ``loc + loading' memory + error * noise``, or of the memory's changes.

    Args:
        loading: (size,) of the memory.
        loc: (n,) means.
        error: standard deviation of the noise of each observation.
        moves: of the memory, which begins at 0.
        increments: observe changes, from the first time on.
    """

    arg_constraints: ClassVar = {
        "loading": constraints.real_vector,
        "loc": constraints.real_vector,
        "error": constraints.nonnegative,
    }
    support = constraints.real_vector
    reparametrized_params: ClassVar = ["loading", "loc", "error"]
    pytree_data_fields = ("loading", "loc", "error", "moves")
    pytree_aux_fields = ("increments",)

    def __init__(
        self,
        loading: Float[Array, " size"],
        loc: Float[Array, " n"],
        error: Float[Array, ""],
        moves: Moves,
        increments: bool,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loading, self.loc, self.error = loading, loc, error
        self.moves, self.increments = moves, increments
        super().__init__(event_shape=loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, " n"]:
        """The mean of each value."""
        return self.loc

    @property
    def variance(self) -> Float[Array, " n"]:
        """The variance of each value."""

        def along(p: Any, kind: Any) -> tuple[Any, Any]:
            mean_of, own = self._seen(kind)
            after = self._next(p, kind)
            return after, mean_of @ p @ mean_of + own

        start = jnp.zeros((self.loading.size,) * 2, self.loading.dtype)
        out = jax.lax.scan(along, start, self.moves.which)[1][int(self.increments) :]
        return out + self.error**2

    def _seen(self, kind: Any) -> tuple[Array, Array]:
        """What an observation takes of the memory before it, and the variance of what is new."""
        before = self.loading @ self.moves.kept[kind]
        if self.increments:
            before = before - self.loading
        return before, self.loading @ self.moves.added[kind] @ self.loading

    def _next(self, covariance: Array, kind: Any) -> Array:
        kept = self.moves.kept[kind]
        return kept @ covariance @ kept.T + self.moves.added[kind]

    def log_prob(self, value: Any) -> Array:
        """Log density of (..., n) values."""
        value = jnp.asarray(value)
        flat = value.reshape(-1, value.shape[-1])
        found = jax.vmap(self._log_prob)(flat).reshape(value.shape[:-1])
        inside = jnp.isfinite(self.loading).all()  # else the Hurst index is beyond its range
        return jnp.where(inside, found, -jnp.inf)

    def _log_prob(self, value: Float[Array, " n"]) -> Float[Array, ""]:
        gap, observed = value - self.loc, self._observed()
        if self.increments:
            gap = jnp.concatenate([jnp.zeros(1, gap.dtype), gap])

        def along(belief: Any, step: Any) -> tuple[Any, Array]:
            mean, p = belief
            kind, y, is_seen = step
            before, own = self._seen(kind)
            kept = self.moves.kept[kind]
            spread = before @ p @ before + own + self.error**2
            spread = jnp.where(is_seen, spread, 1.0)
            shared = kept @ (p @ before) + self.moves.added[kind] @ self.loading
            shared = jnp.where(is_seen, shared, 0.0)
            off = jnp.where(is_seen, y - before @ mean, 0.0)
            after = self._next(p, kind) - jnp.outer(shared, shared) / spread
            log_p = -0.5 * (off**2 / spread + jnp.log(2 * jnp.pi * spread))
            return (kept @ mean + shared * off / spread, (after + after.T) / 2), jnp.where(
                is_seen, log_p, 0.0
            )

        size = self.loading.size
        start = jnp.zeros(size, self.loading.dtype), jnp.zeros((size, size), self.loading.dtype)
        return jax.lax.scan(along, start, (self.moves.which, gap, observed))[1].sum()

    def _observed(self) -> Bool[Array, " steps"]:
        return jnp.arange(self.moves.which.size) >= int(self.increments)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, (*sample_shape, n)."""
        count = math.prod(sample_shape)
        memory, noise = jax.random.split(key)
        steps, size = self.moves.which.size, self.loading.size
        new = jax.random.normal(memory, (steps, count, size), self.loading.dtype)

        def along(z: Any, step: Any) -> tuple[Any, Any]:
            kind, e = step
            after = z @ self.moves.kept[kind].T + e @ self.moves.root[kind].T
            return after, (after - z if self.increments else after) @ self.loading

        start = jnp.zeros((count, size), self.loading.dtype)
        out = jax.lax.scan(along, start, (self.moves.which, new))[1][int(self.increments) :].T
        out = out + self.error * jax.random.normal(noise, out.shape, out.dtype) + self.loc
        return out.reshape(*sample_shape, self.loc.size)
