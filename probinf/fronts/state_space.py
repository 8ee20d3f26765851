"""from_state_space: initial, transition and emission as NumPyro distributions become a Program."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions import Distribution

from probinf.core.inputs.given import as_given
from probinf.core.program import Observations, Program
from probinf.errors import ModelError, StructureError
from probinf.fronts.nothing import nothing
from probinf.fronts.numpyro import from_numpyro
from probinf.fronts.states.calling import RESERVED, called
from probinf.fronts.states.checks import batches, check_observed, components_of, look
from probinf.fronts.states.model import OBSERVATIONS, StateModel
from probinf.fronts.states.program import (
    Ahead,
    Constrain,
    Draw,
    Pointwise,
    Predict,
    ScoreOf,
    Simulate,
    Sites,
    Start,
    StateSpaceOf,
    get_observed,
    set_observed,
)
from probinf.fronts.states.series import (
    WHO,
    Series,
    as_covariates,
    as_missing,
    as_observed,
    as_times,
    at,
)
from probinf.fronts.translation import abstractly


def from_state_space(
    initial: Callable[..., Any],
    transition: Callable[..., Any],
    emission: Callable[..., Any],
    observations: Any,
    *,
    parameters: Any = None,
    covariates: Any = None,
    times: Any = None,
    missing: Any = None,
) -> Program:
    """A state-space model: states that move on from one another, and are observed with noise.

    Each function returns a NumPyro distribution, or a dict of them by name. ``transition`` and
    ``emission`` take the state first (one array, or a dict by name); all other arguments are
    found by name: parameters and covariates by theirs, ``parameters`` and ``covariates`` for all
    of them, ``time``, ``dt`` (since the step before) and ``step`` (from 0). A part of the state
    that is a ``dist.Delta`` follows from the state before (lags, seasons) and is no coordinate.

    The program is the measure of parameters and states, with sites ``states`` (or their names)
    whose first axis is time: prior and transitions are its base, emissions its weight. Every
    engine runs on it, and ``ParticleFilter`` besides.

    Args:
        initial: laws of the first state.
        transition: ``state`` to laws of the next one; covariates are those of the next step.
        emission: ``state`` to laws of the observations.
        observations: an array with time along its first axis, or a dict of them by name.
        parameters: a dict of priors and of known values by name, a NumPyro model, or a Program;
            None where nothing is unknown but the states.
        covariates: arrays (a pytree of them) with time along their first axis.
        times: increasing; by default 0, 1, 2...
        missing: ``"nan"`` where NaN stands for a missing observation, or a mask (by name where
            there are several series), True where one is missing.

    Returns:
        A Program on the parameters' coordinates and those of the states.

    Raises:
        ObservationError: a NaN not said to be missing, or observations that do not fit the
            emission.
        ModelError: a function does not return distributions, has an argument of which nothing is
            known, or does not keep the state's shape; lengths do not match; times do not increase.
        ImproperPriorError: the first state, or a parameter, has no proper law.
    """
    observed, masks = as_missing(
        as_observed(observations, OBSERVATIONS), missing, not isinstance(observations, dict)
    )
    length = next(iter(observed.values())).shape[0]
    covariates = as_covariates(covariates, length)
    prior, fixed = _parameters(parameters)
    time, dt = as_times(times, length)
    series = Series(prior.data, fixed, observed, masks, covariates, time, dt, np.arange(length))
    bare = dataclasses.replace(prior, data=None)
    values = _shapes(prior, series)
    model = _model((initial, transition, emission), bare, values, series)
    seen = look(model, values, series)
    components = components_of(seen)
    check_observed(seen, series)
    _refuse_same_names(prior, [c.name for c in components], values, series)
    together = seen.fixed_supports and all(c.moves for c in components)
    model = dataclasses.replace(model, components=components, together=together)
    model = dataclasses.replace(model, batched=batches(model, values, series))
    return _program(model, series)


def with_parameters(program: Program, values: Mapping[str, Any]) -> Program:
    """A state-space program at given values of its parameters, for filters and smoothers.

    Other values are other data: nothing is compiled again.

    Args:
        program: of ``from_state_space``.
        values: by name, of every unknown parameter, on the scale that the model sees (a draw or
            the mean of a posterior, for instance); known ones may be given other values.

    Raises:
        StructureError: the program is not one of ``from_state_space``.
        ModelError: a parameter has no value, a name is no parameter's, or a value has another
            shape or is not finite.
    """
    who, of = "with_parameters", program.state_space
    if not isinstance(of, StateSpaceOf):
        raise StructureError(
            f"{who}: only a program of pi.from_state_space tells its parameters from its states."
        )
    series: Series = program.data
    unknown = jax.eval_shape(of.model.prior.constrain, of.theta(series), series.prior)
    fixed = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, series.fixed))
    if missing := sorted(set(unknown) - set(values)):
        raise ModelError(f"{who}: the parameters {missing} have no value; give one to each.")
    shapes, given = {**fixed, **unknown}, {}
    for name, value in values.items():
        if name not in shapes:
            raise ModelError(f"{who}: '{name}' is no parameter; there are {sorted(shapes)}.")
        given[name] = _number(name, value)
        if np.shape(given[name]) != shapes[name].shape:
            raise ModelError(
                f"{who}: parameter '{name}' has shape {shapes[name].shape}, its value "
                f"{np.shape(given[name])}."
            )
    series = series._replace(prior=(), fixed={**series.fixed, **given})
    bare = dataclasses.replace(nothing(), data=None)
    return _program(dataclasses.replace(of.model, prior=bare), series)


def _program(model: StateModel, series: Series) -> Program:
    return Program(
        draw=Draw(model),
        start=Start(model),
        score=ScoreOf(model),
        constrain=Constrain(model),
        simulate=Simulate(model),
        pointwise=Pointwise(model),
        observations=Observations(get_observed, set_observed),
        sites=Sites(model),
        predict=Predict(model),
        state_space=StateSpaceOf(model),
        ahead=Ahead(model),
        levels=model.prior.levels
        + tuple((c.name, *c.levels) for c in model.components if c.levels is not None),
        data=series,
    )


def _model(functions: Any, prior: Program, values: Any, series: Series) -> StateModel:
    """The three functions with what they ask for; the state is one array if ``initial`` says so."""
    initial, transition, emission = functions
    covariates = list(series.covariates) if isinstance(series.covariates, dict) else []
    clash = sorted(
        (set(values) & set(covariates)) | ((set(values) | set(covariates)) & set(RESERVED))
    )
    if clash:
        raise ModelError(
            f"{WHO}: {clash} name more than one thing; parameters and covariates need names of "
            f"their own, other than {list(RESERVED)}."
        )
    known = [*values, *covariates]
    first = called("initial", initial, known, states=False)
    out: list[Any] = []

    def run(parameters: Any, steps: Any) -> Any:
        out.append(first(None, parameters, at(steps, 0)))
        return steps.time

    abstractly(run, values, jax.eval_shape(series.steps))
    single = isinstance(out[0], Distribution)
    return StateModel(
        first,
        called("transition", transition, known, states=True, single=single),
        called("emission", emission, known, states=True, single=single),
        prior,
    )


def _shapes(prior: Program, series: Series) -> dict[str, Any]:
    """Shapes of all parameters by name, unknown ones and known ones."""
    fixed = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, series.fixed))
    unknown = jax.eval_shape(prior.constrain, prior.template(), prior.data)
    both = sorted(set(fixed) & set(unknown))
    if both:
        raise ModelError(f"{WHO}: {both} are known and unknown parameters at once.")
    return {**fixed, **unknown}


def _refuse_same_names(prior: Program, states: list[str], values: Any, series: Series) -> None:
    if not isinstance(prior.template(), dict):
        raise ModelError(
            f"{WHO}: the positions of the program of the parameters must be a dict by name, got "
            f"{prior}."
        )
    names = [*states, *values, *series.observed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(
            f"{WHO}: {twice} name more than one of parameters, states and series; give each a name "
            "of its own."
        )


def _parameters(parameters: Any) -> tuple[Program, dict[str, Any]]:
    """The program of what is unknown, and what is known."""
    if parameters is None:
        return nothing(), {}
    if isinstance(parameters, Program):
        return parameters, {}
    if not isinstance(parameters, dict):
        if not callable(parameters) or isinstance(parameters, Distribution):
            raise ModelError(
                f"{WHO}: parameters must be a dict of distributions and numbers by name, a NumPyro "
                f"model or a Program, got {parameters!r}."
            )
        return from_numpyro(parameters), {}
    unknown = {name: v for name, v in parameters.items() if isinstance(v, Distribution)}
    fixed = {n: _number(n, value) for n, value in parameters.items() if n not in unknown}
    if not unknown:
        return nothing(), fixed
    with warnings.catch_warnings():  # a prior alone observes nothing
        warnings.filterwarnings("ignore", message="the model _sample_all")
        return from_numpyro(_sample_all, unknown), fixed


def _number(name: str, given: Any) -> Any:
    value = as_given(f"parameter '{name}'", given)
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "biuf" or not np.isfinite(numbers).all():
        raise ModelError(
            f"{WHO}: parameter '{name}' must be a NumPyro distribution or a finite number, got "
            f"{given!r}."
        )
    return value


def _sample_all(prior: dict[str, Distribution]) -> None:
    for name, distribution in prior.items():
        numpyro.sample(name, distribution)
