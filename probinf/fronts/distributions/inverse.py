"""Quantiles by bisection, for distributions that know their cdf but not its inverse."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution

from probinf.fronts.distributions.bounds import Ends, ends_of
from probinf.fronts.distributions.edges import inside


def steps(dtype: Any) -> int:
    """Halvings after which a bracket is as narrow as the numbers allow."""
    return 2 * (jnp.finfo(dtype).nmant + 1)


def open_uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Uniform numbers strictly between 0 and 1, such that 1 - u is one of them too."""
    u = jax.random.uniform(key, shape)
    return u + jnp.finfo(u.dtype).eps / 2


def bisect(fn: Distribution, q: Array, ends: Ends) -> Array:
    """The value at which the cdf of ``fn`` reaches q; not to be differentiated."""
    fn, q = jax.lax.stop_gradient((fn, jnp.asarray(q, float)))
    finfo = jnp.finfo(q.dtype)
    if ends.line:
        reach = jnp.arcsinh(jnp.sqrt(finfo.max))
        bracket = (-reach, reach)
    elif ends.low is None or ends.high is None:
        bracket = (jnp.log(finfo.tiny), jnp.log(finfo.max) / 2)
        bracket = bracket if ends.high is None else (-bracket[1], -bracket[0])
    else:
        bracket = (jnp.asarray(ends.low, q.dtype), jnp.asarray(ends.high, q.dtype))
    shape = jnp.broadcast_shapes(jnp.shape(q), fn.batch_shape)
    first = tuple(jnp.broadcast_to(jnp.asarray(end, q.dtype), shape) for end in bracket)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        lower, upper = bracket
        middle = (lower + upper) / 2
        right = fn.cdf(_value(middle, ends)) < q
        return jnp.where(right, middle, lower), jnp.where(right, upper, middle)

    lower, upper = jax.lax.fori_loop(0, steps(q.dtype), halve, first)
    return inside(_value((lower + upper) / 2, ends), ends)


def _value(t: Array, ends: Ends) -> Array:
    """The coordinate that is halved, on the scale of the distribution; increasing."""
    if ends.line:
        return jnp.sinh(t)
    if ends.high is None:
        return ends.low + jnp.exp(t)
    if ends.low is None:
        return ends.high - jnp.exp(-t)
    return t


class Inverted(Distribution):
    """A distribution on the line, with draws and quantiles from its cdf."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("base_dist",)

    def __init__(self, base_dist: Distribution) -> None:
        self.base_dist = base_dist
        super().__init__(base_dist.batch_shape)

    @property
    def has_rsample(self) -> bool:
        """Bisection has no derivative."""
        return False

    @property
    def support(self) -> Any:
        """As the distribution has it."""
        return self.base_dist.support

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """As the distribution has it."""
        return self.base_dist.log_prob(value)

    def cdf(self, value: Any) -> Any:
        """As the distribution has it."""
        return self.base_dist.cdf(value)

    def icdf(self, q: Any) -> Array:
        """Quantiles by bisection."""
        ends = ends_of(self.support)
        assert ends is not None
        return bisect(self.base_dist, q, ends)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Quantiles of uniform numbers."""
        assert key is not None
        return self.icdf(open_uniform(key, sample_shape + self.batch_shape))
