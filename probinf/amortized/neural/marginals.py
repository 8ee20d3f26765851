"""Marginals: every coordinate made roughly standard normal, by quantiles of the simulations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.amortized.nets.fixed import Fixed
from probinf.core.flows.splines import Knots, spline, spline_inverse

_LAST = 2.5
_COUNT = 11
_TAIL = 3.0
_DECADES = 20.0


class Marginals(Fixed):
    """A monotone bijection per coordinate that sends quantiles to normal quantiles.

    Beyond the outer quantiles (2.5 normal standard deviations) it is linear at first and
    logarithmic far out, so that heavy tails stay within reach of a network. It is fixed by the
    simulations and not trained. A constant coordinate is only centred.

    Attributes:
        centre: (d,) medians.
        scale: (d,) distances between the outer quantiles.
        knots: in centred, scaled units.
    """

    centre: Float[Array, " d"]
    scale: Float[Array, " d"]
    knots: Knots

    @classmethod
    def of(cls, values: np.ndarray, straight: np.ndarray | bool = False) -> Marginals:
        """From finite simulations (n, d).

        Args:
            values: the simulations.
            straight: for which coordinates it is a straight line between the outer quantiles,
                which keeps normal noise normal, in place of one knot per quantile.
        """
        from scipy.stats import norm

        values = np.asarray(values, float)
        last = min(_LAST, float(norm.ppf(1 - 5 / max(len(values), 20))))
        levels = np.linspace(-last, last, _COUNT)
        found = np.quantile(values, norm.cdf(levels), axis=0)
        found = np.where(straight, np.linspace(found[0], found[-1], _COUNT), found)
        centre = np.median(values, axis=0)
        scale = found[-1] - found[0]
        wide = values.max(axis=0) - values.min(axis=0)
        scale = np.where(scale > 0, scale, np.where(wide > 0, wide, np.maximum(abs(centre), 1.0)))
        columns = [_knots(column, levels) for column in ((found - centre) / scale).T]
        x, y, slope = (np.stack(part) for part in zip(*columns, strict=True))
        return cls(jnp.asarray(centre, float), jnp.asarray(scale, float), _as_knots(x, y, slope))

    @classmethod
    def blank(cls, size: int) -> Marginals:
        """Of the right structure; to be filled from a file."""
        return cls.of(np.arange(20.0)[:, None] * np.ones(size))

    def __call__(self, value: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """The image, and the log Jacobian determinant."""
        x, y, slope = self.knots
        v = (value - self.centre) / self.scale
        image, log_slope = spline(jnp.clip(v, x[:, 0], x[:, -1]), self.knots)
        low, high = slope[:, 0] * (x[:, 0] - v), slope[:, -1] * (v - x[:, -1])
        beyond = jnp.maximum(jnp.maximum(low, high), 0.0)
        tail = _TAIL * jnp.log1p(beyond / _TAIL)
        image = jnp.where(high > 0, y[:, -1] + tail, jnp.where(low > 0, y[:, 0] - tail, image))
        outer = jnp.log(jnp.where(high > 0, slope[:, -1], slope[:, 0]))
        log_slope = jnp.where(beyond > 0, outer - jnp.log1p(beyond / _TAIL), log_slope)
        return image, jnp.sum(log_slope - jnp.log(self.scale))

    def inverse(self, image: Float[Array, " d"]) -> Float[Array, " d"]:
        """The exact preimage."""
        x, y, slope = self.knots
        inner = spline_inverse(jnp.clip(image, y[:, 0], y[:, -1]), self.knots)
        low, high = y[:, 0] - image, image - y[:, -1]
        beyond = _TAIL * jnp.expm1(jnp.maximum(jnp.maximum(low, high), 0.0) / _TAIL)
        v = jnp.where(
            high > 0,
            x[:, -1] + beyond / slope[:, -1],
            jnp.where(low > 0, x[:, 0] - beyond / slope[:, 0], inner),
        )
        return self.centre + self.scale * v


class Stretched(Fixed):
    """Marginals after ``arcsinh(value / unit)`` where values of one sign span orders of magnitude.

    Attributes:
        units: (d,) the unit of each coordinate; 0 for one that is taken as it is.
        marginals: of the stretched coordinates.
    """

    units: Float[Array, " d"]
    marginals: Marginals

    @classmethod
    def of(cls, values: np.ndarray) -> Stretched:
        """From finite values (n, d)."""
        values = np.asarray(values, float)
        size = np.quantile(np.abs(values), [0.01, 0.99], axis=0)
        one_sign = (values > 0).all(axis=0) | (values < 0).all(axis=0)
        units = np.where(one_sign & (size[1] > _DECADES * size[0]), size[0], 0.0)
        stretched = np.asarray(_stretch(jnp.asarray(values, float), jnp.asarray(units, float)))
        return cls(jnp.asarray(units, float), Marginals.of(stretched))

    @classmethod
    def blank(cls, size: int) -> Stretched:
        """Of the right structure; to be filled from a file."""
        return cls(jnp.zeros(size), Marginals.blank(size))

    def __call__(self, value: Float[Array, " d"]) -> Float[Array, " d"]:
        """The normal scores."""
        return self.marginals(_stretch(value, self.units))[0]


def _stretch(value: Array, units: Array) -> Array:
    return jnp.where(units > 0, jnp.arcsinh(value / jnp.where(units > 0, units, 1.0)), value)


def _as_knots(x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> Knots:
    return Knots(*(jnp.asarray(v, float) for v in (x, y, slope)))


def _knots(quantiles: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strictly increasing knots: tied quantiles share the mean of their levels."""
    # quantiles closer than float32 can tell apart count as tied
    x, group = np.unique(np.round(quantiles, 5), return_inverse=True)
    y = np.bincount(group, levels) / np.bincount(group)
    if len(x) == 1:
        x, y = x[0] + np.array([-0.5, 0.5]), np.array([-1.0, 1.0])
    at = np.linspace(0, len(x) - 1, len(levels))
    x, y = np.interp(at, np.arange(len(x)), x), np.interp(at, np.arange(len(y)), y)
    secant = np.diff(y) / np.diff(x)
    inner = 2 / (1 / secant[:-1] + 1 / secant[1:])  # harmonic: monotone, and mild at a jump
    return x, y, np.concatenate([secant[:1], inner, secant[-1:]])
