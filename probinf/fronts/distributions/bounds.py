"""Supports on the line as pairs of ends, and what a monotone transform does to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import constraints, transforms


class Ends(NamedTuple):
    """Where a support on the line ends; None is infinity, and known without looking at values."""

    low: Any
    high: Any

    @property
    def line(self) -> bool:
        """Whether neither end is there."""
        return self.low is None and self.high is None


_ABOVE = (constraints.greater_than, constraints.greater_than_eq)
_BELOW = (constraints.less_than, constraints.less_than_eq)
_BETWEEN = (constraints.interval, constraints.open_interval)


def ends_of(support: Any) -> Ends | None:
    """The ends of a support on the line, entry by entry; None for every other support."""
    support = _entry(support)
    if support is constraints.real:
        return Ends(None, None)
    if isinstance(support, _ABOVE):
        return Ends(support.lower_bound, None)
    if isinstance(support, _BELOW):
        return Ends(None, support.upper_bound)
    if isinstance(support, _BETWEEN):
        return Ends(support.lower_bound, support.upper_bound)
    return None


def between(ends: Ends) -> Any:
    """The support with these ends."""
    if ends.line:
        return constraints.real
    if ends.high is None:
        return constraints.greater_than(ends.low)
    if ends.low is None:
        return constraints.less_than(ends.high)
    return constraints.interval(ends.low, ends.high)


def same(first: Any, second: Any) -> bool:
    """Whether two supports are known to be one, without values that are not there yet."""
    one, other = ends_of(first), ends_of(second)
    if one is None or other is None:
        return type(_entry(first)) is type(_entry(second))
    return all(_equal(a, b) for a, b in zip(one, other, strict=True))


def _entry(support: Any) -> Any:
    """The support of one entry, where entries are independent."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if a is None or b is None or any(isinstance(v, jax.core.Tracer) for v in (a, b)):
        return False
    return bool(np.all(np.asarray(a) == np.asarray(b)))


def pushed(ends: Ends, transform: Any) -> Ends | None:
    """The ends after an increasing or decreasing transform; None where they are not known."""
    if isinstance(transform, transforms.IndependentTransform):
        return pushed(ends, transform.base_transform)
    if isinstance(transform, transforms.ComposeTransform):
        for part in transform.parts:
            step = pushed(ends, part)
            if step is None:
                return None
            ends = step
        return ends
    if isinstance(transform, transforms.IdentityTransform):
        return ends
    if isinstance(transform, transforms.AffineTransform):
        return _affine(ends, transform)
    if isinstance(transform, transforms.ExpTransform | transforms.SoftplusTransform):
        return Ends(
            0.0 if ends.low is None else transform(ends.low),
            None if ends.high is None else transform(ends.high),
        )
    if isinstance(transform, transforms.SigmoidTransform):
        return Ends(
            0.0 if ends.low is None else transform(ends.low),
            1.0 if ends.high is None else transform(ends.high),
        )
    return None


def _affine(ends: Ends, transform: Any) -> Ends | None:
    if ends.line:
        return ends
    low = None if ends.low is None else transform(ends.low)
    high = None if ends.high is None else transform(ends.high)
    if low is not None and high is not None:
        return Ends(jnp.minimum(low, high), jnp.maximum(low, high))
    if isinstance(transform.scale, jax.core.Tracer):
        return None  # a half line turns round with the sign of the scale
    if np.all(np.asarray(transform.scale) > 0):
        return Ends(low, high)
    if np.all(np.asarray(transform.scale) < 0):
        return Ends(high, low)
    return None


def hull(many: list[Ends]) -> Ends:
    """The smallest interval that holds all of them."""
    low, high = many[0]
    for ends in many[1:]:
        low = None if low is None or ends.low is None else jnp.minimum(low, ends.low)
        high = None if high is None or ends.high is None else jnp.maximum(high, ends.high)
    return Ends(low, high)


def folded(ends: Ends) -> Ends:
    """Where absolute values of numbers between the ends lie."""
    low, high = ends
    nearest: Any = 0.0
    if low is not None:
        nearest = jnp.maximum(nearest, low)
    if high is not None:
        nearest = jnp.maximum(nearest, -jnp.asarray(high))
    if low is None or high is None:
        return Ends(nearest, None)
    return Ends(nearest, jnp.maximum(jnp.abs(jnp.asarray(low)), jnp.abs(jnp.asarray(high))))
