"""Which sites of a program live on an interval, seen from their unconstrained coordinates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.program import Program

_LOOKS = np.array([-60.0, -2.0, 0.0, 0.5, 3.0, 60.0])  # of the coordinate
_CLOSE = 1e-4  # of the length


def ends_of(program: Program, site: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Both ends of the interval of every entry of a site; None where there is none.

    The values must be ``low + (high - low) * sigmoid(x)`` of the unconstrained coordinate. Ends
    that depend on other sites are those where these are at the middle of their scale.

    Args:
        program: with a dict of coordinates.
        site: name of a latent site.
    """
    template = program.template()
    if not isinstance(template, dict) or site not in template:
        return None
    blank = {name: _blank(leaf) for name, leaf in template.items()}

    def value(look: Any) -> Any:
        at = {**blank, site: jnp.full(template[site].shape, look, template[site].dtype)}
        return program.constrain(at, program.data).get(site)

    found = jax.vmap(value)(jnp.asarray(_LOOKS, template[site].dtype))
    if found is None or found.shape[1:] != template[site].shape:
        return None
    values = np.asarray(found, float)
    low, high = np.asarray(values[0]), np.asarray(values[-1])
    share = 1 / (1 + np.exp(-_LOOKS)).reshape(-1, *[1] * low.ndim)
    with np.errstate(invalid="ignore"):
        straight = np.abs(values - low - (high - low) * share) <= _CLOSE * (high - low)
    return (low, high) if straight.all() and (high > low).all() else None


def _blank(leaf: jax.ShapeDtypeStruct) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
