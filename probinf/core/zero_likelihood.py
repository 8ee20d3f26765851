"""Why is the density zero everywhere? Names the sites, for the error message."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.coordinates import Layout
from probinf.core.program import Program
from probinf.errors import ZeroLikelihoodError


def zero_likelihood(flat: Program, layout: Layout, happened: str) -> ZeroLikelihoodError:
    """The error to raise, with every site whose log probability was never finite."""
    message = f"{happened}."
    sites = flat.sites
    if sites is not None:
        keys = jax.random.split(jax.random.key(0), 32)

        def report(key: jax.Array) -> dict:
            return sites(flat.start(key, flat.data), flat.data)

        found = jax.tree.map(np.asarray, jax.jit(jax.vmap(report))(keys))
        dead = [name for name, site in found.items() if not np.isfinite(site["log_prob"]).any()]
        for name in dead:
            values = found[name]["log_prob"]
            kind = _kind(values)
            message += f" Site '{name}' has log probability {kind} at all 32 trial points."
        if dead:
            numbers = [
                np.asarray(leaf)
                for leaf in jax.tree.leaves(flat.data)
                if jnp.issubdtype(leaf.dtype, jnp.floating)
            ]
            sizes = [np.abs(leaf[np.isfinite(leaf)]).max(initial=0.0) for leaf in numbers]
            largest = float(max(sizes, default=0.0))
            if largest > 1e15 and layout.dtype == np.float32:
                message += (
                    f" The data reach {largest:.3g}, whose square overflows float32: rescale "
                    "them, or pass precision='double' (float64; for all runs: "
                    "jax.config.update('jax_enable_x64', True))."
                )
            else:
                message += (
                    " Check that the data lie inside the likelihood's support for plausible "
                    "parameters, and that no distribution divides by zero or takes the log of a "
                    "negative number."
                )
    else:
        message += " Check the log density at points near the bulk of the prior."
    return ZeroLikelihoodError(message)


def _kind(values: np.ndarray) -> str:
    """What numbers that are not finite are."""
    if np.isneginf(values).all():
        return "-inf"
    if np.isnan(values).all():
        return "NaN"
    return "+inf" if np.isposinf(values).all() else "-inf, +inf or NaN"
