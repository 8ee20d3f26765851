"""Monotone rational-quadratic splines: a smooth bijection of the line with an exact inverse."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Knots(NamedTuple):
    """Knots of one spline per coordinate; positions, values and derivatives, all increasing.

    Attributes:
        x: (..., K + 1) positions.
        y: (..., K + 1) values.
        slope: (..., K + 1) derivatives, positive.
    """

    x: Float[Array, "... knots"]
    y: Float[Array, "... knots"]
    slope: Float[Array, "... knots"]


def _bin(value: Array, knots: Array, others: tuple[Array, ...]) -> list[tuple[Array, Array]]:
    """Left and right entries of the bin that holds ``value``, for each of ``others``."""
    inner = knots[..., 1:-1]
    index = jnp.sum(value[..., None] >= inner, axis=-1)
    # a sum over one-hot rows: its gradient is no scatter, which is slow on a CPU
    chosen = index[..., None] == jnp.arange(knots.shape[-1] - 1)
    return [
        (
            jnp.sum(jnp.where(chosen, other[..., :-1], 0.0), axis=-1),
            jnp.sum(jnp.where(chosen, other[..., 1:], 0.0), axis=-1),
        )
        for other in others
    ]


def spline(value: Float[Array, "..."], knots: Knots) -> tuple[Array, Array]:
    """The spline and the logarithm of its derivative, for values between the outer knots.

    Source: Durkan, Bekasov, Murray & Papamakarios (2019), equations 4 and 5.
    """
    (x0, x1), (y0, y1), (d0, d1) = _bin(value, knots.x, knots)
    width, height = x1 - x0, y1 - y0
    xi = jnp.clip((value - x0) / width, 0.0, 1.0)
    s, rest = height / width, xi * (1 - xi)
    denominator = s + (d1 + d0 - 2 * s) * rest
    result = y0 + height * (s * xi**2 + d0 * rest) / denominator
    numerator = s**2 * (d1 * xi**2 + 2 * s * rest + d0 * (1 - xi) ** 2)
    return result, jnp.log(numerator) - 2 * jnp.log(denominator)


def spline_inverse(value: Float[Array, "..."], knots: Knots) -> Array:
    """The preimage under :func:`spline`, for values between the outer knots.

    Source: Durkan et al. (2019), equations 6 to 8, in the form that does not cancel.
    """
    (x0, x1), (y0, y1), (d0, d1) = _bin(value, knots.y, knots)
    width, height = x1 - x0, y1 - y0
    s = height / width
    gap = jnp.clip(value - y0, 0.0, height)
    kappa = d1 + d0 - 2 * s
    a = height * (s - d0) + gap * kappa
    b = height * d0 - gap * kappa
    c = -s * gap
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0))
    xi = jnp.clip(2 * c / (-b - root), 0.0, 1.0)
    return x0 + xi * width


def free_knots(raw: Float[Array, "... size"], bound: float) -> Knots:
    """Knots on [-bound, bound] from 3 K - 1 free numbers; zeros give the identity.

    Outer derivatives are one, so that the spline goes on as the identity; bins are at least a
    thousandth of the interval wide and high, derivatives at least 0.001.
    """
    bins = (raw.shape[-1] + 1) // 3

    def edges(free: Array) -> Array:
        share = 1e-3 + (1 - 1e-3 * bins) * jax.nn.softmax(free, axis=-1)
        inner = jnp.cumsum(share[..., :-1], axis=-1)
        ends = jnp.zeros((*inner.shape[:-1], 1), inner.dtype)
        return bound * (2 * jnp.concatenate([ends, inner, ends + 1], axis=-1) - 1)

    unit = jnp.log(jnp.expm1(1 - 1e-3))
    inner = 1e-3 + jax.nn.softplus(raw[..., 2 * bins :] + unit)
    one = jnp.ones((*inner.shape[:-1], 1), inner.dtype)
    slope = jnp.concatenate([one, inner, one], axis=-1)
    return Knots(edges(raw[..., :bins]), edges(raw[..., bins : 2 * bins]), slope)


def open_knots(raw: Float[Array, "... size"], bound: float) -> Knots:
    """Knots on [-bound, bound] with values of any range, from 3 K + 1 free numbers.

    Beyond the outer knots the spline goes on as a line with the outer derivative, so that a tail
    that is short or long on one side is learned from the draws this side of the knots. Zeros give
    the identity.
    """
    bins = (raw.shape[-1] - 1) // 3
    share = 1e-3 + (1 - 1e-3 * bins) * jax.nn.softmax(raw[..., :bins], axis=-1)
    unit = jnp.log(jnp.expm1(1 - 1e-3))
    height = (2 * bound / bins) * (1e-3 + jax.nn.softplus(raw[..., bins : 2 * bins] + unit))
    slope = 1e-3 + jax.nn.softplus(raw[..., 2 * bins :] + unit)

    def edges(steps: Array) -> Array:
        inner = jnp.cumsum(steps[..., :-1], axis=-1)
        ends = jnp.zeros((*inner.shape[:-1], 1), inner.dtype)
        return jnp.concatenate([ends, inner, jnp.sum(steps, axis=-1, keepdims=True)], axis=-1)

    return Knots(bound * (2 * edges(share) - 1), edges(height) - bound, slope)


def beyond(value: Float[Array, "..."], knots: Knots) -> tuple[Array, Array]:
    """The lines that continue a spline at values beyond it, and the logarithms of their slopes."""
    left = value < knots.x[..., 0]
    x, y, d = (jnp.where(left, v[..., 0], v[..., -1]) for v in knots)
    return y + d * (value - x), jnp.log(d)
