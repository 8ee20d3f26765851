"""Climbing a log density by L-BFGS, one evaluation per step, and Newton's method near the top."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import jitted
from probinf.core.program import Key, Program, log_density
from probinf.errors import MethodError
from probinf.samplers.warmup.starting import found_start, scattered

_MEMORY = 10
_SLOPE = 1e-4  # of the gain that the gradient promises, at least
_SHRINK = 0.3
_MOST_SHRINKS = 30
_NEWTON = 50
_LONGEST = 10.0  # of the first step, which knows no scale


class Climb(NamedTuple):
    """An ascent on its way.

    Attributes:
        position: (d,) the highest so far.
        value: of the objective there.
        grad: (d,) there.
        direction: (d,) of the next step.
        length: of the next trial, in units of the direction.
        memory: of L-BFGS.
        shrinks: trials in a row that were refused.
        evaluations: of the objective.
        promise: how much a full step promises to gain, in nats.
        stopped: whether no more can be gained.
        started: whether there was a finite start.
    """

    position: Float[Array, " d"]
    value: Float[Array, ""]
    grad: Float[Array, " d"]
    direction: Float[Array, " d"]
    length: Float[Array, ""]
    memory: Any
    shrinks: Int[Array, ""]
    evaluations: Int[Array, ""]
    promise: Float[Array, ""]
    stopped: Bool[Array, ""]
    started: Bool[Array, ""]


class _Start(NamedTuple):
    position: Array
    logdensity: Array
    grad: Array


def objective(program: Program, x: Any, user: bool) -> Float[Array, ""]:
    """The log density at a flat position, in the user's coordinates or the unconstrained ones."""
    value = log_density(program, x)
    if not user:
        return value
    if program.log_jacobian is None:
        raise MethodError(
            "coordinates='user' needs to know how the program's unconstrained coordinates are made "
            "of the user's, which only programs straight from from_numpyro, from_log_likelihood "
            "and from_log_density do. Use coordinates='unconstrained'."
        )
    return value - program.log_jacobian(x, program.data)


def climb_from_afar(key: Key, program: Program, user: bool, candidates: int = 1) -> Climb:
    """An ascent that has found the densest of so many over-dispersed starts."""
    slope = jax.value_and_grad(partial(objective, program, user=user))

    def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
        x = scattered(program, key, tries)
        start = _Start(x, *slope(x))
        return start, start

    start, found = found_start(attempt, key, candidates)
    memory = _lbfgs().init(start.position)
    direction, memory = _lbfgs().update(-start.grad, memory, start.position)
    norm = jnp.sqrt(start.grad @ start.grad)
    length = jnp.minimum(1.0, _LONGEST / (jnp.sqrt(direction @ direction) + 1e-30))
    nothing = jnp.zeros((), int)
    return Climb(
        start.position,
        start.logdensity,
        start.grad,
        -direction,
        length.astype(start.position.dtype),
        memory,
        nothing,
        nothing,
        norm,
        ~found,
        found,
    )


def climbed(program: Program, climb: Climb, user: bool, tolerance: float) -> Climb:
    """One more evaluation: the trial is taken where it gains enough, else a shorter one is next.

    Args:
        program: on flat positions.
        climb: on its way.
        user: whether in the user's coordinates.
        tolerance: nats; it has arrived where a full step promises less.
    """
    trial = climb.position + climb.length * climb.direction
    value, grad = jax.value_and_grad(partial(objective, program, user=user))(trial)
    slope = climb.grad @ climb.direction
    usable = jnp.isfinite(value) & jnp.isfinite(grad).all()
    # near the top the gain drowns in rounding; there the gradient tells
    noise = 10 * jnp.finfo(value.dtype).eps * jnp.abs(climb.value)
    gained = value >= climb.value + _SLOPE * climb.length * slope
    level = (value >= climb.value - noise) & (jnp.abs(grad @ climb.direction) < 0.9 * slope)
    taken = usable & (gained | level)

    def go_on() -> Climb:
        down, memory = _lbfgs().update(-grad, climb.memory, trial)
        direction = -down
        uphill = grad @ direction > 0
        direction = jnp.where(uphill & jnp.isfinite(direction).all(), direction, grad)
        norm = jnp.sqrt(grad @ grad)
        scale = jnp.where(uphill, 1.0, jnp.minimum(1.0, 1.0 / (norm + 1e-30)))
        blank = _lbfgs().init(trial)  # what was seen of another curvature is forgotten
        memory = jax.tree.map(partial(jnp.where, uphill), memory, blank)
        promise = 0.5 * scale * (grad @ direction)
        return climb._replace(
            position=trial,
            value=value,
            grad=grad,
            direction=direction,
            length=scale.astype(trial.dtype),
            memory=memory,
            shrinks=jnp.zeros((), int),
            promise=promise,
            stopped=promise < tolerance,
        )

    def shrink() -> Climb:
        return climb._replace(
            length=_SHRINK * climb.length,
            shrinks=climb.shrinks + 1,
            stopped=climb.shrinks + 1 >= _MOST_SHRINKS,
        )

    moved = jax.tree.map(partial(jnp.where, taken), go_on(), shrink())
    return moved._replace(evaluations=climb.evaluations + 1)


class Top(NamedTuple):
    """Where Newton's method has ended, on the host.

    Attributes:
        position: (d,).
        value: of the objective.
        hessian: (d, d).
        promise: nats that a full Newton step still promises; inf where the Hessian is not
            negative definite.
    """

    position: np.ndarray
    value: float
    hessian: np.ndarray
    promise: float


@partial(jitted, static=("user",))
def _curved(program: Program, x: Array, user: bool) -> tuple[Array, Array, Array]:
    fn = partial(objective, program, user=user)
    value, grad = jax.value_and_grad(fn)(x)
    try:
        return value, grad, jax.hessian(fn)(x)
    except TypeError:  # a part with a reverse-mode derivative of its own only
        return value, grad, jax.jacrev(jax.grad(fn))(x)


def topped(program: Program, x: np.ndarray, user: bool) -> Top:
    """Newton's method from a position near the top, as long as it gains."""
    best: Top | None = None
    trial = np.asarray(x)
    for _ in range(_NEWTON):
        value, grad, hessian = (np.asarray(v, float) for v in _curved(program, trial, user))
        better = best is None or (np.isfinite(value) and value >= best.value - 1e-9)
        if not better or not np.isfinite(hessian).all():
            break
        step, promise = _newton_step(grad, hessian)
        gains = best is None or promise < 0.5 * best.promise
        if gains:
            best = Top(np.asarray(trial, float), float(value), hessian, promise)
        if not gains or not np.isfinite(promise) or promise < 1e-20:
            break
        trial = (best.position + step).astype(x.dtype) if best is not None else trial
    if best is None:
        size = len(x)
        return Top(np.asarray(x, float), -np.inf, np.full((size, size), np.nan), np.inf)
    return best


def _newton_step(grad: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, float]:
    try:
        np.linalg.cholesky(-hessian)
    except np.linalg.LinAlgError:
        return np.zeros_like(grad), np.inf
    step = np.linalg.solve(-hessian, grad)
    return step, float(0.5 * grad @ step)


def _lbfgs() -> Any:
    import optax

    return optax.scale_by_lbfgs(memory_size=_MEMORY, scale_init_precond=True)
