"""defensive: an approximation mixed with the prior, so that importance weights stay bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from probinf.core.program import Data, Key, Position, Program, Score, improper
from probinf.core.transformations.nesting import nest


@dataclasses.dataclass(frozen=True)
class _Draw:
    prior: Callable[[Key, Data], Position]
    other: Callable[[Key, Data], Position]

    def __call__(self, key: Key, data: Data) -> Position:
        inner, (other, share) = data
        which, first, second = jax.random.split(key, 3)
        from_prior = jax.random.uniform(which) < share
        return jax.tree.map(
            lambda a, b: jnp.where(from_prior, a, b),
            self.prior(first, inner),
            self.other(second, other),
        )


@dataclasses.dataclass(frozen=True)
class _Density:
    prior: Callable[[Position, Data], Score]
    other: Callable[[Position, Data], Score]

    def __call__(self, x: Position, data: Data) -> Score:
        inner, (other, share) = data
        log_prior = jnp.log(share) + self.prior(x, inner).log_base
        log_q = jnp.log1p(-share) + self.other(x, other).log_base
        mixed = jnp.logaddexp(
            jnp.where(jnp.isnan(log_prior), -jnp.inf, log_prior),
            jnp.where(jnp.isnan(log_q), -jnp.inf, log_q),
        )
        return Score(mixed, jnp.zeros((), mixed.dtype))


def defensive(program: Program, q: Program, share: float) -> Program:
    """``(1 - share) q + share prior``, normalised, in the coordinates of both.

    The weights of ``rebase(program, defensive(program, q, share))`` are at most the likelihood
    over ``share``, and a mode that q missed is still visited. With an improper prior it is q.

    Source: Hesterberg (1995), defensive mixtures.
    """
    if improper(program):
        return q
    draw = _Draw(program.draw, q.draw)
    return nest(
        program,
        (q.data, jnp.asarray(share, float)),
        draw=draw,
        start=draw,
        score=_Density(program.score, q.score),
        pointwise=None,
        observations=None,
        sites=None,
    )
