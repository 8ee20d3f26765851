"""RandomMixtures: mixtures of normals as priors of a state that a sensor observes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.amortized.priors.meta_prior import MetaPrior, Situation
from probinf.core.program import Key
from probinf.errors import TrainingError


class LinearSensor(eqx.Module):
    """Observations ``z = matrix x + e``, ``e ~ N(0, noise)``.

    Args:
        matrix: one row per observed number.
        noise: covariance of the noise.
    """

    matrix: Float[Array, "columns dimension"]
    noise: Float[Array, "columns columns"]

    def __init__(self, matrix: Any, noise: Any) -> None:
        self.matrix, self.noise = jnp.asarray(matrix, float), jnp.asarray(noise, float)
        rows = self.matrix.shape[0]
        if self.matrix.ndim != 2 or self.noise.shape != (rows, rows):
            raise TrainingError(
                f"LinearSensor: matrix {self.matrix.shape} needs a square noise covariance, got "
                f"{self.noise.shape}."
            )

    def __call__(self, key: Key, x: Float[Array, " dimension"]) -> Float[Array, " columns"]:
        """One observation of the state x."""
        e = jax.random.normal(key, (self.matrix.shape[0],))
        return self.matrix @ x + jnp.linalg.cholesky(self.noise) @ e


class RandomMixtures(MetaPrior):
    """Random mixtures of normals as priors, observed through a sensor.

    Weights are Dirichlet(1); means are N(centre, 1) around a common centre ~ N(0, spread²);
    Cholesky factors have log-normal diagonals. A share of the priors is nearly flat.

    Args:
        dimension: of the parameter.
        sensor: ``(key, x) -> z``, a module-level function or Equinox module; with a
            :class:`LinearSensor` the exact posterior is drawn from.
        columns: numbers per observation.
        components: of a prior, and of the posterior.
        spread: of the centres.
        flat: share of nearly flat priors, whose components are three times as wide as ``spread``.
    """

    sensor: Any
    dimension: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    components: int = eqx.field(static=True)
    spread: float = eqx.field(static=True)
    flat: float = eqx.field(static=True)

    def __init__(
        self,
        dimension: int,
        sensor: Any,
        columns: int,
        *,
        components: int = 3,
        spread: float = 2.0,
        flat: float = 0.1,
    ) -> None:
        if dimension < 1 or columns < 1 or components < 1 or not 0 <= flat <= 1:
            raise TrainingError(
                f"RandomMixtures: dimension={dimension}, columns={columns}, "
                f"components={components} must be positive and flat={flat} a share."
            )
        self.sensor, self.dimension, self.columns = sensor, dimension, columns
        self.components, self.spread, self.flat = components, spread, flat

    @property
    def shape(self) -> dict[str, Any]:
        """A real vector with a mixture as prior."""
        return {"dimension": self.dimension, "parameters": 0, "columns": self.columns,
                "observations": 1, "support": "real"}  # fmt: skip

    def prior(self, key: Key) -> GaussianMixture:
        """One prior."""
        c, d = self.components, self.dimension
        keys = jax.random.split(key, 6)
        log_w = jax.nn.log_softmax(jax.random.loggamma(keys[0], jnp.ones(c)))
        centre = self.spread * jax.random.normal(keys[1], (d,))
        means = centre + jax.random.normal(keys[2], (c, d))
        scales = jnp.exp(-0.5 + 0.7 * jax.random.normal(keys[3], (c, d)))
        flat = jax.random.uniform(keys[5]) < self.flat
        scales = jnp.where(flat, 3 * self.spread * scales**0.2, scales)
        below = 0.5 * jnp.tril(jax.random.normal(keys[4], (c, d, d)), -1) * scales[:, None, :]
        return GaussianMixture(log_w, means, below + scales[:, :, None] * jnp.eye(d))

    def draw(self, key: Key, draws: int) -> Situation:
        """Exact posterior draws for a linear sensor, else the one parameter that made z."""
        keys = jax.random.split(key, 4)
        prior = self.prior(keys[0])
        first = prior.sample(keys[1], (draws,))
        z = self.sensor(keys[2], first[0])
        after = first[:1]
        if isinstance(self.sensor, LinearSensor):
            exact = prior.conditioned(z, self.sensor.matrix, self.sensor.noise)
            after = exact.sample(keys[3], (draws,))
        return Situation(prior, z[None], jnp.ones(1, bool), after, first)
