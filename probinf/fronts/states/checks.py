"""What is found out about a state-space model from abstract traces, and refused by name."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ImproperPriorError, ModelError, ObservationError
from probinf.fronts.distributions.completion import LACKING, described, flat
from probinf.fronts.latent import leaf_of
from probinf.fronts.states.model import Component, Laws, StateModel, certain, sampled
from probinf.fronts.states.sequence import sample_stacked
from probinf.fronts.states.series import WHO, Series, Step, at
from probinf.fronts.translation import abstractly


class Seen:
    """The laws of one abstract trace."""

    initial: Laws
    transition: Laws
    emission: Laws
    fixed_supports: bool


def look(model: StateModel, parameters: Any, series: Series) -> Seen:
    """One trace of all three functions, with abstract parameters and states."""
    seen = Seen()

    def run(key: Any, parameters: Any, steps: Step) -> Any:
        seen.initial = model.first(parameters, at(steps, 0))
        for name, law in seen.initial.items():
            _refuse_improper(name, law)
        state = sampled(key, seen.initial)
        seen.transition = model.next(state, parameters, at(steps, 1))
        seen.emission = model.emitted(state, parameters, at(steps, 0))
        supports = [law.support for law in seen.transition.values() if not certain(law)]
        traced = [leaf for leaf in jax.tree.leaves(supports) if isinstance(leaf, jax.core.Tracer)]
        seen.fixed_supports = not traced
        return key

    abstractly(run, jax.random.key(0), parameters, jax.eval_shape(series.steps))
    return seen


def _refuse_improper(name: str, law: Any) -> None:
    try:
        if flat(law):
            raise NotImplementedError
        jax.eval_shape(law.sample, jax.random.key(0))
    except LACKING:
        raise ImproperPriorError(
            f"{WHO}: the first state '{name}' ({described(law)}) cannot be drawn; give it a proper "
            "law, as wide as needed (dist.Normal(0, 100))."
        ) from None


def components_of(seen: Seen) -> tuple[Component, ...]:
    """The parts of the state, from the laws of the first and of the next one.

    Raises:
        ModelError: initial and transition differ in names, shapes or kinds.
    """
    first = {name: law.shape() for name, law in seen.initial.items()}
    after = {name: law.shape() for name, law in seen.transition.items()}
    if first != after:
        raise ModelError(
            f"{WHO}: initial returns states of shapes {_shown(first)}, transition {_shown(after)}; "
            "a step must keep the names and shapes of the state."
        )
    found = []
    for name, law in seen.initial.items():
        other = seen.transition[name]
        whole = {one.support.is_discrete for one in (law, other) if not certain(one)}
        if len(whole) > 1:
            raise ModelError(
                f"{WHO}: state '{name}' is {described(law)} at first and then {described(other)}, "
                "of which only one is discrete."
            )
        discrete = whole == {True}
        levels = None
        if discrete:
            ends = [_levels(one) for one in (law, other) if not certain(one)]
            known = [pair for pair in ends if pair is not None]
            if len(known) == len(ends):
                levels = (min(a for a, _ in known), max(b for _, b in known))
        found.append(Component(name, not certain(law), not certain(other), discrete, levels))
    if not any(c.moves for c in found):
        raise ModelError(
            f"{WHO}: every part of the transition is a dist.Delta, so that nothing about the "
            "states is random after the first one; make it a parameter."
        )
    return tuple(sorted(found, key=lambda c: c.name))


def _levels(law: Any) -> tuple[int, int] | None:
    leaf = leaf_of(law)
    with contextlib.suppress(NotImplementedError, jax.errors.JAXTypeError, TypeError):
        count = leaf.enumerate_support(expand=False).shape[0]
        low = int(getattr(leaf.support, "lower_bound", 0))
        return low, low + count - 1
    return None


def _shown(shapes: dict[str, Any]) -> str:
    return ", ".join(f"'{name}' {tuple(shape)}" for name, shape in sorted(shapes.items()))


def check_observed(seen: Seen, series: Series) -> None:
    """The observations fit the emission in names, shapes and kind of numbers.

    Raises:
        ObservationError: they do not.
    """
    if set(seen.emission) != set(series.observed):
        raise ObservationError(
            f"{WHO}: emission returns {sorted(seen.emission)}, observations hold "
            f"{sorted(series.observed)}; give them the same names."
        )
    for name, law in seen.emission.items():
        value = series.observed[name]
        if tuple(law.shape()) != tuple(value.shape[1:]):
            raise ObservationError(
                f"{WHO}: series '{name}' has shape {tuple(value.shape)}, one step of it "
                f"{tuple(value.shape[1:])}, but the emission ({described(law)}) has shape "
                f"{tuple(law.shape())}. Time is the first axis."
            )
        if isinstance(value, jax.core.Tracer):
            continue
        array, missing = np.asarray(value), series.missing.get(name)
        here = np.ones(array.shape, bool) if missing is None else ~np.asarray(missing)
        if missing is not None and law.event_dim:
            rows = np.asarray(missing).reshape(*array.shape[: array.ndim - law.event_dim], -1)
            if (rows.any(-1) != rows.all(-1)).any():
                step = int(np.argwhere(rows.any(-1) != rows.all(-1))[0][0])
                raise ObservationError(
                    f"{WHO}: at step {step} only some entries of series '{name}' are missing, but "
                    f"{described(law)} is one event of {tuple(law.event_shape)}. Write independent "
                    "entries (dist.Normal of that shape), or mark the whole step as missing."
                )
        if law.support.is_discrete and array.dtype.kind == "f" and (array[here] % 1 != 0).any():
            raise ObservationError(
                f"{WHO}: series '{name}' holds values that are no whole numbers, and "
                f"{described(law)} is a law of counts. Round them, or use a continuous one."
            )
        _refuse_outside(name, law, array, here)


def _refuse_outside(name: str, law: Any, array: np.ndarray, here: np.ndarray) -> None:
    support = law.support
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(support)):
        return
    inside = np.asarray(support(array))
    inside = inside.reshape(inside.shape + (1,) * (array.ndim - inside.ndim))
    bad = ~np.broadcast_to(inside, array.shape) & here
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        raise ObservationError(
            f"{WHO}: {int(bad.sum())} of {array.size} values of series '{name}' lie outside the "
            f"support of the emission ({described(law)}: {support}), the first, "
            f"{array[tuple(where)]}, at step {where[0]}. Choose an emission whose support holds "
            "the data, or correct them."
        )


def batches(model: StateModel, parameters: Any, series: Series) -> bool:
    """Whether stacked laws of the transition can be drawn from with one key."""

    def run(key: Any, parameters: Any, steps: Step) -> Any:
        first = model.first(parameters, at(steps, 0))
        states = jax.vmap(lambda k: sampled(k, first))(jax.random.split(key, 3))
        found = jax.vmap(lambda s: model.next(s, parameters, at(steps, 1)))(states)
        return {name: sample_stacked(key, law) for name, law in found.items()}, states

    try:
        drawn, states = jax.eval_shape(run, jax.random.key(0), parameters, series.steps())
    except Exception:
        return False
    return jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, states)
