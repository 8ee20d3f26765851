"""Likelihoods of a row that no single linear predictor gives, for `estimate`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln


@dataclasses.dataclass(frozen=True)
class Multinomial:
    """Softmax regression for `estimate`; ``y`` is a class number or holds probabilities.

    Parameters are (p, classes - 1), the first class being the reference.
    """

    classes: int

    def __call__(self, theta: jax.Array, row: Any) -> jax.Array:
        """Negative log likelihood of one row."""
        eta = jnp.concatenate([jnp.zeros(1), row["x"] @ theta])
        y = row["y"]
        target = jax.nn.one_hot(y, self.classes) if jnp.ndim(y) == 0 else y
        return jax.scipy.special.logsumexp(eta) * target.sum() - target @ eta


def negative_binomial_loss(theta: Any, row: Any) -> jax.Array:
    """Negative log likelihood of one count with its dispersion estimated along.

    ``theta`` is a dictionary with ``beta`` (d,) and ``log_dispersion``; rows hold ``x``, ``y``.
    """
    mu, size = jnp.exp(row["x"] @ theta["beta"]), jnp.exp(-theta["log_dispersion"])
    y = row["y"]
    return -(
        gammaln(y + size)
        - gammaln(size)
        - gammaln(y + 1)
        + size * jnp.log(size / (size + mu))
        + y * jnp.log(mu / (size + mu))
    )
