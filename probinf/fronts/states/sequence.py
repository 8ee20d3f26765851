"""A state-space model as a Sequence: bootstrap, and guided by the user's proposal."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import Distribution
from numpyro.distributions.batch_util import promote_batch_shape

from probinf.core.program import Key
from probinf.core.state_space import Sequence
from probinf.fronts.states.calling import Call
from probinf.fronts.states.model import (
    STATES,
    Laws,
    State,
    StateModel,
    certain,
    fixed,
    laws,
    log_prob,
    sampled,
)
from probinf.fronts.states.peaks import log_peak
from probinf.fronts.states.series import Series, Step, at


@dataclasses.dataclass(frozen=True)
class _Moves:
    """Shared by the callables below: how states are drawn and weighed.

    Attributes:
        model: of the states.
        proposal: laws from which the next state is drawn, given state and observation; None
            for the model's own.
        initial: the same of the first state.
    """

    model: StateModel
    proposal: Call | None = None
    initial: Call | None = None

    def unpacked(self, data: Any) -> tuple[dict[str, Array], Step]:
        parameters, (known, first) = data
        return {**jax.tree.map(jnp.asarray, known), **parameters}, first

    def weight(self, state: State, parameters: dict[str, Array], step: Step) -> Array:
        found = self.model.log_emission(state, parameters, step)
        return sum((value.sum() for value in found.values()), start=jnp.zeros(()))

    def proposed(self, own: Laws, call: Call | None, state: Any, parameters: Any, step: Any) -> Any:
        """The laws to draw from, by name."""
        if call is None:
            return own
        observed = step.observed
        seen = next(iter(observed.values())) if len(observed) == 1 else observed
        return {**own, **laws("proposal", call(state, parameters, step, seen), STATES)}

    def guided(self, own: Laws, drawn_from: Laws, state: State, step: Step) -> Array:
        """Log ratio of the model's density to the proposal's."""
        ratio = jnp.zeros(())
        for name, law in own.items():
            if law is not drawn_from[name] and not certain(law):
                ratio += log_prob(law, state[name]).sum()
                ratio -= log_prob(drawn_from[name], state[name]).sum()
        return ratio


@dataclasses.dataclass(frozen=True)
class First(_Moves):
    """``Sequence.start``: one first state and its weight."""

    def laws(self, data: Any) -> tuple[Laws, Laws]:
        parameters, step = self.unpacked(data)
        own = self.model.first(parameters, step)
        return own, self.proposed(own, self.initial, None, parameters, step)

    def __call__(self, key: Key, data: Any) -> tuple[State, Array]:
        own, used = self.laws(data)
        state = sampled(key, used)
        return state, self.weigh(own, used, state, data)

    def weigh(self, own: Laws, used: Laws, state: State, data: Any) -> Array:
        parameters, step = self.unpacked(data)
        return self.weight(state, parameters, step) + self.guided(own, used, state, step)


@dataclasses.dataclass(frozen=True)
class Next(_Moves):
    """``Sequence.extend``: one more step."""

    def laws(self, state: State, step: Step, data: Any) -> tuple[Laws, Laws]:
        parameters, _ = self.unpacked(data)
        own = self.model.next(state, parameters, step)
        return own, self.proposed(own, self.proposal, state, parameters, step)

    def __call__(self, key: Key, state: State, step: Step, data: Any) -> tuple[State, Array]:
        own, used = self.laws(state, step, data)
        after = sampled(key, used)
        return after, self.weigh(own, used, after, step, data)

    def weigh(self, own: Laws, used: Laws, state: State, step: Step, data: Any) -> Array:
        parameters, _ = self.unpacked(data)
        return self.weight(state, parameters, step) + self.guided(own, used, state, step)


@dataclasses.dataclass(frozen=True)
class FirstOfMany:
    """``Sequence.start_all``: many first states with one key."""

    one: First

    def __call__(self, key: Key, n: int, data: Any) -> tuple[State, Array]:
        own, used = self.one.laws(data)
        state = {
            name: jnp.broadcast_to(fixed(law), (n, *law.shape()))
            if certain(law)
            else law.sample(k, (n,))
            for (name, law), k in zip(used.items(), _keys(key, len(used)), strict=True)
        }
        return state, jax.vmap(lambda one: self.one.weigh(own, used, one, data))(state)


@dataclasses.dataclass(frozen=True)
class NextOfMany:
    """``Sequence.extend_all``: many states a step ahead with one key."""

    one: Next

    def __call__(self, key: Key, state: State, step: Step, data: Any) -> tuple[State, Array]:
        found = jax.vmap(lambda before: self.one.laws(before, step, data)[1])(state)
        after = {
            name: sample_stacked(k, law)
            for (name, law), k in zip(found.items(), _keys(key, len(found)), strict=True)
        }

        def weighed(before: State, after: State) -> Array:
            own, used = self.one.laws(before, step, data)
            return self.one.weigh(own, used, after, step, data)

        return after, jax.vmap(weighed)(state, after)


def _keys(key: Key, count: int) -> Any:
    return jax.random.split(key, count) if count > 1 else [key]


def sample_stacked(key: Key, stacked: Distribution) -> Array:
    """A draw from each of many distributions, stacked by ``vmap``, with one key."""
    if certain(stacked):
        return jax.vmap(fixed)(stacked)
    return promote_batch_shape(stacked).sample(key)


@dataclasses.dataclass(frozen=True)
class Move(_Moves):
    """``Sequence.log_move``: how likely a given next state is."""

    def __call__(self, state: State, after: State, step: Step, data: Any) -> Array:
        own = self.model.next(state, self.unpacked(data)[0], step)
        return sum((log_prob(law, after[n]).sum() for n, law in own.items()), start=jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class Peak(_Moves):
    """``Sequence.log_peak``: how likely any next state is at most."""

    def __call__(self, state: State, step: Step, data: Any) -> Array:
        own = self.model.next(state, self.unpacked(data)[0], step)
        return sum((log_peak(n, law).sum() for n, law in own.items()), start=jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class Transition(Move):
    """``Sequence.log_transition``: how likely a given next state is, and its weight."""

    def __call__(self, state: State, after: State, step: Step, data: Any) -> Array:
        moved = super().__call__(state, after, step, data)
        return moved + self.weight(after, self.unpacked(data)[0], step)


@dataclasses.dataclass(frozen=True)
class Begun(_Moves):
    """``Sequence.log_start``: how likely a given first state is, and its weight."""

    def __call__(self, state: State, data: Any) -> Array:
        parameters, step = self.unpacked(data)
        own = self.model.first(parameters, step)
        begun = sum((log_prob(law, state[n]).sum() for n, law in own.items()), start=jnp.zeros(()))
        return begun + self.weight(state, parameters, step)


@dataclasses.dataclass(frozen=True)
class WeightOfFirst(First):
    """``Sequence.weigh_start``: the weight of a given first state."""

    def __call__(self, state: State, data: Any) -> Array:  # type: ignore[override]
        return self.weigh(*self.laws(data), state, data)


@dataclasses.dataclass(frozen=True)
class WeightOfNext(Next):
    """``Sequence.weigh``: the weight of a given step."""

    def __call__(self, state: State, after: State, step: Step, data: Any) -> Array:  # type: ignore[override]
        return self.weigh(*self.laws(state, step, data), after, step, data)


@dataclasses.dataclass(frozen=True)
class Lookahead(_Moves):
    """Log weight by which an auxiliary filter chooses particles, from the next observation.

    Attributes:
        auxiliary: the user's function; None for the density of the observation at the mean of
            the transition.
    """

    auxiliary: Call | None = None

    def __call__(self, state: State, step: Step, data: Any) -> Array:
        parameters, _ = self.unpacked(data)
        if self.auxiliary is None:
            found = self.model.next(state, parameters, step)
            ahead = {n: fixed(law) if certain(law) else law.mean for n, law in found.items()}
            return self.weight(ahead, parameters, step)
        seen = next(iter(step.observed.values())) if len(step.observed) == 1 else step.observed
        return jnp.asarray(self.auxiliary(state, parameters, step, seen))


def sequence_of(
    model: StateModel, data: Series, proposal: Call | None = None, initial: Call | None = None
) -> Sequence:
    """The states given the parameters; its callables receive ``(parameters, sequence.data)``."""
    steps = data.steps()
    options = (model, proposal, initial)
    return Sequence(
        start=First(*options),
        extend=Next(*options),
        inputs=at(steps, slice(1, None)),
        data=(data.fixed, at(steps, 0)),
        log_transition=Transition(model),
        log_move=Move(model),
        log_peak=Peak(model),
        log_start=Begun(model),
        weigh_start=WeightOfFirst(*options),
        weigh=WeightOfNext(*options),
        start_all=FirstOfMany(First(*options)) if model.batched else None,
        extend_all=NextOfMany(Next(*options)) if model.batched else None,
    )
