"""Log marginal densities of a standardised mean under priors on its expectation, in JAX."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jax.scipy.stats import norm

from probinf.errors import MethodError

Prior: TypeAlias = tuple[Any, ...] | None

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_LOG_WEIGHTS = np.log(_WEIGHTS / np.sqrt(2 * np.pi))


def check_prior(prior: Prior) -> Prior:
    """The prior if it is known and its parameters are positive."""
    if prior is None:
        return None
    kinds = {"normal": 1, "laplace": 1, "t": 2}
    name, *parameters = prior
    if name not in kinds or len(parameters) != kinds[name]:
        raise MethodError(
            f"prior {prior!r} is not known; give None, ('normal', scale), ('laplace', scale) or "
            "('t', df, scale)."
        )
    if not all(p > 0 for p in parameters):
        raise MethodError(f"the parameters of prior {prior!r} must be positive.")
    return prior


def log_marginal(prior: tuple[Any, ...], z: jax.Array, t: jax.Array) -> jax.Array:
    """Log of ``integral N(z; zeta, 1 / t) prior(zeta) d zeta``.

    Args:
        prior: ``("normal", scale)``, ``("laplace", scale)`` or ``("t", df, scale)``, centred on 0.
        z: observed mean in units of the standard deviation.
        t: observations.

    Normal and Laplace in closed form; Student's t by 64 Gauss-Hermite nodes around z, whose error
    is below 1e-4 from t = 40 on for a scale of 0.1.

    Source: Cortinovis & Caron (arXiv 2505.18000), section 3.
    """
    name, *parameters = prior
    if name == "normal":
        variance = parameters[0] ** 2 + 1 / t
        return -0.5 * (jnp.log(2 * jnp.pi * variance) + z**2 / variance)
    if name == "laplace":
        b, v = parameters[0], 1 / jnp.sqrt(t)
        left = -z / b + norm.logcdf(z / v - v / b)
        right = z / b + norm.logcdf(-z / v - v / b)
        return -math.log(2 * b) + v**2 / (2 * b**2) + jnp.logaddexp(left, right)
    df, scale = parameters
    dtype = jnp.result_type(z)
    nodes, log_weights = jnp.asarray(_NODES, dtype), jnp.asarray(_LOG_WEIGHTS, dtype)
    zeta = (jnp.asarray(z)[..., None] + nodes / jnp.sqrt(t)[..., None]) / scale
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi * scale**2)
    log_prior = constant - (df + 1) / 2 * jnp.log1p(zeta**2 / df)
    return logsumexp(log_prior + log_weights, axis=-1)
