"""How noisy a filter's log likelihood is, and how many particles make it calm enough."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf import kernels
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten, restored, vector_of
from probinf.core.program import Key, Program
from probinf.errors import ImproperPriorError, ZeroLikelihoodError
from probinf.runtime.lanes import advance_lane, start_lane
from probinf.samplers.pmcmc.filtering import Filter, log_likelihood, spread, steps_of, traced
from probinf.samplers.pmcmc.refreshing import Refreshing
from probinf.samplers.pmcmc.space import given, parameters_of
from probinf.samplers.pmcmc.target import target

AIM = 1.5
"""Variance of the log likelihood that particles are chosen for."""

NOISY = 4.0
"""Variance above which chains stick."""

_FIRST, _FEWEST, _MOST = 128, 16, 2**16
_FILTERS = 64
_WALK = Refreshing(kernels.RandomWalk(target_acceptance=0.15), chains=1, warmup=300, draws=200)


class Settled(NamedTuple):
    """What a pilot found.

    Attributes:
        particles: of the filter.
        variance: of the log likelihood with so many, at the centre of a short run.
    """

    particles: int
    variance: float


def settle(program: Program, options: Filter, blocks: int, key: Key) -> Settled:
    """A number of particles for which the variance of the log likelihood is about 1.5.

    A short random walk finds the bulk of the posterior; filters at its median say how noisy
    they are, which falls like one over their particles.

    Args:
        program: with states.
        options: of the filter; its number of particles is not used.
        blocks: of random numbers; with several of them what counts is half the variance of the
            change when one is renewed.
        key: of the pilot.

    Raises:
        ZeroLikelihoodError: filters lose all particles wherever the walk starts.

    Source: Doucet, Pitt, Deligiannidis & Kohn (2015), who find 1 to 3 best.
    """
    walk_key, noise_key = jax.random.split(key)
    first = options._replace(particles=_FIRST)
    flat, _ = flatten(target(program, first, blocks))
    positions, started = _walked(flat, walk_key)
    if not bool(started):
        raise dying(program, first, "the pilot found no starting point")
    centre = jnp.median(vector_of(restored(positions)), axis=0)
    count, found = _FIRST, np.inf
    for k in range(4):
        found = noise(program, options._replace(particles=count), blocks, centre, k, noise_key)
        if AIM / 4 < found <= 1.5 * AIM or count == _MOST:
            break
        wanted = count * (found / AIM if np.isfinite(found) else 8.0)
        after = int(np.clip(2 ** np.ceil(np.log2(max(wanted, 1.0))), _FEWEST, _MOST))
        if after == count:
            break
        count = after
    else:
        found = noise(program, options._replace(particles=count), blocks, centre, 4, noise_key)
    return Settled(count, float(found))


@jitted
def _walked(flat: Program, key: Key) -> tuple[Any, Any]:
    total = _WALK.warmup + _WALK.draws
    lane = start_lane(_WALK, flat, key)
    lane, records, _ = advance_lane(_WALK, flat, lane, total, total)
    positions = jax.tree.map(lambda leaf: leaf[_WALK.warmup :], records.position)
    return positions, lane.state.started


def noise(
    program: Program, options: Filter, blocks: int, centre: Any, index: int, key: Key
) -> float:
    """Variance of the log likelihood at one position, or half that of its change in a block.

    Infinite where a filter loses all particles.
    """
    values = np.asarray(
        _estimates(program, centre, jax.random.fold_in(key, index), options, blocks), float
    )
    if not np.isfinite(values).all():
        return float(np.inf)
    if blocks == 1:
        return float(values[:, 0].var(ddof=1))
    return float(np.mean((values[:, 1] - values[:, 0]) ** 2) / 2)


@partial(
    jitted,
    static=(
        "options",
        "blocks",
    ),
)
def _estimates(program: Program, vector: Any, key: Key, options: Filter, blocks: int) -> Any:
    """Pairs of log likelihoods, the second with one block of random numbers renewed."""
    assert program.state_space is not None
    space = program.state_space(program.data)
    _, layout = flatten(parameters_of(program))
    sequence = given(space, layout.unravel(vector))

    def one(keys: Key) -> Any:
        return log_likelihood(spread(keys, steps_of(sequence)), sequence, options)

    def pair(key: Key) -> Any:
        keys = jax.random.split(key, blocks + 1)
        first = one(keys[:-1])
        return first, one(keys[:-1].at[0].set(keys[-1])) if blocks > 1 else first

    return jnp.stack(jax.lax.map(pair, jax.random.split(key, _FILTERS)), axis=1)


def dying(program: Program, options: Filter, happened: str) -> ZeroLikelihoodError:
    """The error to raise, with the step at which filters lose all particles."""
    died = np.asarray(_deaths(program, jax.random.key(0), options._replace(particles=_FIRST)))
    steps = died[died >= 0]
    if not steps.size:
        return ZeroLikelihoodError(
            f"{happened}, although filters survive at draws of the prior: look at the density of "
            "the states (log_start, log_transition) and at the prior with pi.check(program)."
        )
    most = int(steps.max())
    return ZeroLikelihoodError(
        f"{happened}: all {_FIRST} particles of the filter have weight zero at time step t={most} "
        f"(the first is 0), if not before, at {steps.size} of {died.size} draws of the prior. The "
        "observation there is impossible, or NaN, under every state that was proposed: give the "
        "emission heavier tails, declare the observation missing, or use more particles."
    )


@partial(jitted, static=("options",))
def _deaths(program: Program, key: Key, options: Filter) -> Any:
    """The step at which the filter dies at each of 32 draws of the prior; -1 where it does not."""
    assert program.state_space is not None
    space = program.state_space(program.data)
    drawn = space.prior.draw
    try:
        jax.eval_shape(drawn, key, space.prior.data)
    except ImproperPriorError:
        drawn = space.prior.start

    def one(key: Key) -> Any:
        first, second = jax.random.split(key)
        sequence = given(space, drawn(first, space.prior.data))
        keys = spread(jax.random.split(second, 1), steps_of(sequence))
        dead = ~jnp.isfinite(traced(keys, sequence, options).log_increments)
        return jnp.where(dead.any(), jnp.argmax(dead), -1)

    return jax.lax.map(one, jax.random.split(key, 32))
