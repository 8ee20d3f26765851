"""Sequence: a measure that grows step by step; StateSpace: one whose parameters are unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from probinf.core.program import Data, Key, Program

State = Any
"""A pytree of arrays: one particle of a sequence."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sequence:
    """A state-space model (or token model) as a weighted sequential simulation.

    Attributes:
        start: ``(key, data) -> (state, log_w)``, the first state and its weight.
        extend: ``(key, state, input, data) -> (state, log_w)``, one more step.
        inputs: per step after the first (observations, covariates), leading axis time.
        data: everything else that is dynamic.
        log_transition: ``(state, next_state, input, data) -> log density`` of going from one
            state to a given next one, the step's weight included; what sampling of ancestors and
            smoothing need. None when unknown.
        log_start: ``(state, data) -> log density`` of a given first state, its weight included.
        weigh_start: ``(state, data) -> log_w`` that ``start`` gives to this state.
        weigh: ``(state, next_state, input, data) -> log_w`` that ``extend`` gives to this step;
            with the two before what conditional filters need, which weigh a path that is given.
        log_move: ``(state, next_state, input, data) -> log density`` of going there, without the
            weight.
        log_peak: ``(state, input, data) -> log`` of a bound of it over all next states; with
            ``log_move`` what smoothing by rejection needs.
        start_all: ``(key, n, data) -> (states, log_ws)``, the same as ``start`` for ``n``
            particles from one key, which is faster. None: ``start`` is mapped over keys.
        extend_all: ``(key, states, input, data) -> (states, log_ws)``, the same for ``extend``.
    """

    start: Callable[[Key, Data], tuple[State, Array]] = dataclasses.field(metadata={"static": True})
    extend: Callable[[Key, State, Any, Data], tuple[State, Array]] = dataclasses.field(
        metadata={"static": True}
    )
    inputs: Any
    data: Data = ()
    log_transition: Callable[[State, State, Any, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    log_start: Callable[[State, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    weigh_start: Callable[[State, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    weigh: Callable[[State, State, Any, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    log_move: Callable[[State, State, Any, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    log_peak: Callable[[State, Any, Data], Array] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    start_all: Callable[[Key, int, Data], tuple[State, Array]] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    extend_all: Callable[[Key, State, Any, Data], tuple[State, Array]] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )

    def first(self, key: Key, n: int) -> tuple[State, Array]:
        """``n`` first states and their weights."""
        if self.start_all is not None:
            return self.start_all(key, n, self.data)
        return jax.vmap(self.start, (0, None))(jax.random.split(key, n), self.data)

    def next(self, key: Key, states: State, value: Any) -> tuple[State, Array]:
        """Many states a step ahead, and the weights of the step."""
        if self.extend_all is not None:
            return self.extend_all(key, states, value, self.data)
        n = jax.tree.leaves(states)[0].shape[0]
        keys = jax.random.split(key, n)
        return jax.vmap(self.extend, (0, 0, None, None))(keys, states, value, self.data)


class StateSpace(NamedTuple):
    """A program taken apart into its parameters and its states.

    Attributes:
        prior: of the parameters; its positions may be empty.
        sequence: of the states given the parameters; its callables receive
            ``(parameters, sequence.data)`` as data, where ``parameters`` is the dict of the
            prior's constrained sites.
    """

    prior: Program
    sequence: Sequence
