"""Regression: the best linear-Gaussian answer, where a conditional flow starts from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.fixed import Fixed

_PENALTIES = 10.0 ** np.arange(-2, 6)
_HELD = 0.2


class Regression(Fixed):
    """``z -> factor^-1 (z - weight context - offset)``: standard normal where z is linear-Gaussian.

    It is fixed by the simulations and not trained. The flow that follows is the identity at
    first, so training starts from the ridge regression, and what has a linear-Gaussian answer
    need not be learned by a network from few simulations.

    Attributes:
        weight: of the context.
        offset: of the mean.
        factor: lower Cholesky factor of the residuals' covariance.

    Source: regression adjustment as in Beaumont, Zhang & Balding (2002), eq. 5.
    """

    weight: Float[Array, "d c"]
    offset: Float[Array, " d"]
    factor: Float[Array, "d d"]

    @classmethod
    def of(cls, z: np.ndarray, context: np.ndarray) -> Regression:
        """From simulations: the penalty and the residuals' covariance are those of held-out rows.

        Args:
            z: (n, d).
            context: (n, c), of about unit scale.
        """
        z, context = np.asarray(z, float), np.asarray(context, float)
        held = max(2, int(_HELD * len(z)))
        centre, mean = context[held:].mean(axis=0), z[held:].mean(axis=0)
        left, s, right = np.linalg.svd(context[held:] - centre, full_matrices=False)
        onto = left.T @ (z[held:] - mean)
        tried = []
        for penalty in _PENALTIES:
            weight = (right.T * (s / (s**2 + penalty))) @ onto
            residual = z[:held] - mean - (context[:held] - centre) @ weight
            score = np.log(np.mean(residual**2, axis=0) + 1e-12).sum()
            tried.append((score, weight, residual))
        _, weight, residual = min(tried, key=lambda fit: fit[0])
        d = z.shape[1]
        covariance = residual.T @ residual / held
        share = held / (held + d)  # few rows must not make a direction look certain
        covariance = share * covariance + (1 - share) * np.diag(np.diag(covariance))
        factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(d))
        found = (weight.T, mean - centre @ weight, factor)
        return cls(*(jnp.asarray(v, float) for v in found))

    @classmethod
    def blank(cls, size: int, context: int) -> Regression:
        """The identity, for contexts that are not known before training."""
        return cls(jnp.zeros((size, context)), jnp.zeros(size), jnp.eye(size))

    def __call__(
        self, z: Float[Array, " d"], context: Float[Array, " c"]
    ) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """The image, and the log Jacobian determinant."""
        gap = z - self.weight @ context - self.offset
        image = jax.scipy.linalg.solve_triangular(self.factor, gap, lower=True)
        return image, -jnp.sum(jnp.log(jnp.diagonal(self.factor)))

    def inverse(self, image: Float[Array, " d"], context: Float[Array, " c"]) -> Float[Array, " d"]:
        """The exact preimage."""
        return self.weight @ context + self.offset + self.factor @ image
