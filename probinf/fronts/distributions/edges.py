"""Values at and beyond the ends of a support: kept inside, or moved in where a branch is unused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import biject_to

from probinf.fronts.distributions.bounds import Ends, ends_of


def guarded(support: Any, value: Any) -> tuple[Any, Any]:
    """Which values lie inside, and the values with those outside moved in."""
    inside = jnp.asarray(support(value))
    value = jnp.asarray(value)
    events = support.event_dim
    value = jnp.broadcast_to(value, inside.shape + value.shape[value.ndim - events :])
    wide = inside.reshape(inside.shape + (1,) * events)
    return inside, jnp.where(wide, value, jax.lax.stop_gradient(support.feasible_like(value)))


def inside(x: Array, ends: Ends) -> Array:
    """The values with those that were rounded onto an end moved off it."""
    tiny = jnp.finfo(x.dtype).tiny
    if ends.low is not None:
        low = jnp.asarray(ends.low, x.dtype)
        x = jnp.maximum(x, jnp.where(low == 0, tiny, jnp.nextafter(low, jnp.inf)))
    if ends.high is not None:
        high = jnp.asarray(ends.high, x.dtype)
        x = jnp.minimum(x, jnp.where(high == 0, -tiny, jnp.nextafter(high, -jnp.inf)))
    return x


def unconstrained(support: Any, value: Any) -> Array:
    """A draw on its unconstrained scale; one that was rounded onto an end stays finite."""
    transform, ends = biject_to(support), ends_of(support)
    if ends is None or ends.line:
        return transform.inv(value)
    value = inside(jnp.asarray(value), ends)
    x = transform.inv(value)
    if ends.low is None or ends.high is None:
        return x
    far = -jnp.log(jnp.finfo(x.dtype).eps)  # where a sigmoid function still is not its limit
    return jnp.where(jnp.isinf(x), jnp.sign(x) * far, x)
