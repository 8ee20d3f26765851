"""GaussianMixture: full-covariance mixtures of normals, as priors and as posteriors."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from probinf.core.program import Key
from probinf.errors import ArrayError


class GaussianMixture(eqx.Module):
    """A mixture of normals on R^D.

    Attributes:
        log_w: log weights of C components, normalised.
        means: their means.
        factors: lower Cholesky factors of their covariances.
    """

    log_w: Float[Array, "*batch components"]
    means: Float[Array, "*batch components dimension"]
    factors: Float[Array, "*batch components dimension dimension"]

    @classmethod
    def normal(
        cls,
        mean: Float[Array, " dimension"],
        covariance: Float[Array, "dimension dimension"],
        components: int = 1,
    ) -> GaussianMixture:
        """One normal law written as equal components, with weights proportional to 1, 2, ...

        The unequal weights let a network tell the components apart.

        Raises:
            ArrayError: the shapes do not fit, or the covariance is not positive definite.
        """
        mean, covariance = jnp.asarray(mean, float), jnp.asarray(covariance, float)
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size) or components < 1:
            raise ArrayError(
                f"GaussianMixture.normal: mean {mean.shape}, covariance {covariance.shape} and "
                f"components={components} do not fit together."
            )
        factor = jnp.linalg.cholesky(covariance)
        if not bool(jnp.isfinite(factor).all() & jnp.isfinite(mean).all()):
            raise ArrayError(
                "GaussianMixture.normal: the covariance is not positive definite, or a value is "
                "not finite."
            )
        weights = jnp.arange(1.0, components + 1)
        shape = (components, mean.size)
        return cls(
            jnp.log(weights / weights.sum()),
            jnp.broadcast_to(mean, shape),
            jnp.broadcast_to(factor, (*shape, mean.size)),
        )

    @property
    def dimension(self) -> int:
        """D."""
        return self.means.shape[-1]

    def log_density(self, x: Float[Array, " dimension"]) -> Float[Array, ""]:
        """Log density of one mixture (no batch) at one point."""
        z = jax.vmap(lambda factor, v: solve_triangular(factor, v, lower=True))(
            self.factors, x - self.means
        )
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.factors, axis1=-2, axis2=-1)), -1)
        constant = 0.5 * self.dimension * jnp.log(2 * jnp.pi)
        return logsumexp(self.log_w - 0.5 * jnp.sum(z**2, -1) - log_det - constant)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "*shape dimension"]:
        """Independent draws of one mixture (no batch)."""
        first, second = jax.random.split(key)
        k = jax.random.categorical(first, self.log_w, shape=shape)
        z = jax.random.normal(second, (*shape, self.dimension), self.means.dtype)
        return self.means[k] + jnp.einsum("...ij,...j->...i", self.factors[k], z)

    @property
    def mean(self) -> Float[Array, "*batch dimension"]:
        """Expectation."""
        return jnp.sum(jnp.exp(self.log_w)[..., None] * self.means, -2)

    @property
    def covariance(self) -> Float[Array, "*batch dimension dimension"]:
        """Covariance matrix."""
        w = jnp.exp(self.log_w)[..., None, None]
        centred = self.means - self.mean[..., None, :]
        within = jnp.einsum("...ij,...kj->...ik", self.factors, self.factors)
        between = jnp.einsum("...i,...k->...ik", centred, centred)
        return jnp.sum(w * (within + between), -3)

    def moved(
        self,
        matrix: Float[Array, "dimension dimension"],
        noise: Float[Array, "dimension dimension"],
        shift: Float[Array, " dimension"] | Float[Array, ""] | float = 0.0,
    ) -> GaussianMixture:
        """The law of ``matrix x + shift + e``, ``e ~ N(0, noise)``: a prediction step.

        ``noise`` may be singular. Factors are added as square roots, so that no small variance
        is lost beside a large one.
        """
        means = self.means @ matrix.T + shift
        values, vectors = jnp.linalg.eigh(noise)
        root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
        mapped = matrix @ self.factors
        roots = jnp.concatenate([mapped, jnp.broadcast_to(root, mapped.shape)], -1)
        return GaussianMixture(self.log_w, means, _lower(jnp.swapaxes(roots, -1, -2)))

    def conditioned(
        self,
        z: Float[Array, " observations"],
        matrix: Float[Array, "observations dimension"],
        noise: Float[Array, "observations observations"],
    ) -> GaussianMixture:
        """The exact posterior of one mixture after ``z = matrix x + e``, ``e ~ N(0, noise)``.

        An update of every component in square roots of its precision, which keeps the digits
        of a variance far below the prior's; weights are multiplied by its evidence.

        Raises:
            ArrayError: the noise has no positive definite covariance.
        """
        root = jnp.linalg.cholesky(noise)
        if not isinstance(root, jax.core.Tracer) and not bool(jnp.isfinite(root).all()):
            raise ArrayError(
                "conditioned: the covariance of the noise must be positive definite. An exact "
                "observation has no density; give it a small variance."
            )
        seen = solve_triangular(root, matrix, lower=True)
        before = jnp.sum(jnp.log(jnp.diag(root)))

        def one(log_w: Array, mean: Array, factor: Array) -> tuple[Array, Array, Array]:
            own = solve_triangular(factor, jnp.eye(self.dimension), lower=True)
            rows = jnp.concatenate([seen, own])
            # the longest row first: rotations then keep the short ones' digits
            rows = rows[jnp.argsort(-jnp.sum(rows**2, 1))]
            # precision = U U', U upper triangular, from rows and columns in reverse
            upper = _lower(rows[:, ::-1])[::-1, ::-1]
            updated = solve_triangular(upper, jnp.eye(self.dimension), lower=False).T

            def pull(x: Array) -> tuple[Array, Array, Array]:
                left = solve_triangular(root, z - matrix @ x, lower=True)
                back = solve_triangular(factor, mean - x, lower=True)
                return updated @ (updated.T @ (seen.T @ left + own.T @ back)), left, back

            x = mean
            for _ in range(2):  # the second step removes the rounding of a long first one
                x = x + pull(x)[0]
            _, left, back = pull(x)
            evidence = -0.5 * (jnp.sum(left**2) + jnp.sum(back**2)) - before
            change = jnp.diag(updated) / jnp.diag(factor)
            return log_w + evidence + jnp.sum(jnp.log(change)), x, updated

        log_w, means, factors = jax.vmap(one)(self.log_w, self.means, self.factors)
        return GaussianMixture(log_w - logsumexp(log_w), means, factors)


def _lower(rows: Float[Array, "*batch rows dimension"]) -> Float[Array, "*batch d dimension"]:
    """The lower Cholesky factor of ``rows' rows``, which is never formed."""
    upper = jnp.linalg.qr(rows, mode="r")
    signs = jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return jnp.swapaxes(signs[..., None] * upper, -1, -2)
