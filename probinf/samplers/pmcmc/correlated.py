"""A random walk that renews the random numbers of one stretch of time at each move."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.coordinates import Mixed
from probinf.core.program import Key
from probinf.kernels.metropolis import RandomWalk


@dataclasses.dataclass(frozen=True)
class OneBlock(RandomWalk):
    """``RandomWalk`` in which one of the random keys, chosen at random, is proposed afresh.

    The others stay, so that the estimates of both likelihoods err alike, and their ratio less.
    Keeping a key and drawing it anew both leave its law invariant, so the move is exact.

    Source: Tran, Kohn, Quiroz & Villani (2016), block pseudo-marginal sampling; Deligiannidis,
    Doucet & Pitt (2018).
    """

    def _proposed(self, key: Key, position: Any, params: Any) -> Any:
        move, choose = jax.random.split(key)
        proposed = super()._proposed(move, position, params)
        if not isinstance(position, Mixed):
            return proposed
        kept = tuple(
            jnp.where(_chosen(jax.random.fold_in(choose, i), old.shape), new, old)
            for i, (new, old) in enumerate(zip(proposed.keys, position.keys, strict=True))
        )
        return Mixed(proposed.vector, kept)


def _chosen(key: Key, shape: tuple[int, ...]) -> Any:
    """One entry of an array of keys."""
    count = shape[0] if shape else 1
    return (jnp.arange(count) == jax.random.randint(key, (), 0, count)).reshape(shape)
