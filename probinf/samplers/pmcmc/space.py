"""A state-space program as these engines see it: its parameters, its states, their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.coordinates import Layout
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.sequence import Sequence, State, StateSpace
from probinf.errors import MethodError, StructureError

NO_EVIDENCE = (
    "{} does not estimate the evidence as it runs. pi.bridge(posterior, key=0) does afterwards, "
    "for programs of pi.from_state_space, and SMC2 does datum by datum."
)
"""What draws of these chains say when they are asked for it."""

STATE = "state"
"""Name of a state that is a plain array."""


def parts_of(program: Program, who: str) -> StateSpace:
    """Prior and sequence of a program.

    Args:
        program: the user's, or the same on flat positions.
        who: asks, for the message.

    Raises:
        MethodError: it is not a state-space program, or has no parameters.
    """
    if program.state_space is None:
        raise MethodError(
            f"{who} needs a program that says which of its unknowns are states: write the model "
            "with pi.from_state_space(initial, transition, emission, observations, "
            "parameters=...). This one has parameters only; use NUTS or SMC."
        )
    space: StateSpace = program.state_space(program.data)
    layout = Layout.of(space.prior, integers=True)
    if layout.size == 0:
        raise MethodError(
            f"{who} samples parameters and states, but this program has no parameters; use a "
            "particle filter and its smoother."
        )
    if layout.integers or layout.has_keys:
        raise MethodError(
            f"{who}: the parameters {list(layout.integer_sites)} are discrete (or random keys), "
            "which its moves cannot change. Only the states may be discrete."
        )
    return space


def given(space: StateSpace, theta: Position) -> Sequence:
    """The sequence at given parameters."""
    prior, sequence = space
    parameters = prior.constrain(theta, prior.data)
    return dataclasses.replace(sequence, data=(parameters, sequence.data))


def named(path: State) -> dict[str, Any]:
    """The arrays of a state (or path) by name; one plain array is called ``state``."""
    leaves = jax.tree_util.tree_leaves_with_path(path)
    return {_name(where) or STATE: leaf for where, leaf in leaves}


def _name(where: tuple[Any, ...]) -> str:
    parts = [getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))) for k in where]
    return ".".join(map(str, parts))


def state_sites(program: Program, space: StateSpace, who: str) -> dict[str, Any]:
    """Name, shape and dtype of what one state consists of.

    Raises:
        StructureError: a part of the state has the name of a parameter.
    """
    theta = space.prior.template()

    def first(key: Key, theta: Position) -> Any:
        sequence = given(space, theta)
        return sequence.start(key, sequence.data)[0]

    sites = named(jax.eval_shape(first, jax.random.key(0), theta))
    known = jax.eval_shape(space.prior.constrain, theta, space.prior.data)
    if both := sorted(set(sites) & set(known)):
        raise StructureError(
            f"{who}: {both} names a parameter and a part of the state; give one of them another "
            "name."
        )
    return sites


@dataclasses.dataclass(frozen=True)
class OnPrior:
    """A callable of the prior, on the data of the whole program."""

    state_space: Callable[[Data], StateSpace]
    name: str

    def __call__(self, *args: Any) -> Any:
        *head, data = args
        prior = self.state_space(data).prior
        return getattr(prior, self.name)(*head, prior.data)


def parameters_of(program: Program) -> Program:
    """The prior of the parameters as a program on the data of the whole."""
    space = program.state_space
    assert space is not None
    return Program(
        draw=OnPrior(space, "draw"),
        start=OnPrior(space, "start"),
        score=OnPrior(space, "score"),
        constrain=OnPrior(space, "constrain"),
        data=program.data,
        predict=program.predict,
        state_space=space,
    )


def prior_density(space: StateSpace, theta: Position) -> Array:
    """Log density of the parameters, without data."""
    score: Score = space.prior.score(theta, space.prior.data)
    total = score.log_base + score.log_weight
    return jnp.where(jnp.isnan(total) | jnp.isposinf(total), -jnp.inf, total)
