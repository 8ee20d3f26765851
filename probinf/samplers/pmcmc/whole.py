"""Particle Gibbs where every particle holds its whole past, as texts of language models do."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import layout_of
from probinf.core.filtering import first_step, next_step
from probinf.core.population import Population, effective_sample_size, normalise
from probinf.core.program import Data, Key, Position, Program
from probinf.core.resampling import inverse_cdf
from probinf.core.sequence import Sequence, particle_filter
from probinf.core.state_space import State
from probinf.errors import MethodError, ZeroLikelihoodError
from probinf.results.collecting import Transition
from probinf.runtime.method import Run
from probinf.samplers.pmcmc.conditional import Refresh, drawn
from probinf.samplers.pmcmc.filtering import steps_of
from probinf.samplers.warmup.starting import found_start

_BELOW = 0.5  # share of effective particles below which they are drawn anew


class WholeSweep(NamedTuple):
    """A chain of whole paths.

    Attributes:
        x: the path, as a position of the program.
        renewed: of the shape of ``x``, sweeps after the warm-up in which each entry has changed.
        faults: what the filters noted of weights that were no numbers.
    """

    x: Position
    renewed: Position
    faults: Any


class _Start(NamedTuple):
    logdensity: Float[Array, ""]


def holds_past(program: Program) -> bool:
    """Whether one particle is a whole path, and can be held in a filter."""
    return hasattr(program.state_space, "holding")


def check_options(refresh: Refresh, moves_only_states: bool) -> None:
    """Refuse what has no meaning for whole paths.

    Raises:
        MethodError: backward sampling, or a kernel of parameters that do not exist.
    """
    if refresh == "backward":
        raise MethodError(
            "ParticleGibbs(refresh='backward'): a particle of this program holds its whole past, "
            "so that all generations would have to be stored. Use refresh='ancestor'."
        )
    if not moves_only_states:
        raise MethodError(
            "ParticleGibbs: kernel=, moves= and metric= move parameters, and this program has "
            "none; leave them out."
        )


def keeping_the_first(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Independent draws by weight, but particle 0 descends from itself.

    Source: Andrieu, Doucet & Holenstein (2010), section 4.3.
    """
    u = jax.random.uniform(key, weights.shape, weights.dtype)
    return inverse_cdf(weights, u).at[0].set(0)


def conditional(
    key: Key,
    space: Any,
    data: Data,
    held: Position,
    particles: int,
    *,
    resample_below: float = _BELOW,
    refresh: Refresh = "ancestor",
) -> Population:
    """A filter whose first particle is a given path from beginning to end.

    Drawing one of its particles by weight leaves the program's law invariant. With ancestor
    sampling the path's rest goes on behind another beginning wherever particles are drawn anew,
    so that its early part changes as well; the held path is then another one at every step, and
    ``log_z`` bounds nothing.

    Args:
        key: random key.
        space: ``Program.state_space`` that can hold a path.
        data: of the program.
        held: the path, a position of positive mass.
        particles: the held one included.
        resample_below: resample when the ESS falls below this share of the particles.
        refresh: ``"ancestor"`` or ``"none"``.

    Source: Andrieu, Doucet & Holenstein (2010); Lindsten, Jordan & Schon (2014), section 4.1.
    """
    first, rest = jax.random.split(key)
    path = space.read(held, data) if refresh == "ancestor" else None
    cloud = first_step(first, space.holding(held, data), particles).cloud

    def renewed(cloud: Population, held: Any, path: Any, t: Array, key: Key) -> Any:
        """Another beginning for the held path, and the particle that it comes from."""

        def chosen(_: Any) -> Any:
            ahead, x = space.ahead(cloud.x, t, path, data)
            found = drawn(key, normalise(cloud.log_w) + ahead)
            return x, space.spliced(x, found, t, path, data), found.astype(int)

        def same(_: Any) -> Any:
            return cloud.x, path, jnp.zeros((), int)

        if resample_below >= 1:
            x, path, parent = chosen(None)
        else:
            few = effective_sample_size(cloud.log_w) < resample_below * particles
            x, path, parent = jax.lax.cond(few, chosen, same, None)
        return cloud._replace(x=x), space.path_of(path), path, parent

    def advance(carry: Any, item: Any) -> tuple[Any, None]:
        cloud, held, path = carry
        t, key, value = item
        key, own = jax.random.split(key)
        parent = jnp.zeros((), int)
        if refresh == "ancestor":
            cloud, held, path, parent = renewed(cloud, held, path, t, own)

        def resampler(key: Key, weights: Array) -> Array:
            chosen = keeping_the_first(key, weights)
            if refresh == "none":
                return chosen
            return chosen.at[0].set(parent.astype(chosen.dtype))

        after = next_step(
            key,
            space.holding(held, data),
            cloud,
            value,
            resampler=resampler,
            resample_below=resample_below,
        )
        return (after.cloud, held, path), None

    sequence = space.holding(held, data)
    steps = steps_of(sequence)
    items = (jnp.arange(steps), jax.random.split(rest, steps), sequence.inputs)
    return jax.lax.scan(advance, (cloud, held, path), items)[0][0]


def begin(key: Key, program: Program, particles: int) -> tuple[WholeSweep, Bool[Array, ""]]:
    """A path of a particle filter, which is run again while it loses all its particles."""
    space: Any = program.state_space
    sequence = _alone(program)

    def attempt(key: Key, tries: Any) -> tuple[_Start, WholeSweep]:
        run, pick = jax.random.split(key)
        cloud = particle_filter(run, sequence, particles)
        x = space.position_at(cloud.x, drawn(pick, cloud.log_w))
        return _Start(cloud.log_z), WholeSweep(x, _zeros(x), space.faults(cloud.x))

    return found_start(attempt, key)


def transition(
    key: Key, program: Program, own: WholeSweep, particles: int, refresh: Refresh, kept: Any
) -> tuple[WholeSweep, Transition]:
    """A new path, drawn beside the old one.

    Args:
        key: random key.
        program: on flat positions.
        own: the chain.
        particles: of the conditional filter.
        refresh: of early parts.
        kept: whether the sweep counts.
    """
    space: Any = program.state_space
    run, pick = jax.random.split(key)
    cloud = conditional(run, space, program.data, own.x, particles, refresh=refresh)
    index = drawn(pick, cloud.log_w)
    x = space.position_at(cloud.x, index)
    changed = jax.tree.map(lambda a, b: (a != b).astype(int), x, own.x)
    renewed = jax.tree.map(lambda n, c: n + jnp.where(kept, c, 0), own.renewed, changed)
    moved = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(changed)])
    stats = {
        "log_density": space.log_density(cloud.x, program.data)[index],
        "evaluations": jnp.asarray(particles * (steps_of(_alone(program)) + 1)),
        "lost": jnp.zeros((), int),
        "renewed": moved.mean(),
    }
    faults = space.sooner(own.faults, space.faults(cloud.x))
    return WholeSweep(x, renewed, faults), Transition(layout_of(program).ravel(x), stats)


def check_end(run: Run, particles: int) -> None:
    """Raise where chains have no start, or a weight was no number.

    Raises:
        ZeroLikelihoodError: filters lose all their particles, with the step at which.
        RewardError: as the program says.
    """
    space: Any = run.program.state_space
    if not np.asarray(run.states.started).all():
        raise _dying(run.program, particles)
    space.refuse_faults(run.states.own.faults, run.program)


def share_renewed(run: Run, sweeps: int) -> np.ndarray:
    """(chain, entries) share of the sweeps in which each entry of the path has changed."""
    leaves = jax.tree.leaves(run.states.own.renewed)
    flat = [np.asarray(leaf, float).reshape(leaf.shape[0], -1) for leaf in leaves]
    return np.concatenate(flat, axis=1) / sweeps


def _dying(program: Program, particles: int) -> ZeroLikelihoodError:
    space: Any = program.state_space

    @jax.jit
    def masses(key: Key, sequence: Sequence) -> Any:
        first, rest = jax.random.split(key)
        begun = first_step(first, sequence, particles)

        def advance(cloud: Population, item: Any) -> tuple[Population, Array]:
            after = next_step(
                item[0],
                sequence,
                cloud,
                item[1],
                resampler=keeping_the_first,
                resample_below=_BELOW,
            )
            return after.cloud, after.increment

        keys = jax.random.split(rest, steps_of(sequence))
        last, later = jax.lax.scan(advance, begun.cloud, (keys, sequence.inputs))
        return jnp.concatenate([begun.increment[None], later]), space.faults(last.x)

    found, faults = masses(jax.random.key(0), _alone(program))
    space.refuse_faults(faults, program)
    dead = np.flatnonzero(np.isneginf(np.asarray(found)))
    return space.nothing_left(int(dead[0]) if dead.size else 0, particles, 1, "ParticleGibbs")


def _alone(program: Program) -> Sequence:
    """The program's sequence, for filters that hold nothing."""
    space: Any = program.state_space
    sequence = space(program.data).sequence
    return dataclasses.replace(sequence, data=({}, sequence.data))


def _zeros(x: State) -> State:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, int), x)
