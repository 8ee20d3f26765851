"""Meta-priors: laws of (prior, parameter, observations), from which a transformer learns Bayes."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.core.program import Key
from probinf.errors import TrainingError


class Situation(NamedTuple):
    """One prior, observations, and draws to learn from, on the unconstrained scale.

    Attributes:
        prior: parameters of the prior, or the prior itself as a mixture.
        z: observations, padded.
        mask: which of them are real.
        posterior: draws of the parameter given ``z`` under this prior: the one that made ``z``,
            or any number where the posterior can be drawn from.
        draws: draws from the prior.
    """

    prior: Float[Array, " parameters"] | GaussianMixture
    z: Float[Array, "observations columns"]
    mask: Bool[Array, " observations"]
    posterior: Float[Array, "draws dimension"]
    draws: Float[Array, "draws dimension"]


class MetaPrior(eqx.Module):
    """A law over priors, with one likelihood."""

    @property
    @abc.abstractmethod
    def shape(self) -> dict[str, Any]:
        """``dimension``, ``parameters`` (0: mixtures), ``columns``, ``observations``, ``support``.

        The support is "real", "positive" (coordinates are logarithms) or "unit" (logits).
        """

    @abc.abstractmethod
    def draw(self, key: Key, draws: int) -> Situation:
        """One situation with ``draws`` (static) draws from prior and posterior where possible."""


class InverseGammaNormal(MetaPrior):
    """A variance x ~ InverseGamma(a, b), observed through z ~ N(0, x).

    Args:
        shape_law: NumPyro distribution of a; inverse-gamma(4, 6) unless given.
        rate_law: of b.
        observations: largest number of observations; any number from 1 on is trained.
    """

    shape_law: Any
    rate_law: Any
    observations: int = eqx.field(static=True)

    def __init__(
        self, shape_law: Any = None, rate_law: Any = None, *, observations: int = 1
    ) -> None:
        self.shape_law = dist.InverseGamma(4.0, 6.0) if shape_law is None else shape_law
        self.rate_law = dist.InverseGamma(4.0, 6.0) if rate_law is None else rate_law
        self.observations = observations

    @property
    def shape(self) -> dict[str, Any]:
        """A positive parameter with a two-parameter prior."""
        return {"dimension": 1, "parameters": 2, "columns": 1,
                "observations": self.observations, "support": "positive"}  # fmt: skip

    def draw(self, key: Key, draws: int) -> Situation:
        """Exact posterior draws by conjugacy; gamma variables are drawn as logarithms."""
        keys = jax.random.split(key, 6)
        a, b = self.shape_law.sample(keys[0]), self.rate_law.sample(keys[1])
        first = jnp.log(b) - jax.random.loggamma(keys[2], a, (draws,))
        z = jnp.exp(first[0] / 2) * jax.random.normal(keys[3], (self.observations,))
        count = jax.random.randint(keys[4], (), 1, self.observations + 1)
        mask = jnp.arange(self.observations) < count
        rate = b + 0.5 * jnp.sum(jnp.where(mask, z, 0.0) ** 2)
        after = jnp.log(rate) - jax.random.loggamma(keys[5], a + 0.5 * count, (draws,))
        return Situation(jnp.stack([a, b]), z[:, None], mask, after[:, None], first[:, None])


class BetaBernoulli(MetaPrior):
    """A probability x ~ Beta(c1, c0), observed through coin tosses.

    Args:
        law: NumPyro distribution of c1 and of c0; inverse-gamma(4, 6) unless given.
        observations: largest number of tosses; any number from 1 on is trained.
    """

    law: Any
    observations: int = eqx.field(static=True)

    def __init__(self, law: Any = None, *, observations: int = 10) -> None:
        self.law = dist.InverseGamma(4.0, 6.0) if law is None else law
        self.observations = observations

    @property
    def shape(self) -> dict[str, Any]:
        """A probability with a two-parameter prior."""
        return {"dimension": 1, "parameters": 2, "columns": 1,
                "observations": self.observations, "support": "unit"}  # fmt: skip

    def draw(self, key: Key, draws: int) -> Situation:
        """Exact posterior draws by conjugacy, as differences of log-gamma variables."""
        keys = jax.random.split(key, 7)
        c = self.law.sample(keys[0], (2,))

        def logits(one: Key, two: Key, c: Array) -> Array:
            return jax.random.loggamma(one, c[0], (draws,)) - jax.random.loggamma(
                two, c[1], (draws,)
            )

        first = logits(keys[1], keys[2], c)
        z = jax.random.bernoulli(keys[3], jax.nn.sigmoid(first[0]), (self.observations,))
        count = jax.random.randint(keys[4], (), 1, self.observations + 1)
        mask = jnp.arange(self.observations) < count
        ones = jnp.sum(jnp.where(mask, z, False))
        after = logits(keys[5], keys[6], c + jnp.stack([ones, count - ones]))
        return Situation(c, z[:, None].astype(float), mask, after[:, None], first[:, None])


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
