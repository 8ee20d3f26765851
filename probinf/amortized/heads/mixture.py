"""Mixture: a head of normal components for real outcomes."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, ndtr, ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, ArrayLike, Float

from probinf.amortized.heads.predictive import Predictive
from probinf.core.program import Key
from probinf.errors import ArrayError

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_EDGE = 1e-7
_FLOOR = 1e-3
_BISECTIONS = 60


class MixtureDistribution(Predictive):
    """Mixtures of normals in one dimension.

    Attributes:
        log_w: log weights of the components, on the last axis; leading axes are a batch.
        means: their means.
        sds: their standard deviations.
    """

    log_w: Float[Array, "*batch components"]
    means: Float[Array, "*batch components"]
    sds: Float[Array, "*batch components"]

    def log_density(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Log density at y."""
        y = jnp.asarray(y, self.means.dtype)[..., None]
        return logsumexp(self.log_w + norm.logpdf(y, self.means, self.sds), axis=-1)

    def expected_log_density(
        self, mean: Float[Array, "*batch"], sd: Float[Array, "*batch"], key: Key | None = None
    ) -> Float[Array, "*batch"]:
        """Expectation of the log density under N(mean, sd²), by Gauss-Hermite quadrature.

        That is accurate where no component is much narrower than ``sd``. With a key, the mean
        over one point in each of 16 slices of equal probability, unbiased for every mixture.
        """
        if key is None:
            nodes = jnp.asarray(_NODES, mean.dtype).reshape(-1, *[1] * mean.ndim)
            weights = jnp.asarray(_WEIGHTS / _WEIGHTS.sum(), mean.dtype)
        else:
            n = len(_NODES)
            u = jax.random.uniform(key, (n * mean.size,), mean.dtype).reshape(n, *mean.shape)
            slices = jnp.arange(n, dtype=mean.dtype).reshape(-1, *[1] * mean.ndim)
            # a point at the very edge, where the quantile is infinite, moves inside
            nodes = ndtri(jnp.clip((slices + u) / n, _EDGE, 1 - _EDGE))
            weights = jnp.full((n,), 1 / n, mean.dtype)
        return jnp.tensordot(weights, jax.vmap(self.log_density)(mean + sd * nodes), 1)

    def cdf(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Probability of values up to y."""
        y = jnp.asarray(y, self.means.dtype)[..., None]
        return jnp.sum(jnp.exp(self.log_w) * ndtr((y - self.means) / self.sds), -1)

    def icdf(self, q: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Quantile of level q in [0, 1], by bisection; infinite at 0 and 1."""
        q = jnp.asarray(q, self.means.dtype)
        reach = 12 * self.sds
        low, high = jnp.min(self.means - reach, -1), jnp.max(self.means + reach, -1)

        def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            under = self.cdf(middle) < q
            return jnp.where(under, middle, low), jnp.where(under, high, middle)

        shape = jnp.broadcast_shapes(q.shape, low.shape)
        ends = jnp.broadcast_to(low, shape), jnp.broadcast_to(high, shape)
        low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, ends)
        middle = (low + high) / 2
        return jnp.where(q <= 0, -jnp.inf, jnp.where(q >= 1, jnp.inf, middle))

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """Expectation."""
        return jnp.sum(jnp.exp(self.log_w) * self.means, -1)

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """Variance."""
        centred = self.means - self.mean[..., None]
        return jnp.sum(jnp.exp(self.log_w) * (self.sds**2 + centred**2), -1)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "*rows"]:
        """Independent draws, ``shape`` in front of the batch."""
        first, second = jax.random.split(key)
        shape = (*shape, *self.log_w.shape[:-1])
        k = jax.random.categorical(first, self.log_w, shape=shape)[..., None]
        full = (*shape, self.log_w.shape[-1])
        mean = jnp.take_along_axis(jnp.broadcast_to(self.means, full), k, -1)[..., 0]
        sd = jnp.take_along_axis(jnp.broadcast_to(self.sds, full), k, -1)[..., 0]
        return mean + sd * jax.random.normal(second, shape, mean.dtype)

    def expected_improvement(self, best: ArrayLike) -> Float[Array, "*batch"]:
        """Expectation of ``max(y - best, 0)``, the acquisition of Bayesian optimisation."""
        gain = self.means - jnp.asarray(best, self.means.dtype)
        u = gain / self.sds
        each = gain * ndtr(u) + self.sds * jnp.exp(-0.5 * u**2) / jnp.sqrt(2 * jnp.pi)
        return jnp.sum(jnp.exp(self.log_w) * each, -1)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Head of a network for real outcomes: a mixture of normals, without a floor on the loss.

    Args:
        components: number of normals.
        spread: the means start spread evenly over ``[-spread, spread]``, in units of the outcome.

    Raises:
        ArrayError: a number is not positive.
    """

    components: int = 8
    spread: float = 2.0
    kind: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        if self.components < 1 or not self.spread > 0:
            raise ArrayError(
                f"Mixture: components and spread must be positive, got {self.components} and "
                f"{self.spread}."
            )

    @property
    def size(self) -> int:
        """Number of outputs the network must have."""
        return 3 * self.components

    def distribution(self, outputs: Float[Array, "*batch size"]) -> MixtureDistribution:
        """Network outputs as densities."""
        a, mean, r = jnp.split(outputs, 3, -1)
        grid = jnp.linspace(-self.spread, self.spread, self.components)
        grid = grid if self.components > 1 else 0 * grid
        return MixtureDistribution(jax.nn.log_softmax(a), mean + grid, jax.nn.softplus(r) + _FLOOR)
