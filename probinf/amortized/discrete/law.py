"""The law of a network as a program: normalised, in one order of the coordinates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.amortized.discrete.network import UNKNOWN, AnyMarginalNetwork
from probinf.amortized.discrete.sites import DiscreteSites
from probinf.core.coordinates import Layout
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.nesting import nest


@dataclasses.dataclass(frozen=True)
class _Draw:
    layout: Layout

    def __call__(self, key: Key, data: Data) -> Position:
        network, low, order = data[1]
        z = network.draw(key, jnp.full_like(low, UNKNOWN), order)
        return self.layout.unravel((z + low).astype(self.layout.dtype))


@dataclasses.dataclass(frozen=True)
class _Density:
    layout: Layout

    def __call__(self, x: Position, data: Data) -> Score:
        network, low, order = data[1]
        vector: Array = jnp.asarray(self.layout.ravel(x))
        z = jnp.round(vector).astype(low.dtype) - low
        high = jnp.asarray(network.levels)
        inside = jnp.all((z >= 0) & (z < high))
        steps = network.log_steps(jnp.clip(z, 0, high - 1), jnp.full_like(low, UNKNOWN), order)
        log_q = jnp.where(inside, steps.sum(), -jnp.inf).astype(self.layout.dtype)
        return Score(log_q, jnp.zeros((), log_q.dtype))


def as_law(like: Program, network: AnyMarginalNetwork, sites: DiscreteSites) -> Program:
    """Coordinates are drawn in one fixed random order: each order is a normalised law."""
    layout = Layout.of(like, integers=True)
    order = jax.random.permutation(jax.random.key(0), sites.size)
    return nest(
        like,
        (network, jnp.asarray(sites.low), order),
        draw=_Draw(layout),
        start=_Draw(layout),
        score=_Density(layout),
        pointwise=None,
        observations=None,
        sites=None,
    )
