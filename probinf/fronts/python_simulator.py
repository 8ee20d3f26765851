"""Simulators in ordinary Python as programs that ask the host, with a seed for every row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.host.answering import as_value, shown
from probinf.core.host.asking import Asks, ask
from probinf.core.host.calls import Call
from probinf.core.host.jobs import evaluated
from probinf.core.host.pools import Failure, check_executor, check_picklable
from probinf.core.host.seeded import SEED, Apart, Seeded
from probinf.core.inputs.shapes import Shape
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.errors import CallbackError, ModelError
from probinf.fronts.blurred import (
    Blurred,
    as_observables,
    blurred_program,
)

_TRIALS = 3  # points at which the simulator is tried before anything is run


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a simulator is run.

    Attributes:
        executor: who runs it.
        timeout: seconds of one simulation; None for no limit.
        max_failures: share of the simulations that may fail.

    Raises:
        ModelError: a number is out of range.
        MethodError: the executor cannot serve.
    """

    executor: Any
    timeout: float | None
    max_failures: float

    def __post_init__(self) -> None:
        if not 0 <= self.max_failures <= 1:
            raise ModelError(f"max_failures must lie in [0, 1], got {self.max_failures}.")
        if self.timeout is not None and not self.timeout > 0:
            raise ModelError(f"timeout must be positive seconds, got {self.timeout}.")
        check_executor(self.executor, self.timeout)


@dataclasses.dataclass(frozen=True)
class _Asked(Blurred):
    """Data ``(prior, observed, tolerance, marker)``; simulate and distance are calls."""

    def job(self, theta: Position, key: Key, data: Data) -> dict[str, Array]:
        """What a worker is given."""
        return {**self.prior.constrain(theta, data[0]), SEED: jax.random.key_data(key)}

    def simulated(self, theta: Position, key: Key, data: Data, where: Array) -> Array:
        """The data as one vector."""
        return ask(self.simulate, (theta, key), self.job(theta, key, data), where)


@dataclasses.dataclass(frozen=True)
class _AskedScore(_Asked):
    def __call__(self, x: Position, data: Data) -> Score:
        theta, key = x
        log_base = self.prior.score(theta, data[0]).log_base
        possible = jnp.isfinite(log_base)
        simulated = self.simulated(theta, key, data, possible)
        named = as_observables(data[1])
        names = self.simulate.function.names
        observed = jnp.concatenate([jnp.ravel(named[n]).astype(float) for n in names])
        fine = possible & jnp.isfinite(simulated).all()
        both = {"simulated": simulated, "observed": observed}
        found = ask(self.distance, both, both, fine).astype(log_base.dtype)
        log_weight = self.log_weight(jnp.where(fine, found, jnp.nan), data[2])
        return Score(log_base, jnp.where(possible, log_weight, -jnp.inf).astype(log_base.dtype))


@dataclasses.dataclass(frozen=True)
class _AskedSimulate(_Asked):
    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        vector = self.simulated(x[0], key, data, jnp.asarray(True))
        found, first, seeded = {}, 0, self.simulate.function
        for name, shape in zip(seeded.names, seeded.shapes, strict=True):
            size = int(np.prod(shape))
            found[name] = vector[first : first + size].reshape(shape).astype(float)
            first += size
        return found


def python_program(
    prior: Program,
    simulate: Callable[[np.random.Generator, Any], Any],
    distance: Callable[[Any, Any], Any],
    data: Data,
    kernel: str,
    shape: Shape,
    settings: Settings,
) -> Program:
    """The program of a simulator in ordinary Python; see :func:`from_simulator`.

    Raises:
        ModelError: a parameter has the name of the seed.
        CallbackError: the simulator fails where it is tried, or cannot be sent to processes.
    """
    sites = as_observables(data[1])
    names, shapes = tuple(sites), tuple(tuple(np.shape(v)) for v in sites.values())
    if SEED in jax.eval_shape(prior.constrain, prior.template(), prior.data):
        raise ModelError(f"from_simulator: a parameter cannot be called '{SEED}' here.")
    run = Call(
        Seeded(simulate, shape, names, shapes),
        shape=(sum(int(np.prod(shape)) for shape in shapes),),
        executor=settings.executor,
        timeout=settings.timeout,
        max_failures=settings.max_failures,
    )
    apart = Call(Apart(distance, not isinstance(data[1], dict), names, shapes), counted=False)
    check_picklable(settings.executor, simulate, run.name)
    static = (dataclasses.replace(prior, data=None), run, apart, kernel, shape)
    program = blurred_program(_AskedScore, _AskedSimulate, static, (*data, Asks(run)), prior.axes)
    _try(program, _Asked(*static))
    return program


def _try(program: Program, asked: _Asked) -> None:
    """Simulate at a few draws of the prior, in this process, and measure a distance.

    Raises:
        CallbackError: it works at none of them.
    """
    if asked.simulate.executor is not None and not isinstance(asked.simulate.executor, int):
        return  # it may need what only the user's workers have
    alone = dataclasses.replace(asked.simulate, executor=None, timeout=None)
    observed = [np.ravel(v) for v in as_observables(program.data[1]).values()]
    told = ""
    for k in range(_TRIALS):
        theta, key = program.draw(jax.random.key(k), program.data)
        job = jax.tree.map(np.asarray, asked.job(theta, key, program.data))
        (value,) = evaluated(alone, [job])
        if not isinstance(value, Failure):
            vector = as_value(alone, value, job)
            if not np.isfinite(vector).all():
                told = told or f"returned {vector}, at {shown(job)}"
                continue
            both = {"simulated": vector, "observed": np.concatenate(observed).astype(float)}
            (value,) = evaluated(asked.distance, [both])
            if not isinstance(value, Failure):
                as_value(asked.distance, value, job)
                return
        told = told or f"{value.text}, at {shown(job)}"
    raise CallbackError(
        f"{alone.name} fails at {_TRIALS} draws of the prior of {_TRIALS}. The first: {told}."
    )
