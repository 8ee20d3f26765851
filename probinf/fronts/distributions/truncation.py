"""Truncated distributions whose draws need no inverse from elsewhere and whose tails are right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from probinf.fronts.distributions.bounds import Ends
from probinf.fronts.distributions.edges import guarded, inside
from probinf.fronts.distributions.inverse import open_uniform
from probinf.fronts.distributions.tails import log_between, log_cdf, tail_quantile


class _Truncation(dist.Distribution):
    """Shared by the three: a symmetric family between two ends, one of which may be infinite."""

    base_dist: Any

    @property
    def has_rsample(self) -> bool:
        """Bisection has no derivative."""
        return False

    def _ends(self) -> tuple[Any, Any]:
        """The ends on the standard scale; None is infinity."""
        base = self.base_dist
        scaled = ((end - base.loc) / base.scale for end in self._bounds if end is not None)
        found = [jnp.asarray(end, float) for end in scaled]
        low, high = self._bounds
        return (found[0] if low is not None else None), (found[-1] if high is not None else None)

    @property
    def _bounds(self) -> Ends:
        return Ends(getattr(self, "low", None), getattr(self, "high", None))

    def _log_mass(self) -> Array:
        """Log of the base's probability between the ends."""
        a, b = self._ends()
        if b is None:
            return log_cdf(self.base_dist, -a)
        if a is None:
            return log_cdf(self.base_dist, b)
        return log_between(self.base_dist, a, b)

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """The base's density over its mass between the ends, and nothing outside of them."""
        within, safe = guarded(self.support, value)
        return jnp.where(within, self.base_dist.log_prob(safe) - self._log_mass(), -jnp.inf)

    def _quantile(self, u: Array, v: Array) -> Array:
        """The value with ``u`` of the mass below and ``v = 1 - u`` above it."""
        base, log_mass = self.base_dist, self._log_mass()
        a, b = self._ends()
        below, above = jnp.log(u) + log_mass, jnp.log(v) + log_mass
        if a is not None:
            below = jnp.logaddexp(below, log_cdf(base, a))
        if b is not None:
            above = jnp.logaddexp(above, log_cdf(base, -b))
        # both tails are small numbers somewhere; the smaller one has the digits
        z = tail_quantile(base, jnp.minimum(jnp.minimum(below, above), jnp.log(0.5)))
        return inside(base.loc + base.scale * jnp.where(below < above, z, -z), self._bounds)

    def cdf(self, value: Any) -> Array:
        """The share of the mass below ``value``, from whichever tail is the smaller number."""
        base, (a, b) = self.base_dist, self._ends()
        z = (jnp.asarray(value, float) - base.loc) / base.scale
        z = z if a is None else jnp.maximum(z, a)
        z = z if b is None else jnp.minimum(z, b)
        log_below = log_cdf(base, z) if a is None else log_between(base, a, z)
        return jnp.exp(jnp.minimum(log_below - self._log_mass(), 0.0))

    def icdf(self, q: Any) -> Array:
        """Quantiles, by bisection on the log of the nearer tail."""
        q = jnp.asarray(q, float)
        fixed = jax.lax.stop_gradient(self)
        return jnp.where((q >= 0) & (q <= 1), fixed._quantile(q, 1 - q), jnp.nan)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Quantiles of uniform numbers."""
        assert key is not None
        u = open_uniform(key, sample_shape + self.batch_shape)
        return jax.lax.stop_gradient(self)._quantile(u, 1 - u)


# The names are NumPyro's, since messages tell them to users.


class LeftTruncatedDistribution(_Truncation, dist.LeftTruncatedDistribution):
    """From ``low`` to infinity."""


class RightTruncatedDistribution(_Truncation, dist.RightTruncatedDistribution):
    """From minus infinity to ``high``."""


class TwoSidedTruncatedDistribution(_Truncation, dist.TwoSidedTruncatedDistribution):
    """From ``low`` to ``high``."""


_OURS = {
    dist.LeftTruncatedDistribution: LeftTruncatedDistribution,
    dist.RightTruncatedDistribution: RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution: TwoSidedTruncatedDistribution,
}


def truncated(fn: Any) -> Any:
    """The same distribution with draws and tails of ours, where it is a truncated one."""
    ours = _OURS.get(type(fn))
    if ours is None:
        return fn
    new = ours.__new__(ours)
    new.__dict__.update(fn.__dict__)
    return new
