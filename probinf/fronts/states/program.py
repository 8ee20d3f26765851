"""The callables of a state-space program: position ``{parameters, states}``, data ``Series``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.inputs.given import as_given
from probinf.core.program import Key, Position, Predicted, Score
from probinf.core.state_space import StateSpace
from probinf.errors import StructureError
from probinf.fronts.observations import on_edge, parameter_violations
from probinf.fronts.states.calling import called
from probinf.fronts.states.model import State, StateModel, certain, log_prob, sampled
from probinf.fronts.states.sequence import Lookahead, sequence_of
from probinf.fronts.states.series import Series, as_covariates, as_times, at


@dataclasses.dataclass(frozen=True)
class _OfModel:
    """Shared by the callables below."""

    model: StateModel

    def split(self, x: Position) -> tuple[Position, dict[str, Array]]:
        names = {c.name for c in self.model.components}
        theta = {name: value for name, value in x.items() if name not in names}
        return theta, {name: value for name, value in x.items() if name in names}

    def parameters(self, theta: Position, data: Series) -> dict[str, Array]:
        known = jax.tree.map(jnp.asarray, data.fixed)
        return {**known, **self.model.prior.constrain(theta, data.prior)}

    def begun(self, place: Callable[[Key, Any], Position], key: Key, data: Series) -> Position:
        first, second = jax.random.split(key)
        theta = place(first, data.prior)
        return {
            **theta,
            **self.model.drawn(second, self.parameters(theta, data), data.steps())[1],
        }

    def path(self, x: Position, data: Series) -> tuple[State, dict[str, Array], Array]:
        theta, coordinates = self.split(x)
        parameters = self.parameters(theta, data)
        path, density = self.model.path(coordinates, parameters, data.steps())
        return path, parameters, density

    def log_emissions(
        self, path: State, parameters: dict[str, Array], data: Series
    ) -> dict[str, Array]:
        return jax.vmap(self.model.log_emission, (0, None, 0))(path, parameters, data.steps())


@dataclasses.dataclass(frozen=True)
class Draw(_OfModel):
    """Parameters of the prior, and a path of their model."""

    def __call__(self, key: Key, data: Series) -> Position:
        return self.begun(self.model.prior.draw, key, data)


@dataclasses.dataclass(frozen=True)
class Start(_OfModel):
    """Over-dispersed parameters, and a path of their model."""

    def __call__(self, key: Key, data: Series) -> Position:
        return self.begun(self.model.prior.start, key, data)


@dataclasses.dataclass(frozen=True)
class ScoreOf(_OfModel):
    def __call__(self, x: Position, data: Series) -> Score:
        log_base, log_weight = self.model.prior.score(self.split(x)[0], data.prior)
        path, parameters, density = self.path(x, data)
        emissions = self.log_emissions(path, parameters, data)
        total = sum((value.sum() for value in emissions.values()), start=log_weight)
        return Score(log_base + density, total)


@dataclasses.dataclass(frozen=True)
class Constrain(_OfModel):
    def __call__(self, x: Position, data: Series) -> dict[str, Array]:
        path = self.path(x, data)[0]
        return {**self.model.prior.constrain(self.split(x)[0], data.prior), **path}


@dataclasses.dataclass(frozen=True)
class Simulate(_OfModel):
    def __call__(self, key: Key, x: Position, data: Series) -> dict[str, Array]:
        path, parameters, _ = self.path(x, data)
        return self.emitted(key, path, parameters, data)

    def emitted(
        self, key: Key, path: State, parameters: dict[str, Array], data: Series
    ) -> dict[str, Array]:
        steps = data.steps()

        def one(key: Key, state: State, step: Any) -> State:
            return sampled(key, self.model.emitted(state, parameters, step))

        return jax.vmap(one)(jax.random.split(key, steps.number.shape[0]), path, steps)


@dataclasses.dataclass(frozen=True)
class Pointwise(_OfModel):
    def __call__(self, x: Position, data: Series) -> dict[str, Array]:
        prior = self.model.prior
        own = {} if prior.pointwise is None else prior.pointwise(self.split(x)[0], data.prior)
        path, parameters, _ = self.path(x, data)
        return {**own, **self.log_emissions(path, parameters, data)}


@dataclasses.dataclass(frozen=True)
class Sites(_OfModel):
    """Per-site checks; a series counts as one site, whatever the step at which it is wrong."""

    def __call__(self, x: Position, data: Series) -> dict[str, Any]:
        prior = self.model.prior
        own = {} if prior.sites is None else prior.sites(self.split(x)[0], data.prior)
        path, parameters, density = self.path(x, data)
        steps = data.steps()
        earlier, later = at(path, slice(None, -1)), at(steps, slice(1, None))

        def moved(state: State, step: Any) -> Any:
            found = self.model.next(state, parameters, step)
            return {name: parameter_violations(law) for name, law in found.items()}

        def seen(state: State, step: Any) -> Any:
            report = {}
            for name, law in self.model.emitted(state, parameters, step).items():
                value, missing = step.observed[name], step.missing.get(name)
                inside = jnp.asarray(True) if certain(law) else law.support(value)
                gone = jnp.asarray(False) if missing is None else missing
                report[name] = {
                    "log_prob": log_prob(law, value, missing).sum(),
                    "invalid": parameter_violations(law),
                    "outside": ~jnp.asarray(inside, bool).all() & ~gone.all(),
                    "edge": on_edge(law.support, value),
                }
            return report

        invalid = jax.vmap(moved)(earlier, later)
        states = {
            name: {
                "log_prob": density,
                "invalid": _anywhere(broken),
                "outside": jnp.asarray(False),
                "edge": jnp.asarray(False),
            }
            for name, broken in invalid.items()
        }
        observed = jax.vmap(seen)(path, steps)
        return {**own, **states} | {
            name: {
                "log_prob": site["log_prob"].sum(),
                "invalid": _anywhere(site["invalid"]),
                "outside": site["outside"],
                "edge": site["edge"],
            }
            for name, site in observed.items()
        }


def _anywhere(broken: dict[str, dict[str, Array]]) -> dict[str, dict[str, Array]]:
    """What is wrong with a parameter at any step."""
    found = {}
    for name, report in broken.items():
        bad = report["outside"] | report["lost"]
        found[name] = {
            "outside": report["outside"].any(),
            "lost": report["lost"].any(),
            "worst": report["worst"][jnp.argmax(bad)],
        }
    return found


@dataclasses.dataclass(frozen=True)
class Predict(_OfModel):
    """Observations given values of parameters and of the first steps of the states."""

    def __call__(self, key: Key, values: dict[str, Array], data: Series) -> Predicted:
        keys = jax.random.split(key, 4)
        parameters, outside = self._parameters(keys[0], values, data)
        steps = data.steps()
        given = {c.name: values[c.name] for c in self.model.components if c.name in values}
        length = steps.number.shape[0]
        held = {
            name: jnp.pad(v[:length], [(0, max(length - len(v), 0))] + [(0, 0)] * (v.ndim - 1))
            for name, v in given.items()
        }
        counts = {name: len(value) for name, value in given.items()}

        def placed(key: Key, found: Any, held: State, place: Any) -> tuple[State, Any]:
            state, beyond = sampled(key, found), {}
            for name, value in held.items():
                use = place < counts[name]
                beyond[name] = use & _outside(found[name], value)
                state[name] = jnp.where(use, value, state[name])
            return state, beyond

        def along(state: State, item: Any) -> Any:
            key, value, step, place = item
            found = placed(key, self.model.next(state, parameters, step), value, place)
            return found[0], found

        first, later = at(steps, 0), at(steps, slice(1, None))
        state, beyond = placed(keys[1], self.model.first(parameters, first), at(held, 0), 0)
        _, (states, more) = jax.lax.scan(
            along,
            state,
            (
                jax.random.split(keys[2], length - 1),
                at(held, slice(1, None)),
                later,
                jnp.arange(1, length),
            ),
        )
        path = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), state, states)
        outside |= {name: beyond[name] | more[name].any() for name in given}
        known = {name: v for name, v in parameters.items() if name not in data.fixed}
        observables = Simulate(self.model).emitted(keys[3], path, parameters, data)
        return Predicted(observables, {**known, **path}, outside, summed={})

    def _parameters(self, key: Key, values: dict[str, Array], data: Series) -> Any:
        fixed_ones = jax.tree.map(jnp.asarray, data.fixed)
        prior = self.model.prior
        if prior.predict is None:
            return fixed_ones, {}
        found = prior.predict(key, values, data.prior)
        return {**fixed_ones, **found.latents}, dict(found.outside)


def _outside(law: Any, value: Array) -> Array:
    if certain(law):
        return jnp.asarray(False)
    return ~jnp.isfinite(value).all() if not law.support.is_discrete else jnp.asarray(False)


@dataclasses.dataclass(frozen=True)
class StateSpaceOf(_OfModel):
    """``Program.state_space``, and what filters ask of it besides."""

    def __call__(self, data: Series) -> StateSpace:
        prior = dataclasses.replace(self.model.prior, data=data.prior)
        return StateSpace(prior, sequence_of(self.model, data))

    def guided(self, data: Series, proposal: Any, initial: Any, auxiliary: Any) -> Any:
        """The sequence with other laws to draw from, and the first stage of an auxiliary filter."""
        names = list(data.fixed)
        names += list(data.covariates) if isinstance(data.covariates, dict) else []
        single = self.model.transition.single

        def call(role: str, fn: Any, states: bool) -> Any:
            if fn is None:
                return None
            return called(role, fn, names, states=states, observes=True, single=single)

        sequence = sequence_of(
            self.model,
            data,
            call("proposal", proposal, True),
            call("initial_proposal", initial, False),
        )
        if auxiliary is None:
            return sequence, None
        ahead = None if auxiliary == "mean" else call("auxiliary", auxiliary, True)
        return sequence, Lookahead(self.model, auxiliary=ahead)

    def known(self, data: Series) -> dict[str, Array]:
        """Values of the parameters, where none is unknown."""
        return self.parameters(self.theta(data), data)

    def theta(self, data: Series) -> Position:
        """The shapes of the parameters' coordinates."""
        return dataclasses.replace(self.model.prior, data=data.prior).template()

    def joint(self, theta: Position, path: State, data: Series) -> Position:
        """Coordinates of the whole program, from those of its parameters and a path of states."""
        coordinates = self.model.coordinates(path, self.parameters(theta, data), data.steps())
        return {**theta, **coordinates}

    def position(self, path: State, data: Series) -> Position:
        """Coordinates of a path, where no parameter is unknown."""
        return self.model.coordinates(path, self.known(data), data.steps())


@dataclasses.dataclass(frozen=True)
class Ahead(_OfModel):
    """Data that begin with the last step of these, and have more steps, none of them observed."""

    def __call__(self, data: Series, steps: int, covariates: Any, times: Any) -> Series:
        there: Any = jax.tree.structure(covariates)
        here: Any = jax.tree.structure(data.covariates)
        if here != there:
            raise StructureError(
                "predict: this model has covariates "
                f"{jax.tree.map(jnp.shape, data.covariates)}; pass covariates= with the same "
                f"structure for the {steps} steps ahead, got "
                f"{jax.tree.map(jnp.shape, covariates)}."
            )
        future = as_covariates(covariates, steps)
        last = np.asarray(data.time, float)
        gap = np.diff(last)[-1]
        if times is None and not np.allclose(np.diff(last), gap):
            raise StructureError(
                "predict: the times of the fit are not evenly spaced; pass times= for the steps "
                "ahead."
            )
        after = last[-1] + gap * np.arange(1, steps + 1) if times is None else times
        if np.shape(after) != (steps,):
            raise StructureError(
                f"predict: times has shape {np.shape(after)} for {steps} steps ahead."
            )
        time, dt = as_times(np.concatenate([last[-1:], np.asarray(after, float)]), steps + 1)
        number = int(np.asarray(data.number)[-1])

        def unseen(value: Any) -> np.ndarray:
            return np.repeat(np.asarray(value)[-1:], steps + 1, 0)

        return data._replace(
            observed={name: unseen(value) for name, value in data.observed.items()},
            missing={
                n: np.ones((steps + 1, *np.shape(v)[1:]), bool) for n, v in data.observed.items()
            },
            covariates=jax.tree.map(
                lambda a, b: np.concatenate([np.asarray(a)[-1:], np.asarray(b)]),
                data.covariates,
                future,
            ),
            time=time,
            dt=dt,
            number=np.arange(number, number + steps + 1),
        )


def get_observed(data: Series) -> dict[str, Array]:
    """The observed values, NaN where one is missing."""
    found = {}
    for name, value in data.observed.items():
        array, missing = jnp.asarray(value), data.missing.get(name)
        if missing is not None and jnp.issubdtype(array.dtype, jnp.floating):
            array = jnp.where(missing, jnp.nan, array)
        found[name] = array
    return found


def set_observed(data: Series, values: dict[str, Any]) -> Series:
    """Other observed values, missing where they were."""
    new = {}
    for name, value in values.items():
        array = as_given(f"site '{name}'", value)
        if name in data.missing:
            array = jnp.where(data.missing[name], data.observed[name], array)
        new[name] = array
    return data._replace(observed={**data.observed, **new})
