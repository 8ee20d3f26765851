"""particle_filter: the mass of a sequence; ``marginal`` turns it into a weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.filtering import first_step, next_step
from probinf.core.population import Population
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.resampling import Resampler, systematic
from probinf.core.state_space import Sequence as Sequence
from probinf.core.state_space import State as State
from probinf.core.state_space import StateSpace as StateSpace
from probinf.core.transformations.nesting import nest
from probinf.errors import StructureError


def particle_filter(
    key: Key,
    sequence: Sequence,
    particles: int,
    *,
    resample_below: float = 0.5,
    resampler: Resampler = systematic,
) -> Population:
    """Particle filter: a population over final states whose ``log_z`` is the log likelihood.

    ``exp(log_z)`` is unbiased for the sequence's total mass.

    Args:
        key: random key.
        sequence: the model.
        particles: N.
        resample_below: resample when the ESS falls below this share of N.
        resampler: from ``probinf.resampling``.

    Source: Gordon, Salmond & Smith (1993); unbiasedness: Del Moral (2004), theorem 7.4.2.
    """
    _check_inputs(sequence, "particle_filter")
    first, rest = jax.random.split(key)
    cloud = first_step(first, sequence, particles).cloud

    def advance(cloud: Population, step: tuple[Key, Any]) -> tuple[Population, None]:
        after = next_step(
            step[0],
            sequence,
            cloud,
            step[1],
            resampler=resampler,
            resample_below=resample_below,
        )
        return after.cloud, None

    steps = jax.tree.leaves(sequence.inputs)[0].shape[0]
    keys = jax.random.split(rest, steps)
    return jax.lax.scan(advance, cloud, (keys, sequence.inputs))[0]


@dataclasses.dataclass(frozen=True)
class _MarginalDraw:
    draw: Callable[[Key, Data], Position]

    def __call__(self, key: Key, data: Data) -> tuple[Position, Key]:
        first, second = jax.random.split(key)
        return self.draw(first, data[0]), second


@dataclasses.dataclass(frozen=True)
class _MarginalScore:
    score: Callable[[Position, Data], Score]
    constrain: Callable[[Position, Data], dict[str, Array]]
    start: Callable[..., Any]
    extend: Callable[..., Any]
    particles: int
    all_at_once: tuple[Any, Any] = (None, None)

    def __call__(self, x: tuple[Position, Key], data: Data) -> Score:
        theta, key = x
        prior, (inputs, fixed) = data
        parameters = self.constrain(theta, prior)
        start_all, extend_all = self.all_at_once
        sequence = Sequence(
            self.start,
            self.extend,
            inputs,
            (parameters, fixed),
            start_all=start_all,
            extend_all=extend_all,
        )
        log_base, log_weight = self.score(theta, prior)
        estimate = particle_filter(key, sequence, self.particles).log_z
        return Score(log_base, log_weight + estimate)


@dataclasses.dataclass(frozen=True)
class _OnTheta:
    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        *head, x, data = args
        return self.fn(*head, x[0], data[0])


def marginal(prior: Program, sequence: Sequence, particles: int) -> Program:
    """The measure of the parameters with the states summed out by a particle filter.

    The filter's random key becomes a coordinate, so its noisy likelihood is a deterministic
    weight on ``(theta, key)`` whose average over the key is exact: plain Metropolis on this
    program is particle marginal Metropolis-Hastings, plain SMC is SMC squared.

    Args:
        prior: the parameters' program.
        sequence: its callables receive ``(parameters, sequence.data)`` as data, where
            ``parameters`` is the dict of the prior's constrained sites.
        particles: particles of each filter.

    Raises:
        StructureError: the callables do not return a state and a scalar weight, the state
            changes its shape, or there are no inputs or particles.

    Source: Andrieu & Roberts (2009); Andrieu, Doucet & Holenstein (2010), section 2.4.2.
    """
    if particles < 1:
        raise StructureError(f"marginal: particles must be at least 1, got {particles}.")
    _check_sequence(prior, sequence)
    return nest(
        prior,
        (sequence.inputs, sequence.data),
        draw=_MarginalDraw(prior.draw),
        start=_MarginalDraw(prior.start),
        score=_MarginalScore(
            prior.score,
            prior.constrain,
            sequence.start,
            sequence.extend,
            particles,
            (sequence.start_all, sequence.extend_all),
        ),
        constrain=_OnTheta(prior.constrain),
        simulate=None,
        pointwise=None,
        sites=None,
        observations=None,
    )


def _check_inputs(sequence: Sequence, who: str) -> None:
    """Raise unless the inputs say how many steps there are, at least one."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(sequence.inputs)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if not lengths or lengths == {0}:
        raise StructureError(
            f"{who}: the sequence has no inputs, so its length is unknown; give it one entry "
            "per step (jnp.arange(steps), if nothing is needed)."
        )
    if len(lengths) > 1 or None in lengths:
        shown = ", ".join(map(str, shapes))
        raise StructureError(
            f"{who}: the inputs of the sequence have shapes {shown}; each must have one entry per "
            "step along its first axis."
        )


def _check_sequence(prior: Program, sequence: Sequence) -> None:
    _check_inputs(sequence, "marginal")

    def first(key: Key, theta: Position) -> Any:
        parameters = prior.constrain(theta, prior.data)
        return sequence.start(key, (parameters, sequence.data))

    def second(key: Key, theta: Position, state: State) -> Any:
        parameters = prior.constrain(theta, prior.data)
        value = jax.tree.map(lambda v: jnp.asarray(v)[0], sequence.inputs)
        return sequence.extend(key, state, value, (parameters, sequence.data))

    key, theta = jax.random.key(0), prior.template()
    state = _state_of("start", jax.eval_shape(first, key, theta))
    after = _state_of("extend", jax.eval_shape(second, key, theta, state))
    if _shapes(state) != _shapes(after):
        raise StructureError(
            f"marginal: start returns the state {state}, extend {after}; a step must keep the "
            "state's structure, shapes and dtypes."
        )


def _state_of(name: str, out: Any) -> State:
    if not (isinstance(out, tuple) and len(out) == 2 and jnp.shape(out[1]) == ()):
        raise StructureError(
            f"marginal: {name} must return (state, scalar log weight) for one particle, got {out}."
        )
    return out[0]


def _shapes(state: State) -> Any:
    leaves, structure = jax.tree.flatten(state)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
