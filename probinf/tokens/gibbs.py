"""Conditional filters: one text is held while others are drawn beside it; particle Gibbs."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from probinf.core.compiling import jitted
from probinf.core.filtering import first_step, next_step
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.population import Population
from probinf.core.program import Key, Program
from probinf.core.resampling import inverse_cdf
from probinf.core.state_space import Sequence
from probinf.errors import StructureError
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData
from probinf.fronts.tokens.program import sizes_of
from probinf.fronts.tokens.sequence import Given, replayed, sequence_of
from probinf.fronts.tokens.stepping import first_step as first_tokens
from probinf.fronts.tokens.stepping import next_step as next_tokens
from probinf.tokens.tails import (
    Text,
    TextChains,
    moved,
    refuse,
    starting,
    text_of,
    with_fault,
    without_ramp,
)


@dataclasses.dataclass(frozen=True)
class _StartHeld:
    sizes: Sizes

    def __call__(self, key: Key, n: int, data: Any) -> tuple[Rows, Array]:
        own, held = data
        step = jax.tree.map(lambda leaf: leaf[0], own.steps)
        found = first_tokens(key, n, self.sizes, own, step, Given(held))
        return found.rows, found.gained


@dataclasses.dataclass(frozen=True)
class _ExtendHeld:
    sizes: Sizes

    def __call__(self, key: Key, states: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        own, held = data
        found = next_tokens(key, states, self.sizes, own, value, Given(held))
        return found.rows, found.gained


def keeping_the_first(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Independent draws by weight, but particle 0 descends from itself.

    Source: Andrieu, Doucet & Holenstein (2010), section 4.3.
    """
    u = jax.random.uniform(key, weights.shape, weights.dtype)
    return inverse_cdf(weights, u).at[0].set(0)


def conditional_filter(
    key: int | Key,
    program: Program,
    held: Any,
    particles: int,
    *,
    resample_below: float = 0.5,
) -> Population:
    """A filter whose first particle is a given text from beginning to end.

    Drawing one of the particles by weight leaves the program's law invariant. Where the text is
    itself a draw of that law, ``exp(-log_z)`` is unbiased for one by the mass, so that the mean
    of ``log_z`` bounds the log mass from above, as that of a filter does from below.

    Args:
        key: random key or seed.
        program: of ``from_language_model``.
        held: (T,) tokens of a text of positive mass.
        particles: the held one included; at least 2.
        resample_below: resample when the ESS falls below this share of the particles.

    Raises:
        StructureError: this is no token program, or ``held`` has another shape.

    Source: Andrieu, Doucet & Holenstein (2010); both bounds: Grosse, Ghahramani & Adams (2015).
    """
    sizes = sizes_of(program)
    at_least(2, particles=particles)
    tokens = jnp.asarray(held, jnp.int32)
    if tokens.shape != (sizes.max_tokens,):
        raise StructureError(
            f"conditional_filter: held must have shape (max_tokens,) = ({sizes.max_tokens},), got "
            f"{tokens.shape}."
        )
    return _conditional(
        as_key(key), program.data, tokens, sizes, particles, resample_below=float(resample_below)
    )


@partial(jitted, static=("sizes", "particles", "resample_below"))
def _conditional(
    key: Key,
    data: TokenData,
    held: Int[Array, " t"],
    sizes: Sizes,
    particles: int,
    resample_below: float,
) -> Population:
    plain = sequence_of(sizes, data)
    sequence: Sequence = dataclasses.replace(
        plain,
        data=(data, held[None]),
        start_all=_StartHeld(sizes),
        extend_all=_ExtendHeld(sizes),
    )
    first, rest = jax.random.split(key)
    cloud = first_step(first, sequence, particles).cloud

    def advance(cloud: Population, item: tuple[Key, Step]) -> tuple[Population, None]:
        after = next_step(
            item[0],
            sequence,
            cloud,
            item[1],
            resampler=keeping_the_first,
            resample_below=resample_below,
        )
        return after.cloud, None

    keys = jax.random.split(rest, plain.inputs.number.shape[0])
    return jax.lax.scan(advance, cloud, (keys, sequence.inputs))[0]


def particle_gibbs(
    program: Program,
    *,
    key: int | Key,
    particles: int = 16,
    chains: int = 4,
    draws: int = 200,
    moves: int = 1,
    start: Any = None,
    resample_below: float = 0.5,
) -> TextChains:
    """Chains of texts: each is held in a conditional filter, from which the next one is drawn.

    Early tokens change less often than late ones, since few particles of the beginning survive;
    moves of tails between the filters change them all.

    Args:
        program: of ``from_language_model``.
        key: random key or seed.
        particles: of each filter, the held text included.
        chains: independent ones, in turn.
        draws: texts kept of each chain, one per filter.
        moves: of :func:`~probinf.tokens.tail_metropolis` after each filter.
        start: (chains, T) texts of positive mass; by default those of the proposal.
        resample_below: as of ``ParticleFilter``.

    Raises:
        StructureError: this is no token program.
        ZeroLikelihoodError: a starting text has mass zero.
        RewardError: a potential was no number, at whichever text was tried.

    Source: Andrieu, Doucet & Holenstein (2010), section 2.4.3; for rewards of steps: Puri et al.
    (2025), arXiv 2502.01618.
    """
    sizes = sizes_of(program)
    at_least(1, chains=chains, draws=draws)
    at_least(0, moves=moves)
    at_least(2, particles=particles)
    begin, rest = jax.random.split(as_key(key))
    data = program.data
    current = starting("particle_gibbs", begin, program, start, chains)
    found, accepted = _sweeps(
        jax.random.split(rest, chains),
        current,
        data,
        sizes=sizes,
        resample_below=float(resample_below),
        particles=particles,
        draws=draws,
        moves=moves,
    )
    refuse(program, found)
    parts = (found.tokens, found.length, found.log_prob, found.log_potential, accepted)
    return TextChains(*(np.asarray(v) for v in parts))


@partial(jitted, static=("sizes", "resample_below", "particles", "draws", "moves"))
def _sweeps(
    keys: Key,
    current: Text,
    data: TokenData,
    *,
    sizes: Sizes,
    resample_below: float,
    particles: int,
    draws: int,
    moves: int,
) -> tuple[Text, Array]:
    plain = without_ramp(data)

    def sweep(held: Text, key: Key) -> tuple[Text, tuple[Text, Array]]:
        filter_key, pick, move_key = jax.random.split(key, 3)
        cloud = _conditional(filter_key, data, held.tokens[0], sizes, particles, resample_below)
        chosen = jax.random.categorical(pick, cloud.log_w)
        after = text_of(replayed(cloud.x.tokens[chosen][None], sizes, plain))
        after = with_fault(after, held, jax.tree.map(lambda leaf: leaf[:1], cloud.x))
        changed = (after.tokens != held.tokens).any()
        for k in range(moves):
            after, accepted = moved(jax.random.fold_in(move_key, k), after, sizes, plain)
            changed |= accepted[0]
        return after, (after, changed.astype(float))

    def chain(item: tuple[Key, Text]) -> tuple[Text, Array]:
        key, first = item
        one = jax.tree.map(lambda leaf: leaf[None], first)
        found, changed = jax.lax.scan(sweep, one, jax.random.split(key, draws))[1]
        return jax.tree.map(lambda leaf: leaf[:, 0], found), changed

    return jax.lax.map(chain, (keys, current))
