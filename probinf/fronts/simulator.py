"""from_simulator: a prior and a simulator become a Program on (parameters, random key) (ABC)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution

from probinf.core.inputs.given import as_given
from probinf.core.inputs.shapes import Shape
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.labelling import Coords, Dims, labelled
from probinf.errors import ModelError
from probinf.fronts.blurred import (
    Blurred,
    BlurredDraw,
    as_observables,
    blurred_program,
)
from probinf.fronts.log_density import priors_by_name, shape_of
from probinf.fronts.prior import as_prior
from probinf.fronts.python_simulator import Settings, python_program

Simulator = Callable[[Any, Any], Any]
"""``(key, parameters) -> observables``, written in JAX; of a NumPy generator in ordinary Python."""


@dataclasses.dataclass(frozen=True)
class _Score(Blurred):
    def __call__(self, x: Position, data: Data) -> Score:
        theta, key = x
        _, observed, tolerance = data
        simulated = self.simulate(key, self.parameters(theta, data))
        log_weight = self.log_weight(self.distance(simulated, observed), tolerance)
        return Score(self.prior.score(theta, data[0]).log_base, log_weight)


@dataclasses.dataclass(frozen=True)
class _Simulate(Blurred):
    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        return as_observables(self.simulate(key, self.parameters(x[0], data)))


def from_simulator(
    prior: Distribution | dict[str, Any],
    simulate: Simulator,
    distance: Callable[[Any, Any], Array],
    observed: Any,
    *,
    tolerance: float,
    kernel: Literal["gaussian", "uniform"] = "gaussian",
    python: bool = False,
    executor: Any = None,
    timeout: float | None = None,
    max_failures: float = 0.1,
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Program:
    """Approximate Bayesian computation: the random key of the simulator is a coordinate.

    On ``(theta, key)`` the weight is a deterministic function, so plain SMC is ABC-SMC and
    plain Metropolis ABC-MCMC. The posterior is exact for the model blurred by the kernel,
    ``exp(-distance**2 / (2 tolerance**2))`` or ``1[distance <= tolerance]``.

    Args:
        prior: NumPyro distributions by parameter name, or a single one.
        simulate: ``(key, parameters) -> observables``, a module-level function in JAX; with
            ``python`` ``(generator, parameters)``, a NumPy random generator, in ordinary Python.
        distance: ``(simulated, observed) -> scalar >= 0``, a module-level function.
        observed: array or dict of arrays, shaped like the simulator's output.
        tolerance: scale of the kernel, in units of the distance; positive.
        kernel: ``"gaussian"`` or ``"uniform"``.
        python: both functions are ordinary Python (NumPy, SciPy, a program that is called). The
            generator's seed comes from the random key of the row, so that results depend neither
            on the executor nor on the number of its workers.
        executor: of such a simulator, as in :func:`from_callback`: None for this process, a number
            of processes, an executor or what makes one.
        timeout: seconds of one simulation; needs processes.
        max_failures: share of such simulations that may fail (an exception, NaN, a time-out, a
            worker that died of it); more are an error.
        dims: names of dimensions by site; see :func:`probinf.with_dims`.
        coords: labels by dimension.

    Raises:
        ModelError: the tolerance is not positive, the output and ``observed`` differ in
            structure, the distance is not a scalar, or a function is not written in JAX.
        CallbackError: a simulator in Python fails wherever it is tried, or too often.
        MethodError: the executor cannot serve.

    Source: Sisson, Fan & Beaumont (2018), chapter 1.
    """
    if not tolerance > 0:
        raise ModelError(f"from_simulator: tolerance must be positive, got {tolerance}.")
    if kernel not in ("gaussian", "uniform"):
        raise ModelError(f"from_simulator: kernel must be 'gaussian' or 'uniform', got {kernel!r}.")
    full = as_prior("from_simulator", priors_by_name(prior))
    observed = jax.tree.map(partial(as_given, "observed"), observed)
    shape = Shape.of(prior)
    data = (full.data, observed, np.asarray(tolerance, float))
    if python:
        settings = Settings(executor, timeout, max_failures)
        program = python_program(full, simulate, distance, data, kernel, shape, settings)
        return labelled(program, dims, coords)
    if executor is not None or timeout is not None:
        raise ModelError(
            "from_simulator: executor= and timeout= are for simulators in ordinary Python, "
            "(generator, parameters) -> observables; say python=True."
        )
    static = (dataclasses.replace(full, data=None), simulate, distance, kernel, shape)
    _check_output(static, data)
    program = blurred_program(_Score, _Simulate, static, data, full.axes)
    return labelled(program, dims, coords)


def _check_output(static: tuple[Any, ...], data: Data) -> None:
    draw, simulate = BlurredDraw(*static), _Simulate(*static)

    def both(key: Key) -> Any:
        return simulate(key, draw(key, data), data)

    simulated = shape_of("from_simulator", both, jax.random.key(0))
    expected = jax.eval_shape(lambda: as_observables(data[1]))
    if jax.tree.map(jnp.shape, simulated) != jax.tree.map(jnp.shape, expected):
        raise ModelError(
            f"from_simulator: the simulator returns {simulated}, observed holds {expected}; they "
            "must have the same structure and shapes."
        )
    weight = shape_of(
        "from_simulator",
        lambda key: _Score(*static)(draw(key, data), data).log_weight,
        jax.random.key(0),
    )
    if weight.shape != ():
        raise ModelError(
            f"from_simulator: the distance must be a scalar, got shape {weight.shape}. Sum or "
            "average over the data."
        )
