"""Losses: a family is one function of the linear predictor and the outcome; all else is autodiff.

A *model* gives three things about rows (a pytree of arrays with the rows in front) at parameters
theta (d,): the scores, their weighted sum, and the derivative of that sum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.special import gammaln

from probinf.core.inputs.arrays import Number
from probinf.errors import ArrayError, MethodError
from probinf.ppi.inference.moments import over_blocks

Rows = Any  # a pytree of arrays (rows, ...)


@runtime_checkable
class Model(Protocol):
    """Scores of rows, and sums over rows that never store a gradient per row."""

    @property
    def has_loss(self) -> bool:
        """Whether the scores are gradients of a loss that `value` gives."""
        ...

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses."""
        ...

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d) score of every row."""
        ...

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d)."""
        ...


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


@dataclasses.dataclass(frozen=True)
class Linear:
    """A loss of a linear predictor: rows hold ``x`` (rows, d), ``y`` (rows,) and ``offset``.

    A family may know its own derivative, ``slope(eta, y)``; otherwise it is differentiated.
    """

    family: Callable[[Any, Any], Any]

    def _eta(self, theta: jax.Array, rows: Rows) -> jax.Array:
        return rows["x"] @ theta + rows.get("offset", 0.0)

    def _slope(self, eta: jax.Array, y: jax.Array) -> jax.Array:
        known = getattr(self.family, "slope", None)
        if known is not None:
            return known(eta, y)
        return jax.jvp(lambda e: self.family(e, y), (eta,), (jnp.ones_like(eta),))[1]

    @property
    def has_loss(self) -> bool:
        """Always."""
        return True

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses."""
        return weights @ self.family(self._eta(theta, rows), rows["y"])

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d): slope of the loss times the regressors."""
        return self._slope(self._eta(theta, rows), rows["y"])[:, None] * rows["x"]

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d), in one pass over the rows."""

        def one(rows: Rows, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
            x, y, eta = rows["x"], rows["y"], self._eta(theta, rows)
            slope, second = jax.jvp(lambda e: self._slope(e, y), (eta,), (jnp.ones_like(eta),))
            return (weights * slope) @ x, (x.T * (weights * second)) @ x

        return over_blocks(one, rows, weights)


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Any ``loss(theta, row) -> scalar`` or ``score(theta, row) -> (d,)`` of one row."""

    function: Callable[[Any, Any], Any]
    unravel: Callable[[Any], Any]
    is_score: bool = False

    def _one(self, theta: jax.Array, row: Any) -> jax.Array:
        value = self.function(self.unravel(theta), row)
        if not self.is_score:
            return value
        return ravel_pytree(value)[0]

    def check(self, d: int, rows: Rows) -> None:
        """Raise unless the function takes such rows and returns a scalar, or a score (d,)."""
        kinds = tuple((k, a.shape[1:], a.dtype.kind in "biu") for k, a in rows.items())
        self._check(d, kinds)

    @lru_cache(maxsize=256)  # noqa: B019, what is compiled is kept per function, too
    def _check(self, d: int, kinds: tuple[tuple[str, tuple[int, ...], bool], ...]) -> None:
        shapes = {name: shape for name, shape, _ in kinds}
        what = "score" if self.is_score else "loss"
        with jax.enable_x64(True):
            theta = jax.ShapeDtypeStruct((d,), jnp.float64)
            row = {
                name: jax.ShapeDtypeStruct(shape, jnp.int64 if whole else jnp.float64)
                for name, shape, whole in kinds
            }
            try:
                found = jax.eval_shape(self._one, theta, row)
            except KeyError as cause:
                raise ArrayError(
                    f"the {what} reads the column {cause} of a row; its columns are "
                    f"{', '.join(shapes)}."
                ) from None
        wanted = (d,) if self.is_score else ()
        if getattr(found, "shape", None) != wanted:
            raise ArrayError(
                f"the {what} of one row must have shape {wanted}, not "
                f"{getattr(found, 'shape', found)}; the columns of a row have shapes {shapes}."
            )

    @property
    def has_loss(self) -> bool:
        """Whether the function is a loss."""
        return not self.is_score

    def value(self, theta: jax.Array, rows: Rows, weights: jax.Array) -> jax.Array:
        """Weighted sum of losses; only for losses."""
        return weights @ jax.vmap(self._one, (None, 0))(theta, rows)

    def scores(self, theta: jax.Array, rows: Rows) -> jax.Array:
        """(rows, d) gradient of the loss, or the score, of every row."""
        one = self._one if self.is_score else jax.grad(self._one)
        return jax.vmap(one, (None, 0))(theta, rows)

    def linearised(
        self, theta: jax.Array, rows: Rows, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(d,) weighted sum of scores, and its derivative (d, d)."""

        def total(t: jax.Array) -> tuple[jax.Array, jax.Array]:
            if self.is_score:
                found = weights @ self.scores(t, rows)
            else:  # one reverse pass
                found = jax.grad(self.value)(t, rows, weights)
            return found, found

        J, found = jax.jacfwd(total, has_aux=True)(theta)
        return found, J


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
