"""The highest density of a law, which rejection samplers need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import Distribution

from probinf.errors import MethodError
from probinf.fronts.distributions.completion import described
from probinf.fronts.latent import leaf_of
from probinf.fronts.states.model import certain

_LOCATED = (
    dist.Normal,
    dist.StudentT,
    dist.Cauchy,
    dist.Laplace,
    dist.Logistic,
    dist.SoftLaplace,
    dist.Gumbel,
    dist.VonMises,
    dist.MultivariateNormal,
    dist.LowRankMultivariateNormal,
    dist.MultivariateStudentT,
)


def _positive(mode: Any) -> Array:
    """Of a law on the positive numbers: where the mode is 0, the least of them."""
    mode = jnp.asarray(mode, float)
    return jnp.maximum(mode, jnp.finfo(mode.dtype).tiny)


_MODES: dict[type, Callable[[Any], Any]] = {
    **{law: lambda law: law.loc for law in _LOCATED},
    dist.LogNormal: lambda law: jnp.exp(law.loc - law.scale**2),
    dist.HalfNormal: lambda law: _positive(0 * law.scale),
    dist.HalfCauchy: lambda law: _positive(0 * law.scale),
    dist.Exponential: lambda law: _positive(0 * law.rate),
    dist.Uniform: lambda law: (law.low + law.high) / 2,
    dist.Gamma: lambda law: _positive((law.concentration - 1) / law.rate),
    dist.InverseGamma: lambda law: law.rate / (law.concentration + 1),
}


def log_peak(name: str, law: Distribution) -> Array:
    """Log of the highest density (or of a bound of it); of discrete laws 0. Shape of the batch.

    Args:
        name: of the part of the state, for the message.
        law: of a part of the state.

    Raises:
        MethodError: it is not known of this law.
    """
    if certain(law) or law.support.is_discrete:
        return jnp.zeros(law.batch_shape)
    leaf = leaf_of(law)
    if type(leaf) not in _MODES:
        raise MethodError(
            f"smoother='rejection' needs a bound of the density of the transition, which of "
            f"'{name}' ({described(law)}) is not known. Use smoother='mcmc', which needs none, or "
            "'backward'."
        )
    mode = jnp.broadcast_to(_MODES[type(leaf)](leaf), law.shape())
    return jnp.asarray(law.log_prob(mode))
