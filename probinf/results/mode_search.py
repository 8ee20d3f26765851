"""Modes that Markov chains have missed: where optimisation ends and no chain has been."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.gradients import no_gradient
from probinf.core.program import Program, log_density
from probinf.errors import ImproperPriorError

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior

_MAX_DIM = 100
_STARTS = 16
_SECONDS = 3.0
_DRAWS = 2000


class Mode(NamedTuple):
    """A local maximum of the density.

    Attributes:
        position: flat, (d,).
        log_mass: of its normal approximation.
        share: of the mass of all modes found, by the same approximation.
    """

    position: np.ndarray
    log_mass: float
    share: float


@jitted
def _value_and_grad(flat: Program, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(lambda y: -log_density(flat, y))(x)


@jitted
def _starts(flat: Program) -> jax.Array:
    keys = jax.random.split(jax.random.key(0), _STARTS)
    return jax.lax.map(lambda key: flat.start(key, flat.data), keys)


@jitted
def _base(flat: Program) -> jax.Array:
    keys = jax.random.split(jax.random.key(1), _STARTS)
    return jax.lax.map(lambda key: flat.draw(key, flat.data), keys)


def missed_modes(posterior: Posterior, *, share: float = 0.02) -> list[Mode]:
    """Modes with a noticeable share of the mass that no chain has visited, largest first.

    Maxima are sought from starting points and draws of the prior, and from draws of the
    chains. One that is reached only from the former, and near which no draw lies (within its
    normal approximation's 99.9 % region), counts as missed when its normal approximation
    holds at least ``share`` of the mass of all. A search of a few seconds proves nothing when
    it finds nothing.

    Args:
        posterior: draws of Markov chains, with their program, of at most 100 dimensions;
            nothing is sought in others.
        share: smallest share of the mass that is reported.
    """
    d = posterior.unconstrained.shape[-1]
    program = posterior.program
    if program is None or posterior.weighted or posterior.keys or not 0 < d <= _MAX_DIM:
        return []
    if Layout.of(program, integers=True).integers or no_gradient(program):
        return []  # no slope leads from one to the next
    flat, _ = flatten(program)
    draws = posterior.unconstrained.reshape(-1, d).astype(float)
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < _STARTS:
        return []
    picked = np.linspace(0, len(draws) - 1, _DRAWS).astype(int)
    began = time.perf_counter()
    visited = _climbed(flat, draws[np.linspace(0, len(draws) - 1, _STARTS).astype(int)], began)
    elsewhere = _climbed(flat, _outside(flat), time.perf_counter())
    return _unvisited(visited, elsewhere, draws[picked], share)


def maxima(program: Program, *, share: float = 0.02) -> list[Mode]:
    """Maxima of the density with a noticeable share of the mass, largest first.

    Args:
        program: of at most 100 floating-point dimensions; nothing is sought in others.
        share: smallest share of the mass, by normal approximations.
    """
    flat, layout = flatten(program)
    if layout.has_keys or not 0 < layout.size <= _MAX_DIM or no_gradient(program):
        return []
    found = _climbed(flat, _outside(flat), time.perf_counter())
    if not found:
        return []
    total = np.logaddexp.reduce([m.log_mass for m in found])
    modes = [Mode(m.position, m.log_mass, float(np.exp(m.log_mass - total))) for m in found]
    return sorted((m for m in modes if m.share > share), key=lambda m: -m.share)


def _outside(flat: Program) -> np.ndarray:
    found = [np.asarray(_starts(flat), float)]
    with contextlib.suppress(ImproperPriorError):
        found.append(np.asarray(_base(flat), float))
    rows = np.stack(found, axis=1).reshape(-1, found[0].shape[1])  # alternating
    return rows[np.isfinite(rows).all(axis=1)]


class _Maximum(NamedTuple):
    position: np.ndarray
    precision: np.ndarray
    log_mass: float


def _climbed(flat: Program, starts: np.ndarray, began: float) -> list[_Maximum]:
    """The distinct maxima that are reached from ``starts`` in the time there is."""

    from scipy.optimize import minimize

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _value_and_grad(flat, jnp.asarray(x, dtype))
        value, gradient = float(value), np.asarray(gradient, float)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return 1e30, np.zeros_like(x)
        return value, gradient

    dtype = flat.template().dtype
    found: list[_Maximum] = []
    for k, start in enumerate(starts):
        if k > 2 and time.perf_counter() - began > _SECONDS:
            break
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
        if result.fun >= 1e30 or any(_near(m, result.x) for m in found):
            continue
        maximum = _normal_approximation(objective, result)
        if maximum is not None:
            found.append(maximum)
    return found


def _normal_approximation(objective: Any, result: Any) -> _Maximum | None:
    """None where the end of the climb is no maximum (a ridge, an unbounded density)."""
    x, d = result.x, result.x.size
    step = 1e-3 * np.maximum(1.0, np.abs(x))
    rows = []
    for j in range(d):
        shift = np.zeros(d)
        shift[j] = step[j]
        rows.append((objective(x + shift)[1] - objective(x - shift)[1]) / (2 * step[j]))
    precision = (np.array(rows) + np.array(rows).T) / 2
    values = np.linalg.eigvalsh(precision)
    gradient = objective(x)[1]
    if values[0] <= 0 or values[0] < 1e-8 * values[-1]:
        return None
    if gradient @ np.linalg.solve(precision, gradient) > 0.1:
        return None
    log_mass = -result.fun + 0.5 * d * np.log(2 * np.pi) - 0.5 * np.log(values).sum()
    return _Maximum(x, precision, float(log_mass))


def _near(maximum: _Maximum, x: np.ndarray) -> bool:
    away = x - maximum.position
    return bool(away @ maximum.precision @ away < 0.1 * max(x.size, 10))


def _unvisited(
    visited: list[_Maximum], elsewhere: list[_Maximum], draws: np.ndarray, share: float
) -> list[Mode]:
    from scipy.special import chdtri

    radius = chdtri(draws.shape[1], 0.001)
    new = []
    for maximum in elsewhere:
        away = draws - maximum.position
        inside = np.einsum("ni,ij,nj->n", away, maximum.precision, away) < radius
        if not inside.any() and not any(_near(v, maximum.position) for v in visited):
            new.append(maximum)
    masses = np.array([m.log_mass for m in [*visited, *new]])
    if not new or not visited:
        return []
    total = np.logaddexp.reduce(masses)
    modes = [Mode(m.position, m.log_mass, float(np.exp(m.log_mass - total))) for m in new]
    return sorted((m for m in modes if m.share > share), key=lambda m: -m.share)
