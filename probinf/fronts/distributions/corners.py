"""Laws of unconstrained coordinates, for priors whose mass lies where values have no digits left.

A Beta(.1, .1) has a tenth of its mass so close to one that single precision has no number for it,
a Gamma(.001, .001) half of its mass below the smallest double. On the logit and on the log scale
all of it has a place, if neither draws nor densities go through the value.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.nn import log_sigmoid
from jax.scipy.special import betaln, gammaln
from numpyro.distributions import constraints


class _Law(dist.Distribution):
    """The law of unconstrained coordinates, in the parameters of the distribution it is for."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real
    pytree_data_fields: ClassVar[tuple[str, ...]] = ("fn",)

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        super().__init__(fn.batch_shape, self._event_shape_of(fn))

    def _event_shape_of(self, fn: Any) -> tuple[int, ...]:
        return ()

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Coordinates, not values."""
        assert key is not None
        return self.drawn(key, sample_shape + self.batch_shape)

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Coordinates of this batch shape."""
        raise NotImplementedError


def _log_gamma(key: Array, concentration: Any, shape: tuple[int, ...]) -> Array:
    return jax.random.loggamma(key, jnp.asarray(concentration, float), shape)


class LogitOfBeta(_Law):
    """Of the logit of a Beta variable."""

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """The difference of two logarithms of Gamma variables."""
        one, other = jax.random.split(key)
        return _log_gamma(one, self.fn.concentration1, shape) - _log_gamma(
            other, self.fn.concentration0, shape
        )

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The Beta density times the slope of the logistic function."""
        a, b = self.fn.concentration1, self.fn.concentration0
        return a * log_sigmoid(value) + b * log_sigmoid(-value) - betaln(a, b)


class SticksOfDirichlet(_Law):
    """Of the stick-breaking coordinates of a Dirichlet variable: independent logits of Betas."""

    support = constraints.real_vector

    def _event_shape_of(self, fn: Any) -> tuple[int, ...]:
        return (fn.event_shape[0] - 1,)

    def _rests(self) -> tuple[Array, Array, Array]:
        """Concentration of each piece, of all after it, and how many these are (as a log)."""
        a = jnp.asarray(self.fn.concentration, float)
        after = jnp.flip(jnp.cumsum(jnp.flip(a, -1), -1), -1)[..., 1:]
        return a[..., :-1], after, jnp.log(jnp.arange(a.shape[-1] - 1, 0, -1))

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Pieces against what is left, from logarithms of Gamma variables."""
        a = jnp.asarray(self.fn.concentration, float)
        logs = _log_gamma(key, a, (*shape, a.shape[-1]))
        left = jax.lax.cumlogsumexp(logs, axis=logs.ndim - 1, reverse=True)
        return logs[..., :-1] - left[..., 1:] + self._rests()[2]

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """A Beta density for each piece."""
        a, after, shift = self._rests()
        z = value - shift
        return jnp.sum(a * log_sigmoid(z) + after * log_sigmoid(-z) - betaln(a, after), axis=-1)


class LogOfGamma(_Law):
    """Of the logarithm of a Gamma variable."""

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Never through the variable itself."""
        return _log_gamma(key, self.fn.concentration, shape) - jnp.log(self.fn.rate)

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The Gamma density times the variable."""
        a, t = self.fn.concentration, value + jnp.log(self.fn.rate)
        return a * t - jnp.exp(t) - gammaln(a)


class LogOfWeibull(_Law):
    """Of the logarithm of a Weibull variable."""

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """A Gumbel variable, turned round."""
        return jnp.log(self.fn.scale) - jax.random.gumbel(key, shape) / self.fn.concentration

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The Gumbel density."""
        k = self.fn.concentration
        t = k * (value - jnp.log(self.fn.scale))
        return jnp.log(k) + t - jnp.exp(t)


class LogitOfKumaraswamy(_Law):
    """Of the logit of a Kumaraswamy variable."""

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """By the quantile function, in logarithms of the variable and of its complement."""
        a, b = self.fn.concentration1, self.fn.concentration0
        log_w = -jax.random.exponential(key, shape) / b  # of one minus the variable to the a
        log_x = jnp.log1p(-jnp.exp(log_w)) / a
        near = log_w < -80  # exp(log_w) is no number any more in single precision
        below = jnp.minimum(log_x, -1e-30)
        return log_x - jnp.where(near, log_w - jnp.log(a), jnp.log(-jnp.expm1(below)))

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The density times the slope of the logistic function."""
        a, b = self.fn.concentration1, self.fn.concentration0
        log_x, near = log_sigmoid(value), value > 80
        log_w = jnp.log(-jnp.expm1(a * jnp.where(near, -1.0, log_x)))
        log_w = jnp.where(near, jnp.log(a) - value, log_w)
        return jnp.log(a) + jnp.log(b) + a * log_x + (b - 1) * log_w + log_sigmoid(-value)


class LogOfDagum(_Law):
    """Of the logarithm of a Dagum variable."""

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """By the quantile function."""
        log_v = -jax.random.exponential(key, shape) / self.fn.concentration
        odds = log_v - jnp.log(-jnp.expm1(jnp.minimum(log_v, -1e-30)))
        return jnp.log(self.fn.scale) + odds / self.fn.sharpness

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """A generalised logistic density."""
        a, p = self.fn.sharpness, self.fn.concentration
        u = a * (value - jnp.log(self.fn.scale))
        return jnp.log(a) + jnp.log(p) + p * log_sigmoid(u) + log_sigmoid(-u)


class LogAbovePareto(_Law):
    """Of the logarithm of what a variable with a power law lies above its lowest value."""

    pytree_data_fields = ("fn", "low", "alpha")

    def __init__(self, fn: Any, low: Any, alpha: Any) -> None:
        self.low, self.alpha = low, alpha
        super().__init__(fn)

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """An exponential variable is its logarithm."""
        log_ratio = jax.random.exponential(key, shape) / self.alpha
        tiny = jnp.finfo(log_ratio.dtype).tiny
        above = log_ratio + jnp.log(-jnp.expm1(-jnp.maximum(log_ratio, tiny)))
        return jnp.log(self.low) + above

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The power law times the slope of the exponential function."""
        ratio = jnp.logaddexp(0.0, value - jnp.log(self.low))
        return jnp.log(self.alpha) - (self.alpha + 1) * ratio + value - jnp.log(self.low)


class Moved(_Law):
    """A law, shifted or turned round."""

    pytree_data_fields = ("fn", "shift")
    pytree_aux_fields = ("sign",)

    def __init__(self, fn: Any, *, sign: int = 1, shift: Any = 0.0) -> None:
        self.sign, self.shift = sign, shift
        super().__init__(fn)

    def drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Of the law, moved."""
        batch = shape[: len(shape) - len(self.batch_shape)]
        return self.sign * self.fn.sample(key, batch) + self.shift

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """At the place where it came from."""
        return self.fn.log_prob(self.sign * (value - self.shift))
