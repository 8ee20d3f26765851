"""from_simulator: a prior and a simulator become a Program on (parameters, random key) (ABC)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array
from numpyro.distributions import Distribution

from probinf.core.inputs.given import as_given
from probinf.core.program import Data, Key, Observations, Position, Program, Score
from probinf.core.transformations.labelling import Coords, Dims, labelled
from probinf.errors import ModelError
from probinf.fronts.log_density import Shape, priors_by_name, shape_of
from probinf.fronts.numpyro import from_numpyro

Simulator = Callable[[Key, Any], Any]
"""``(key, parameters) -> observables``, written in JAX."""


@dataclasses.dataclass(frozen=True)
class _Abc:
    """Shared by the callables below: position ``(theta, key)``, data ``(prior, observed, eps)``."""

    prior: Program  # its data are empty; the true ones are in data[0]
    simulate: Simulator
    distance: Callable[[Any, Any], Array]
    kernel: str
    shape: Shape

    def parameters(self, theta: Position, data: Data) -> Any:
        values = self.prior.constrain(theta, data[0])
        return self.shape(values)


@dataclasses.dataclass(frozen=True)
class _AbcDraw(_Abc):
    def __call__(self, key: Key, data: Data) -> Position:
        first, second = jax.random.split(key)
        return self.prior.draw(first, data[0]), second


@dataclasses.dataclass(frozen=True)
class _AbcScore(_Abc):
    def __call__(self, x: Position, data: Data) -> Score:
        theta, key = x
        _, observed, tolerance = data
        simulated = self.simulate(key, self.parameters(theta, data))
        distance = self.distance(simulated, observed)
        if self.kernel == "gaussian":
            log_weight = -0.5 * (distance / tolerance) ** 2
        else:
            log_weight = jnp.where(distance <= tolerance, 0.0, -jnp.inf)
        log_weight = jnp.where(jnp.isnan(distance), jnp.nan, log_weight)
        return Score(self.prior.score(theta, data[0]).log_base, log_weight)


@dataclasses.dataclass(frozen=True)
class _AbcConstrain(_Abc):
    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        return self.prior.constrain(x[0], data[0])


def _as_observables(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"y": value}


@dataclasses.dataclass(frozen=True)
class _AbcSimulate(_Abc):
    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        return _as_observables(self.simulate(key, self.parameters(x[0], data)))


def _get(data: Data) -> dict[str, Any]:
    return _as_observables(data[1])


def _set(data: Data, values: dict[str, Any]) -> Data:
    old = data[1]
    new = {**old, **values} if isinstance(old, dict) else as_given("site 'y'", values["y"])
    return data[0], new, data[2]


def from_simulator(
    prior: Distribution | dict[str, Any],
    simulate: Simulator,
    distance: Callable[[Any, Any], Array],
    observed: Any,
    *,
    tolerance: float,
    kernel: Literal["gaussian", "uniform"] = "gaussian",
    dims: Dims | None = None,
    coords: Coords | None = None,
) -> Program:
    """Approximate Bayesian computation: the random key of the simulator is a coordinate.

    On ``(theta, key)`` the weight is a deterministic function, so plain SMC is ABC-SMC and
    plain Metropolis ABC-MCMC. The posterior is exact for the model blurred by the kernel,
    ``exp(-distance**2 / (2 tolerance**2))`` or ``1[distance <= tolerance]``.

    Args:
        prior: NumPyro distributions by parameter name, or a single one.
        simulate: ``(key, parameters) -> observables``, a module-level function in JAX.
        distance: ``(simulated, observed) -> scalar >= 0``, a module-level function.
        observed: array or dict of arrays, shaped like the simulator's output.
        tolerance: scale of the kernel, in units of the distance; positive.
        kernel: ``"gaussian"`` or ``"uniform"``.
        dims: names of dimensions by site; see :func:`probinf.with_dims`.
        coords: labels by dimension.

    Raises:
        ModelError: the tolerance is not positive, the output and ``observed`` differ in
            structure, the distance is not a scalar, or a function is not written in JAX.

    Source: Sisson, Fan & Beaumont (2018), chapter 1.
    """
    if not tolerance > 0:
        raise ModelError(f"from_simulator: tolerance must be positive, got {tolerance}.")
    if kernel not in ("gaussian", "uniform"):
        raise ModelError(f"from_simulator: kernel must be 'gaussian' or 'uniform', got {kernel!r}.")
    full = from_numpyro(_sample_all, priors_by_name(prior))
    observed = jax.tree.map(partial(as_given, "observed"), observed)
    static = (dataclasses.replace(full, data=None), simulate, distance, kernel, Shape.of(prior))
    data = (full.data, observed, np.asarray(tolerance, float))
    _check_output(static, data)
    program = Program(
        draw=_AbcDraw(*static),
        start=_AbcDraw(*static),
        score=_AbcScore(*static),
        constrain=_AbcConstrain(*static),
        simulate=_AbcSimulate(*static),
        observations=Observations(_get, _set),
        data=data,
        axes=full.axes,
    )
    return labelled(program, dims, coords)


def _sample_all(prior: dict[str, Distribution]) -> None:
    for name, distribution in prior.items():
        numpyro.sample(name, distribution)


def _check_output(static: tuple[Any, ...], data: Data) -> None:
    draw, simulate = _AbcDraw(*static), _AbcSimulate(*static)

    def both(key: Key) -> Any:
        return simulate(key, draw(key, data), data)

    simulated = shape_of("from_simulator", both, jax.random.key(0))
    expected = jax.eval_shape(lambda: _as_observables(data[1]))
    if jax.tree.map(jnp.shape, simulated) != jax.tree.map(jnp.shape, expected):
        raise ModelError(
            f"from_simulator: the simulator returns {simulated}, observed holds {expected}; they "
            "must have the same structure and shapes."
        )
    weight = shape_of(
        "from_simulator",
        lambda key: _AbcScore(*static)(draw(key, data), data).log_weight,
        jax.random.key(0),
    )
    if weight.shape != ():
        raise ModelError(
            f"from_simulator: the distance must be a scalar, got shape {weight.shape}. Sum or "
            "average over the data."
        )
