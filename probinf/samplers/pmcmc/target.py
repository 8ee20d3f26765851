"""The measure that PMMH moves on: parameters, and the random numbers of a filter as keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.sequence import State, StateSpace
from probinf.samplers.pmcmc.filtering import Filter, log_likelihood, spread, steps_of, traced
from probinf.samplers.pmcmc.space import given, named


@dataclasses.dataclass(frozen=True)
class _Draw:
    state_space: Callable[[Data], StateSpace]
    name: str
    blocks: int

    def __call__(self, key: Key, data: Data) -> tuple[Position, Key]:
        prior = self.state_space(data).prior
        first, second = jax.random.split(key)
        return getattr(prior, self.name)(first, prior.data), jax.random.split(second, self.blocks)


@dataclasses.dataclass(frozen=True)
class _Score:
    state_space: Callable[[Data], StateSpace]
    options: Filter

    def __call__(self, x: tuple[Position, Key], data: Data) -> Score:
        theta, blocks = x
        space = self.state_space(data)
        log_base, log_weight = space.prior.score(theta, space.prior.data)
        sequence = given(space, theta)
        keys = spread(blocks, steps_of(sequence))
        return Score(log_base, log_weight + log_likelihood(keys, sequence, self.options))


@dataclasses.dataclass(frozen=True)
class _Path:
    """The path that a filter's random numbers lead to."""

    state_space: Callable[[Data], StateSpace]
    options: Filter

    def __call__(self, theta: Position, blocks: Key, data: Data) -> State:
        sequence = given(self.state_space(data), theta)
        return traced(spread(blocks, steps_of(sequence)), sequence, self.options).path


@dataclasses.dataclass(frozen=True)
class _Sites:
    state_space: Callable[[Data], StateSpace]
    options: Filter

    def __call__(self, x: tuple[Position, Key], data: Data) -> dict[str, Array]:
        theta, blocks = x
        prior = self.state_space(data).prior
        # many draws in turn: each holds all generations of its filter
        path: Any = jax.custom_batching.sequential_vmap(_Path(self.state_space, self.options))
        return {**prior.constrain(theta, prior.data), **named(path(theta, blocks, data))}


def target(program: Program, options: Filter, blocks: int) -> Program:
    """Parameters and ``blocks`` random keys, weighted by the filter's likelihood.

    Each key makes the random numbers of its own stretch of time. The filter's path is a function
    of both, and is among the sites: with the parameters it is a draw of the joint posterior.

    Source: Andrieu, Doucet & Holenstein (2010), section 4.4; blocks: Tran, Kohn, Quiroz & Villani
    (2016).
    """
    space = program.state_space
    assert space is not None
    return Program(
        draw=_Draw(space, "draw", blocks),
        start=_Draw(space, "start", blocks),
        score=_Score(space, options),
        constrain=_Sites(space, options),
        data=program.data,
        predict=program.predict,
        state_space=space,
    )
