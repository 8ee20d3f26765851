"""Residual: a network from a vector to one number, which is zero at first."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
from jaxtyping import Array, Float

from probinf.core.program import Key

_FIRST = 0.01  # of the usual size: the output starts near zero


class Residual(eqx.Module):
    """Layers with silu between them; layers of one width add to what they are given.

    Attributes:
        layers: the linear maps.
    """

    layers: list[eqx.nn.Linear]

    def __init__(self, key: Key, size: int, hidden: tuple[int, ...]) -> None:
        sizes = (size, *hidden, 1)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = [
            eqx.nn.Linear(n, m, key=k)
            for (n, m), k in zip(itertools.pairwise(sizes), keys, strict=True)
        ]
        last = self.layers[-1]
        self.layers[-1] = jax.tree.map(lambda leaf: _FIRST * leaf, last)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        for layer in self.layers[:-1]:
            moved = jax.nn.silu(layer(x))
            x = moved + x if moved.shape == x.shape else moved
        return self.layers[-1](x)[0]
