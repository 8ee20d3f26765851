"""Blurred: what programs of approximate Bayesian computation share, whoever simulates."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.inputs.given import as_given
from probinf.core.inputs.shapes import Shape
from probinf.core.program import Data, Key, Observations, Placed, Position, Program


@dataclasses.dataclass(frozen=True)
class Blurred:
    """Shared by the callables: position ``(theta, key)``, data ``(prior, observed, eps, ...)``."""

    prior: Program  # its data are empty; the true ones are in data[0]
    simulate: Any
    distance: Any
    kernel: str
    shape: Shape

    def parameters(self, theta: Position, data: Data) -> Any:
        """What the simulator takes."""
        return self.shape(self.prior.constrain(theta, data[0]))

    def log_weight(self, distance: Any, tolerance: Any) -> Array:
        """Of a distance; NaN of NaN."""
        if self.kernel == "gaussian":
            found = -0.5 * (distance / tolerance) ** 2
        else:
            found = jnp.where(distance <= tolerance, 0.0, -jnp.inf)
        return jnp.where(jnp.isnan(distance), jnp.nan, found)


@dataclasses.dataclass(frozen=True)
class BlurredDraw(Blurred):
    """The prior, and a fresh key."""

    def __call__(self, key: Key, data: Data) -> Position:
        first, second = jax.random.split(key)
        return self.prior.draw(first, data[0]), second


@dataclasses.dataclass(frozen=True)
class BlurredConstrain(Blurred):
    """The parameters by name."""

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        return self.prior.constrain(x[0], data[0])


@dataclasses.dataclass(frozen=True)
class BlurredUnconstrain(Blurred):
    """The coordinates of some parameters; the key stays."""

    def __call__(self, values: dict[str, Array], x: Position, data: Data) -> Placed:
        assert self.prior.unconstrain is not None
        placed = self.prior.unconstrain(values, x[0], data[0])
        return Placed((placed.position, x[1]), placed.outside)


def as_observables(value: Any) -> dict[str, Any]:
    """By name; one array is called "y"."""
    return value if isinstance(value, dict) else {"y": value}


def get(data: Data) -> dict[str, Any]:
    """The observations in the data of a program."""
    return as_observables(data[1])


def set_(data: Data, values: dict[str, Any]) -> Data:
    """The data with other observations."""
    old = data[1]
    new = {**old, **values} if isinstance(old, dict) else as_given("site 'y'", values["y"])
    return (data[0], new, *data[2:])


def blurred_program(
    score: type[Blurred], simulate: type[Blurred], static: tuple[Any, ...], data: Data, axes: Any
) -> Program:
    """The program, but for who simulates.

    Args:
        score: of ``(theta, key)``.
        simulate: draws of the data.
        static: fields of all the callables.
        data: of the program.
        axes: names of the prior's dimensions.
    """
    return Program(
        draw=BlurredDraw(*static),
        start=BlurredDraw(*static),
        score=score(*static),  # type: ignore[arg-type]
        constrain=BlurredConstrain(*static),
        simulate=simulate(*static),  # type: ignore[arg-type]
        unconstrain=BlurredUnconstrain(*static),
        observations=Observations(get, set_),
        data=data,
        axes=axes,
    )
