"""Calling a user's function of the state with the arguments that it names."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import Array

from probinf.errors import ModelError

RESERVED = ("parameters", "covariates", "time", "dt", "step", "observation")
"""Names with a meaning of their own; sites and covariates cannot be called so."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A function of (the state and) what its arguments name; compared by value.

    Attributes:
        fn: the user's.
        names: of its arguments after the state.
        states: whether the state is its first argument.
        single: whether the state is one array, and not a dict by name.
    """

    fn: Callable[..., Any]
    names: tuple[str, ...]
    states: bool
    single: bool = False

    def __call__(
        self,
        state: dict[str, Array] | None,
        parameters: dict[str, Array],
        step: Any,
        observation: Any = None,
    ) -> Any:
        known: dict[str, Any] = dict(parameters)
        if isinstance(step.covariates, dict):
            known |= step.covariates
        known |= {
            "parameters": parameters,
            "covariates": step.covariates,
            "time": step.time,
            "dt": step.dt,
            "step": step.number,
            "observation": observation,
        }
        named = {name: known[name] for name in self.names}
        if not self.states:
            return self.fn(**named)
        assert state is not None
        return self.fn(next(iter(state.values())) if self.single else state, **named)


def called(
    role: str,
    fn: Any,
    known: Iterable[str],
    *,
    states: bool,
    observes: bool = False,
    single: bool = False,
) -> Call:
    """How to call a user's function, found from its signature.

    Args:
        role: ``initial``, ``transition`` and so on, for messages.
        fn: a function or a ``functools.partial`` of one.
        known: names of parameters and covariates.
        states: whether its first argument is the state.
        observes: whether it may ask for ``observation``.
        single: whether the state is one array.

    Raises:
        ModelError: it is no function, or has an argument of which nothing is known.
    """
    if not callable(fn):
        raise ModelError(f"from_state_space: {role} must be a function, got {fn!r}.")
    own = [name for name in RESERVED if observes or name != "observation"]
    arguments = [
        p
        for p in inspect.signature(fn).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if states:
        if not arguments:
            raise ModelError(
                f"from_state_space: {role} takes no argument; its first one must be the state."
            )
        arguments = arguments[1:]
    names = []
    for argument in arguments:
        if argument.name in own or argument.name in set(known):
            names.append(argument.name)
        elif argument.default is argument.empty:
            first = "its first argument is the state, the others" if states else "its arguments"
            raise ModelError(
                f"from_state_space: {role} has an argument '{argument.name}', of which nothing is "
                f"known; {first} are found by name, among {sorted(known)} and {own}."
            )
    return Call(fn, tuple(names), states, single)
