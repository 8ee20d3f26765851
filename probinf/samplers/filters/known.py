"""The states of a program whose parameters are known, as a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from probinf.core.filtering import Lookahead
from probinf.core.program import Key, Program
from probinf.core.state_space import Sequence
from probinf.errors import MethodError


class Known(NamedTuple):
    """What a filter runs on.

    Attributes:
        sequence: its data hold the parameters.
        lookahead: of an auxiliary filter.
        levels: name, lowest and highest value of discrete states.
        steps: how many there are, the first included.
        shown: what a user sees of states, by name.
        followed: what of it is summed up at every step.
    """

    sequence: Sequence
    lookahead: Lookahead | None
    levels: tuple[tuple[str, tuple[int, int]], ...]
    steps: int
    shown: Callable[[Any], dict[str, Any]]
    followed: Callable[[Any], dict[str, Any]]


def refuse_unknown(program: Program, who: str) -> None:
    """Raise unless the program is a state-space model without unknown parameters.

    Raises:
        MethodError: it is not.
    """
    if program.state_space is None:
        raise MethodError(
            f"{who} needs a state-space program, one of pi.from_state_space(initial, transition, "
            "emission, observations); this one does not say how its states move on."
        )
    prior = program.state_space(program.data).prior
    if jax.tree.leaves(prior.template()):
        names = sorted(jax.eval_shape(prior.constrain, prior.template(), prior.data))
        raise MethodError(
            f"{who}: the parameters {names} are unknown, and a filter needs their values. Give "
            f"them, pi.with_parameters(program, {{'{names[0]}': ...}}), or infer them together "
            "with the states (pi.ParticleGibbs(), pi.PMMH(), pi.SMC2() or pi.NUTS())."
        )


def known_states(
    program: Program, proposal: Any = None, initial_proposal: Any = None, auxiliary: Any = None
) -> Known:
    """The states of a program, as the options of a filter want them.

    Raises:
        MethodError: parameters are unknown, or the options need a program of
            ``from_state_space``.
    """
    refuse_unknown(program, "ParticleFilter")
    assert program.state_space is not None
    sequence, lookahead = program.state_space(program.data).sequence, None
    if not (proposal is None and initial_proposal is None and auxiliary is None):
        guided = getattr(program.state_space, "guided", None)
        if guided is None:
            raise MethodError(
                "ParticleFilter: proposal=, initial_proposal= and auxiliary= are for programs of "
                "pi.from_state_space; write the proposal into the Sequence's extend instead."
            )
        sequence, lookahead = guided(program.data, proposal, initial_proposal, auxiliary)
    prior = program.state_space(program.data).prior
    parameters = prior.constrain(prior.template(), prior.data)
    sequence = dataclasses.replace(sequence, data=(parameters, sequence.data))
    levels = tuple((name, (low, high)) for name, low, high in program.levels)
    steps = 1 + jax.tree.leaves(sequence.inputs)[0].shape[0]
    shown = getattr(program.state_space, "shown", _same)
    followed = getattr(program.state_space, "followed", shown)
    return Known(sequence, lookahead, levels, steps, shown, followed)


def _same(state: Any) -> dict[str, Any]:
    return dict(state)


def refuse_unbounded(sequence: Sequence) -> None:
    """Raise unless the density of the transition, and a bound of it, are known.

    Raises:
        MethodError: they are not.
    """
    if sequence.log_move is None or sequence.log_peak is None:
        raise MethodError(
            "smoother='rejection' needs Sequence(log_move=, log_peak=), which this program does "
            "not have; use smoother='mcmc' or 'backward'."
        )
    peak, value = sequence.log_peak, jax.tree.map(lambda leaf: leaf[0], sequence.inputs)

    def first(key: Key) -> Array:
        return peak(sequence.start(key, sequence.data)[0], value, sequence.data)

    jax.eval_shape(first, jax.random.key(0))
