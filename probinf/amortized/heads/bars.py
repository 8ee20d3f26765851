"""Bars: a density made of bars with half-normal tails, any shape in one dimension."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float

from probinf.amortized.heads.predictive import Predictive
from probinf.core.program import Key
from probinf.errors import ArrayError

_HALF = 0.6744897501960817  # a half-normal of scale 1 has half of its mass below
_ROOT = float(np.sqrt(2 / np.pi))


class BarDistribution(Predictive):
    """Piecewise-constant densities between borders; the outer bars are half-normal tails.

    Attributes:
        log_p: log mass of each of K bars, on the last axis; leading axes are a batch.
        borders: K + 1 increasing borders, shared by the batch.
    """

    log_p: Float[Array, "*batch bars"]
    borders: Float[Array, " edges"]

    @property
    def _tail_scales(self) -> tuple[Array, Array]:
        b = self.borders
        return (b[1] - b[0]) / _HALF, (b[-1] - b[-2]) / _HALF

    def _bar(self, y: Array) -> Array:
        return jnp.clip(jnp.searchsorted(self.borders, y) - 1, 0, self.borders.shape[0] - 2)

    def log_density(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Log density at y."""
        y = jnp.asarray(y, self.log_p.dtype)
        b, (left, right) = self.borders, self._tail_scales
        k = self._bar(y)
        log_mass = jnp.take_along_axis(self.log_p, k[..., None], -1)[..., 0]
        v = jnp.where(k == 0, (b[1] - y) / left, (y - b[-2]) / right)
        log_tail = jnp.log(_ROOT / jnp.where(k == 0, left, right)) - 0.5 * v**2
        is_tail = (k == 0) | (k == b.shape[0] - 2)
        return log_mass + jnp.where(is_tail, log_tail, -jnp.log(jnp.diff(b)[k]))

    def expected_log_density(
        self, mean: Float[Array, "*batch"], sd: Float[Array, "*batch"], key: Key | None = None
    ) -> Float[Array, "*batch"]:
        """Expectation of the log density under N(mean, sd²), in closed form."""
        b, (left, right) = self.borders, self._tail_scales
        z = (b[1:-1] - mean[..., None]) / sd[..., None]
        below = ndtr(z)
        one = jnp.ones_like(below[..., :1])
        mass = jnp.diff(jnp.concatenate([0 * one, below, one], -1))
        shape = jnp.concatenate(
            [jnp.log(_ROOT / left)[None], -jnp.log(jnp.diff(b)[1:-1]), jnp.log(_ROOT / right)[None]]
        )
        phi = jnp.exp(-0.5 * z**2) / jnp.sqrt(2 * jnp.pi)
        low, high = mean - b[1], mean - b[-2]
        square_low = (sd**2 + low**2) * below[..., 0] - sd * low * phi[..., 0]
        square_high = (sd**2 + high**2) * (1 - below[..., -1]) + sd * high * phi[..., -1]
        inner = jnp.sum(mass * (self.log_p + shape), -1)
        return inner - 0.5 * (square_low / left**2 + square_high / right**2)

    def cdf(self, y: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Probability of values up to y."""
        y = jnp.asarray(y, self.log_p.dtype)
        b, (left, right) = self.borders, self._tail_scales
        p = jnp.exp(self.log_p)
        k = self._bar(y)
        before = jnp.cumsum(p, -1) - p
        chosen = jnp.take_along_axis(before, k[..., None], -1)[..., 0]
        mass = jnp.take_along_axis(p, k[..., None], -1)[..., 0]
        inner = chosen + mass * (y - b[k]) / jnp.diff(b)[k]
        low = p[..., 0] * 2 * ndtr(-(b[1] - y) / left)
        high = 1 - p[..., -1] * 2 * ndtr(-(y - b[-2]) / right)
        return jnp.where(k == 0, low, jnp.where(k == b.shape[0] - 2, high, inner))

    def icdf(self, q: Float[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        """Quantile of level q in [0, 1]; infinite at 0 and 1."""
        q = jnp.asarray(q, self.log_p.dtype)
        b, (left, right) = self.borders, self._tail_scales
        p = jnp.exp(self.log_p)
        upto = jnp.cumsum(p, -1)
        k = jnp.sum(upto[..., :-1] < q[..., None], -1)
        chosen = jnp.take_along_axis(upto - p, k[..., None], -1)[..., 0]
        mass = jnp.maximum(jnp.take_along_axis(p, k[..., None], -1)[..., 0], 1e-37)
        inner = b[k] + jnp.diff(b)[k] * jnp.clip((q - chosen) / mass, 0, 1)
        low = b[1] + left * ndtri(jnp.clip(q / jnp.maximum(p[..., 0], 1e-37), 0, 1) / 2)
        high = b[-2] - right * ndtri(jnp.clip((1 - q) / jnp.maximum(p[..., -1], 1e-37), 0, 1) / 2)
        return jnp.where(k == 0, low, jnp.where(k == b.shape[0] - 2, high, inner))

    def _moments(self) -> tuple[Array, Array]:
        """First and second moment of every bar."""
        b, (left, right) = self.borders, self._tail_scales
        mid = (b[1:] + b[:-1]) / 2
        first = mid.at[0].set(b[1] - left * _ROOT).at[-1].set(b[-2] + right * _ROOT)
        spread = jnp.diff(b) ** 2 / 12
        narrow = 1 - _ROOT**2
        spread = spread.at[0].set(left**2 * narrow).at[-1].set(right**2 * narrow)
        return first, first**2 + spread

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """Expectation."""
        return jnp.exp(self.log_p) @ self._moments()[0]

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """Variance."""
        first, second = self._moments()
        p = jnp.exp(self.log_p)
        mean = p @ first
        spread = second - first**2
        return p @ spread + jnp.sum(p * (first - mean[..., None]) ** 2, -1)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Float[Array, "*rows"]:
        """Independent draws, ``shape`` in front of the batch."""
        u = jax.random.uniform(key, (*shape, *self.log_p.shape[:-1]), minval=1e-7, maxval=1 - 1e-7)
        full = jnp.broadcast_to(self.log_p, (*u.shape, self.log_p.shape[-1]))
        return BarDistribution(full, self.borders).icdf(u)

    def expected_improvement(self, best: ArrayLike) -> Float[Array, "*batch"]:
        """Expectation of ``max(y - best, 0)``, the acquisition of Bayesian optimisation."""
        f = jnp.asarray(best, self.log_p.dtype)
        b, (left, right) = self.borders, self._tail_scales
        a, c = b[:-1], b[1:]
        inside = (c - f) ** 2 / (2 * (c - a))
        gain = jnp.where(f <= a, (a + c) / 2 - f, jnp.where(f < c, inside, 0.0))

        def above(u: Array) -> Array:  # E[(|Z| - u)+] for u > 0
            return 2 * (jnp.exp(-0.5 * u**2) / jnp.sqrt(2 * jnp.pi) - u * ndtr(-u))

        u = (f - b[-2]) / right
        high = jnp.where(u <= 0, b[-2] - f + right * _ROOT, right * above(jnp.maximum(u, 0)))
        t = (b[1] - f) / left
        low = jnp.where(t <= 0, 0.0, left * (t - _ROOT + above(jnp.maximum(t, 0))))
        return jnp.exp(self.log_p) @ gain.at[0].set(low).at[-1].set(high)


@dataclasses.dataclass(frozen=True)
class Bars:
    """Head of a network for real outcomes: one logit per bar between fixed borders.

    A density of K bars cannot be sharper than a bar: a wide range or few bars put a floor under
    the loss that no training removes. After arXiv 2112.10510, section 4 ("Riemann distribution").

    Args:
        borders: at least 4 increasing numbers; the first and last bar are half-normal tails with
            half of their mass inside the bar.

    Raises:
        ArrayError: the borders do not increase, are not finite, or are too few.
    """

    borders: tuple[float, ...]
    kind: ClassVar[str] = "bars"

    def __post_init__(self) -> None:
        b = np.asarray(self.borders, float)
        if b.ndim != 1 or b.size < 4 or not np.isfinite(b).all() or (np.diff(b) <= 0).any():
            raise ArrayError(
                "Bars: borders must be at least 4 finite, strictly increasing numbers, got "
                f"{np.array2string(b, threshold=6)}."
            )

    @classmethod
    def uniform(cls, low: float, high: float, bars: int) -> Bars:
        """Bars of equal width."""
        return cls(tuple(float(v) for v in np.linspace(low, high, bars + 1)))

    @classmethod
    def equal_mass(cls, y: ArrayLike, bars: int) -> Bars:
        """Bars that hold the same share of a sample of outcomes."""
        edges = np.quantile(np.asarray(y, float), np.linspace(0, 1, bars + 1))
        return cls(tuple(float(v) for v in edges))

    @property
    def size(self) -> int:
        """Number of outputs the network must have."""
        return len(self.borders) - 1

    def distribution(self, outputs: Float[Array, "*batch size"]) -> BarDistribution:
        """Network outputs as densities."""
        return BarDistribution(jax.nn.log_softmax(outputs), jnp.asarray(self.borders))
