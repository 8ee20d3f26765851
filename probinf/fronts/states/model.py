"""StateModel: the three functions of a state-space model, and the paths of its states."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import Delta, Distribution, biject_to

from probinf.core.program import Key, Position, Program
from probinf.errors import ModelError
from probinf.fronts.distributions.edges import guarded, unconstrained
from probinf.fronts.latent import leaf_of
from probinf.fronts.states.calling import Call
from probinf.fronts.states.series import WHO, Step, at

State = dict[str, Array]
Laws = dict[str, Distribution]

STATES, OBSERVATIONS = "states", "observations"
"""Names of a state, and of a series, that the user has given no name."""


@dataclasses.dataclass(frozen=True)
class Component:
    """One named part of the state; static.

    Attributes:
        name: of the site.
        starts: whether its first value is random, and not a ``dist.Delta``.
        moves: whether its next value is random given the state before.
        discrete: whether its values are whole numbers.
        levels: lowest and highest value where it is discrete and they are known.
    """

    name: str
    starts: bool
    moves: bool
    discrete: bool = False
    levels: tuple[int, int] | None = None

    @property
    def first(self) -> int:
        """Step of its first coordinate."""
        return 0 if self.starts else 1


@dataclasses.dataclass(frozen=True)
class StateModel:
    """A state-space model without its data; compared by value.

    Attributes:
        initial: ``() -> laws`` of the first state.
        transition: ``state -> laws`` of the next one.
        emission: ``state -> laws`` of the observations.
        prior: program of the parameters, without its data.
        components: the parts of the state.
        together: whether all steps can be looked at at once, since no part of the state follows
            from the one before and no support depends on it.
        batched: whether many states are drawn with one random key.
    """

    initial: Call
    transition: Call
    emission: Call
    prior: Program
    components: tuple[Component, ...] = ()
    together: bool = False
    batched: bool = False

    def first(self, parameters: dict[str, Array], step: Step) -> Laws:
        """Laws of the first state."""
        return laws("initial", self.initial(None, parameters, step), STATES)

    def next(self, state: State, parameters: dict[str, Array], step: Step) -> Laws:
        """Laws of the next state, at ``step``."""
        return laws("transition", self.transition(state, parameters, step), STATES)

    def emitted(self, state: State, parameters: dict[str, Array], step: Step) -> Laws:
        """Laws of the observations."""
        return laws("emission", self.emission(state, parameters, step), OBSERVATIONS)

    def log_emission(
        self, state: State, parameters: dict[str, Array], step: Step
    ) -> dict[str, Array]:
        """Log probability of every observation at one step; 0 where it is missing."""
        found = self.emitted(state, parameters, step)
        return {
            name: log_prob(found[name], value, step.missing.get(name))
            for name, value in step.observed.items()
        }

    def path(
        self, coordinates: dict[str, Array], parameters: dict[str, Array], steps: Step
    ) -> tuple[State, Array]:
        """All states, leading axis time, and the log density of their coordinates."""
        start, rest = at(steps, 0), at(steps, slice(1, None))
        before = {c.name: coordinates[c.name][0] for c in self.components if c.starts}
        moves = {c.name: coordinates[c.name][1 - c.first :] for c in self.components if c.moves}
        state, density = self._placed(self.first(parameters, start), before)
        if self.together:
            values = self._values(self.next(state, parameters, at(rest, 0)), moves)
            path = {n: jnp.concatenate([state[n][None], v[0]]) for n, v in values.items()}

            def one(before: State, after: State, step: Step) -> Array:
                found = self.next(before, parameters, step)
                return sum(
                    (log_prob(found[n], v).sum() for n, v in after.items()),
                    start=jnp.zeros((), float),
                )

            earlier, later = at(path, slice(None, -1)), at(path, slice(1, None))
            density += jax.vmap(one)(earlier, later, rest).sum()
            return path, density + sum(jacobian.sum() for _, jacobian in values.values())

        def along(state: State, item: tuple[State, Step]) -> tuple[State, tuple[State, Array]]:
            found = self.next(state, parameters, item[1])
            after, density = self._placed(found, item[0])
            return after, (after, density)

        _, (later, more) = jax.lax.scan(along, state, (moves, rest))
        path = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, later)
        return path, density + more.sum()

    def _placed(self, found: Laws, coordinates: State) -> tuple[State, Array]:
        """The state with these coordinates, and the log density of them."""
        state, density = {}, jnp.zeros((), float)
        for name, law in found.items():
            if name not in coordinates:
                state[name] = fixed(law)
                continue
            state[name], jacobian = _constrained(law, coordinates[name])
            density += log_prob(law, state[name]).sum() + jacobian.sum()
        return state, density

    def _values(self, found: Laws, moves: State) -> dict[str, tuple[Array, Array]]:
        """Values of many coordinates, whose supports are all alike."""
        return {
            name: jax.vmap(lambda x, law=found[name]: _constrained(law, x))(x)
            for name, x in moves.items()
        }

    def drawn(self, key: Key, parameters: dict[str, Array], steps: Step) -> tuple[State, Position]:
        """A path of states from its law, and its coordinates."""
        first, rest = jax.random.split(key)
        state = sampled(first, self.first(parameters, at(steps, 0)))
        x = self._coordinates(self.first(parameters, at(steps, 0)), state)

        def along(state: State, item: tuple[Key, Step]) -> Any:
            found = self.next(state, parameters, item[1])
            after = sampled(item[0], found)
            return after, (after, self._coordinates(found, after))

        later = at(steps, slice(1, None))
        keys = jax.random.split(rest, later.number.shape[0])
        _, (states, more) = jax.lax.scan(along, state, (keys, later))
        path = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, states)
        return path, self._joined(x, more)

    def coordinates(self, path: State, parameters: dict[str, Array], steps: Step) -> Position:
        """Coordinates of a path of states."""
        first = self._coordinates(self.first(parameters, at(steps, 0)), at(path, 0))

        def one(before: State, after: State, step: Step) -> State:
            return self._coordinates(self.next(before, parameters, step), after)

        earlier, later = at(path, slice(None, -1)), at(path, slice(1, None))
        more = jax.vmap(one)(earlier, later, at(steps, slice(1, None)))
        return self._joined(first, more)

    def _joined(self, first: State, more: State) -> Position:
        return {
            c.name: jnp.concatenate(
                ([first[c.name][None]] if c.starts else []) + ([more[c.name]] if c.moves else [])
            )
            for c in self.components
            if c.starts or c.moves
        }

    def _coordinates(self, found: Laws, state: State) -> State:
        return {name: coordinate(found[name], value) for name, value in state.items()}


def laws(role: str, out: Any, single: str) -> Laws:
    """Distributions by name, from what a user's function returned.

    Raises:
        ModelError: it is neither a distribution nor a dict of them.
    """
    found = {single: out} if isinstance(out, Distribution) else out
    wrong = not isinstance(found, dict) or not found
    if wrong or not all(isinstance(law, Distribution) for law in found.values()):
        raise ModelError(
            f"{WHO}: {role} must return a NumPyro distribution, or a dict of them by name, got "
            f"{out!r}."
        )
    return dict(found)


def certain(law: Distribution) -> bool:
    """Whether it is a ``dist.Delta``, so that its value follows from what is known."""
    return isinstance(leaf_of(law), Delta)


def fixed(law: Distribution) -> Array:
    """The value of a ``dist.Delta``."""
    return jnp.broadcast_to(leaf_of(law).v, law.shape())


def sampled(key: Key, found: Laws) -> State:
    """A draw of every part of the state."""
    keys = jax.random.split(key, len(found)) if len(found) > 1 else [key]
    return {
        name: fixed(law) if certain(law) else law.sample(k)
        for (name, law), k in zip(found.items(), keys, strict=True)
    }


def coordinate(law: Distribution, value: Array) -> Array:
    """A value on its unconstrained scale; a discrete one as it is."""
    if certain(law):
        return value
    if law.support.is_discrete:
        return jnp.asarray(value, jnp.result_type(int))
    return unconstrained(law.support, value)


def _constrained(law: Distribution, x: Array) -> tuple[Array, Array]:
    if law.support.is_discrete:
        return x, jnp.zeros((), float)
    transform = biject_to(law.support)
    value = transform(x)
    return value, transform.log_abs_det_jacobian(x, value)


def log_prob(law: Distribution, value: Any, missing: Any = None) -> Array:
    """Log probability, -inf outside the support, 0 where missing; shape of the batch."""
    if certain(law):
        same = jnp.equal(value, fixed(law))
        events = tuple(range(same.ndim - law.event_dim, same.ndim))
        return jnp.where(same.all(events), 0.0, -jnp.inf)
    inside, safe = guarded(law.support, value)
    found = jnp.where(inside, law.log_prob(safe), -jnp.inf)
    if missing is None:
        return found
    gone = missing.reshape(found.shape + (-1,)).any(-1) if law.event_dim else missing
    return jnp.where(gone, 0.0, found)
