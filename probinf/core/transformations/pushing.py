"""push: the same measure in other coordinates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from probinf.core.coordinates import Layout
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.nesting import nest
from probinf.errors import StructureError


def _forward(transform: Any, flat: jax.Array) -> jax.Array:
    return transform(flat)


def _inverse(transform: Any, flat: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Preimage and log |det d(image)/d(preimage)|."""
    preimage = transform.inv(flat)
    return preimage, jnp.sum(transform.log_abs_det_jacobian(preimage, flat))


@dataclasses.dataclass(frozen=True)
class _PushDraw:
    fn: Callable[[Key, Data], Position]

    def __call__(self, key: Key, data: Data) -> jax.Array:
        flat, _ = ravel_pytree(self.fn(key, data[0]))
        return _forward(data[1], flat)


@dataclasses.dataclass(frozen=True)
class _Pulled:
    """Evaluate ``fn`` at the preimage of ``y``; ``start`` only serves for the tree's shape."""

    fn: Callable[..., Any]
    start: Callable[[Key, Data], Position]

    def __call__(self, *args: Any) -> Any:
        *head, y, data = args
        x, _ = self.pull(y, data)
        return self.fn(*head, x, data[0])

    def pull(self, y: jax.Array, data: Data) -> tuple[Position, jax.Array]:
        template = jax.eval_shape(self.start, jax.random.key(0), data[0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template)
        flat, log_det = _inverse(data[1], y)
        return ravel_pytree(zeros)[1](flat), log_det


@dataclasses.dataclass(frozen=True)
class _PushedScore(_Pulled):
    def __call__(self, y: jax.Array, data: Data) -> Score:
        x, log_det = self.pull(y, data)
        log_base, log_weight = self.fn(x, data[0])
        return Score(log_base - log_det, log_weight)


def push(program: Program, bijection: Any) -> Program:
    """The image of the measure under a bijection: the same answers in new coordinates.

    The new position is one flat vector ``y = bijection(ravel(x))``. The Jacobian goes to the
    base, so tempering and evidences are unchanged.

    Args:
        program: any program whose coordinates are floating point.
        bijection: a NumPyro ``Transform`` on vectors of the program's size; its parameters
            are dynamic.

    Raises:
        StructureError: a coordinate is a random key, or the bijection does not map vectors of
            the program's size to vectors of the same size.
    """
    layout = Layout.of(program)
    if layout.has_keys:
        raise StructureError(
            f"push: {program} has a random key among its coordinates, which no bijection moves. "
            "Push the prior before the key is added."
        )
    try:
        image = jax.eval_shape(_forward, bijection, jnp.zeros(layout.size)).shape
    except (TypeError, ValueError) as error:
        image = str(error).splitlines()[0]
    if image != (layout.size,):
        raise StructureError(
            f"push: the bijection takes vectors of size {layout.size} to {image}; it must keep "
            "the size."
        )

    def pulled(fn: Callable[..., Any] | None) -> Callable[..., Any] | None:
        return None if fn is None else _Pulled(fn, program.start)

    return nest(
        program,
        bijection,
        draw=_PushDraw(program.draw),
        start=_PushDraw(program.start),
        score=_PushedScore(program.score, program.start),
        constrain=pulled(program.constrain),
        simulate=pulled(program.simulate),
        pointwise=pulled(program.pointwise),
        sites=pulled(program.sites),
    )
