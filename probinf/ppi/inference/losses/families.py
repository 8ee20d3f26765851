"""Families: one loss each of the linear predictor and the outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.inputs.arrays import Number
from probinf.errors import MethodError


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Squared error: ordinary least squares."""

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        return 0.5 * (y - eta) ** 2

    def slope(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Derivative in ``eta``; cheaper than automatic differentiation."""
        return eta - y


@dataclasses.dataclass(frozen=True)
class Binomial:
    """Logistic regression; the outcome lies in [0, 1] and may be a probability."""

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        return jnp.logaddexp(0.0, eta) - y * eta

    def slope(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Derivative in ``eta``; cheaper than automatic differentiation."""
        return jax.nn.sigmoid(eta) - y


@dataclasses.dataclass(frozen=True)
class Poisson:
    """Poisson regression with a logarithmic link."""

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        return jnp.exp(eta) - y * eta

    def slope(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Derivative in ``eta``; cheaper than automatic differentiation."""
        return jnp.exp(eta) - y


@dataclasses.dataclass(frozen=True)
class Gamma:
    """Gamma regression with a logarithmic link (the coefficients do not depend on the shape)."""

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        return eta + y * jnp.exp(-eta)


@dataclasses.dataclass(frozen=True)
class NegativeBinomial:
    """Counts with variance mu + dispersion * mu**2 and a logarithmic link."""

    dispersion: Number = 1.0

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        return (y + 1 / self.dispersion) * jnp.logaddexp(
            0.0, eta + jnp.log(self.dispersion)
        ) - y * eta


@dataclasses.dataclass(frozen=True)
class Huber:
    """Squared error up to residuals of size ``knee``, absolute error beyond."""

    knee: Number = 1.345

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        size = jnp.abs(y - eta)
        inside = jnp.minimum(size, self.knee)
        return 0.5 * inside**2 + self.knee * (size - inside)


@dataclasses.dataclass(frozen=True)
class Expectile:
    """Asymmetric squared error: the expectile at ``level``."""

    level: Number = 0.5

    def __call__(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        """Loss at linear predictor ``eta`` and outcome ``y``."""
        weight = jnp.where(y < eta, 1 - self.level, self.level)
        return weight * (y - eta) ** 2


FAMILIES: dict[str, Callable[[Any, Any], Any]] = {
    "gaussian": Gaussian(),
    "binomial": Binomial(),
    "poisson": Poisson(),
    "gamma": Gamma(),
    "negative_binomial": NegativeBinomial(),
    "huber": Huber(),
    "expectile": Expectile(),
}


def family_of(family: str | Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The family of that name, or the callable itself."""
    if callable(family):
        return family
    if family not in FAMILIES:
        raise MethodError(
            f"family {family!r} is not known; name one of {', '.join(FAMILIES)} or pass a "
            "function loss(eta, y)."
        )
    return FAMILIES[family]
