"""Laws of vectors: normalised densities that can be drawn from, as pytrees of arrays.

Each has ``sample(key)`` and ``log_density(x)``, as :func:`~probinf.core.normalised.normalised`
wants them; those that can be fitted by variational inference also ``sample_and_log_density``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.program import Key

_LOG_2_PI = 1.8378770664093453


def _normal(key: Key, like: Array, size: int | None = None) -> Array:
    like = jnp.asarray(like)  # in the precision that is on
    return jax.random.normal(key, like.shape if size is None else (size,), like.dtype)


def _on_its_path(law: Any, key: Key) -> tuple[Array, Array]:
    """A draw and its log density, whose gradient sees the law through the draw alone.

    The part left out has mean zero, and without it the gradient has no noise where the law is
    the target: Roeder, Wu & Duvenaud (2017).
    """
    x = law.sample(key)
    return x, jax.lax.stop_gradient(law).log_density(x)


class DiagonalNormal(NamedTuple):
    """Independent normal coordinates.

    Attributes:
        mean: (d,).
        log_scale: (d,) logarithms of the standard deviations.
    """

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        return self.mean + jnp.exp(self.log_scale) * _normal(key, self.mean)

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return -0.5 * (z @ z + len(x) * _LOG_2_PI) - self.log_scale.sum()

    def sample_and_log_density(self, key: Key) -> tuple[Array, Array]:
        """A draw and its log density, to be differentiated."""
        return _on_its_path(self, key)


class FactorNormal(NamedTuple):
    """A normal law with any covariance.

    Attributes:
        mean: (d,).
        log_diagonal: (d,) logarithms of the diagonal of the Cholesky factor.
        lower: (d, d), of which the entries below the diagonal are the factor's.
    """

    mean: Float[Array, " d"]
    log_diagonal: Float[Array, " d"]
    lower: Float[Array, "d d"]

    @classmethod
    def of(cls, mean: Any, factor: Any) -> FactorNormal:
        """From a mean and a Cholesky factor of the covariance."""
        factor = jnp.asarray(factor)
        return cls(jnp.asarray(mean), jnp.log(jnp.diagonal(factor)), jnp.tril(factor, -1))

    @property
    def factor(self) -> Float[Array, "d d"]:
        """Lower Cholesky factor of the covariance."""
        return jnp.tril(self.lower, -1) + jnp.diag(jnp.exp(self.log_diagonal))

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        return self.mean + self.factor @ _normal(key, self.mean)

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        z = jax.scipy.linalg.solve_triangular(self.factor, x - self.mean, lower=True)
        return -0.5 * (z @ z + len(x) * _LOG_2_PI) - self.log_diagonal.sum()

    def sample_and_log_density(self, key: Key) -> tuple[Array, Array]:
        """A draw and its log density, to be differentiated."""
        return _on_its_path(self, key)


class LowRankNormal(NamedTuple):
    """A normal law whose covariance is variances plus a few directions.

    Attributes:
        mean: (d,).
        log_scale: (d,) logarithms of standard deviations; the covariance is
            ``diag(exp(2 log_scale)) + directions @ directions.T``.
        directions: (d, r).
    """

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    directions: Float[Array, "d r"]

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        own, shared = jax.random.split(key)
        z = _normal(shared, self.mean, self.directions.shape[1])
        noise = jnp.exp(self.log_scale) * _normal(own, self.mean)
        return self.mean + noise + self.directions @ z

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector, by the matrix determinant lemma."""
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        scaled = self.directions * jnp.exp(-self.log_scale)[:, None]
        inner = jnp.eye(scaled.shape[1], dtype=x.dtype) + scaled.T @ scaled
        factor = jnp.linalg.cholesky(inner)
        seen = jax.scipy.linalg.solve_triangular(factor, scaled.T @ z, lower=True)
        log_det = self.log_scale.sum() + jnp.log(jnp.diagonal(factor)).sum()
        return -0.5 * (z @ z - seen @ seen + len(x) * _LOG_2_PI) - log_det

    def sample_and_log_density(self, key: Key) -> tuple[Array, Array]:
        """A draw and its log density, to be differentiated."""
        return _on_its_path(self, key)


class NormalMixture(NamedTuple):
    """A mixture of normal laws.

    Attributes:
        log_shares: (m,) logarithms of the components' shares, which sum to one.
        means: (m, d).
        factors: (m, d, d) lower Cholesky factors of the covariances.
    """

    log_shares: Float[Array, " m"]
    means: Float[Array, "m d"]
    factors: Float[Array, "m d d"]

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        which, key = jax.random.split(key)
        k = jax.random.categorical(which, self.log_shares)
        return self.means[k] + self.factors[k] @ _normal(key, self.means[0])

    def parts(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Log of share times density of every component at a vector."""

        def one(log_share: Array, mean: Array, factor: Array) -> Array:
            z = jax.scipy.linalg.solve_triangular(factor, x - mean, lower=True)
            log_det = jnp.log(jnp.diagonal(factor)).sum()
            return log_share - 0.5 * (z @ z + len(x) * _LOG_2_PI) - log_det

        return jax.vmap(one)(*self)

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        return jax.scipy.special.logsumexp(self.parts(x))


class Scaled(NamedTuple):
    """A law of ``z`` as one of ``shift + scale z``.

    Attributes:
        inner: of ``z``.
        shift: (d,).
        scale: (d,) positive, or (d, d) lower triangular with a positive diagonal.
    """

    inner: Any
    shift: Float[Array, " d"]
    scale: Float[Array, "..."]

    def _out(self, z: Array) -> Array:
        return self.shift + (self.scale * z if self.scale.ndim == 1 else self.scale @ z)

    def _log_det(self) -> Array:
        diagonal = self.scale if self.scale.ndim == 1 else jnp.diagonal(self.scale)
        return jnp.log(diagonal).sum()

    def sample(self, key: Key) -> Float[Array, " d"]:
        """One draw."""
        return self._out(self.inner.sample(key))

    def log_density(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """Log density at a vector."""
        z = x - self.shift
        if self.scale.ndim == 1:
            z = z / self.scale
        else:
            z = jax.scipy.linalg.solve_triangular(self.scale, z, lower=True)
        return self.inner.log_density(z) - self._log_det()

    def sample_and_log_density(self, key: Key) -> tuple[Array, Array]:
        """A draw and its log density, to be differentiated."""
        z, log_density = self.inner.sample_and_log_density(key)
        return self._out(z), log_density - self._log_det()
