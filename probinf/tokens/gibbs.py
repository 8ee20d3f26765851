"""Conditional filters: one text is held while others are drawn beside it; particle Gibbs."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.compiling import jitted
from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.keys import as_key
from probinf.core.population import Population
from probinf.core.program import Key, Program
from probinf.errors import StructureError
from probinf.fronts.tokens.data import TokenData
from probinf.fronts.tokens.program import sizes_of
from probinf.fronts.tokens.sequence import replayed
from probinf.lm.prompts import checked_tokens
from probinf.samplers.pmcmc.whole import conditional
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
        ArrayError: ``held`` has tokens outside the vocabulary.

    Source: Andrieu, Doucet & Holenstein (2010); both bounds: Grosse, Ghahramani & Adams (2015).
    """
    sizes = sizes_of(program)
    at_least(2, particles=particles)
    given = np.asarray(held)
    if given.shape != (sizes.max_tokens,):
        raise StructureError(
            f"conditional_filter: held must have shape (max_tokens,) = ({sizes.max_tokens},), got "
            f"{given.shape}."
        )
    vocab_size = program.data.lm.vocab_size
    tokens = jnp.asarray(checked_tokens("conditional_filter: held", given, vocab_size))
    return _conditional(
        as_key(key),
        program.data,
        tokens,
        space=program.state_space,
        particles=particles,
        resample_below=float(resample_below),
    )


@partial(jitted, static=("space", "particles", "resample_below"))
def _conditional(
    key: Key, data: TokenData, held: Any, space: Any, particles: int, resample_below: float
) -> Population:
    return conditional(
        key,
        space,
        data,
        {"tokens": held},
        particles,
        resample_below=resample_below,
        refresh="none",
    )


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
    refresh: Literal["ancestor", "none"] = "none",
) -> TextChains:
    """Chains of texts: each is held in a conditional filter, from which the next one is drawn.

    Early tokens change less often than late ones, since few particles of the beginning survive;
    moves of tails between the filters, or ancestor sampling, change them all.
    ``pi.sample(program, pi.ParticleGibbs(...))`` gives such chains, without the moves, as a
    Posterior.

    Args:
        program: of ``from_language_model``.
        key: random key or seed.
        particles: of each filter, the held text included.
        chains: independent ones, in turn.
        draws: texts kept of each chain, one per filter.
        moves: of :func:`~probinf.tokens.tail_metropolis` after each filter.
        start: (chains, T) texts of positive mass; by default those of the proposal.
        resample_below: as of ``ParticleFilter``.
        refresh: ``"ancestor"`` sampling, for which the model reads the rest of the held text
            behind every beginning, or ``"none"``.

    Raises:
        StructureError: this is no token program.
        MethodError: an option is out of range.
        ZeroLikelihoodError: a starting text has mass zero.
        RewardError: a potential was no number, at whichever text was tried.

    Source: Andrieu, Doucet & Holenstein (2010), section 2.4.3; for rewards of steps: Puri et al.
    (2025), arXiv 2502.01618.
    """
    sizes_of(program)
    at_least(1, chains=chains, draws=draws)
    at_least(0, moves=moves)
    at_least(2, particles=particles)
    check_choice("refresh", refresh, ("ancestor", "none"))
    begin, rest = jax.random.split(as_key(key))
    data = program.data
    current = starting("particle_gibbs", begin, program, start, chains)
    found, accepted = _sweeps(
        jax.random.split(rest, chains),
        current,
        data,
        space=program.state_space,
        refresh=refresh,
        resample_below=float(resample_below),
        particles=particles,
        draws=draws,
        moves=moves,
    )
    refuse(program, found)
    parts = (found.tokens, found.length, found.log_prob, found.log_potential, accepted)
    return TextChains(*(np.asarray(v) for v in parts))


@partial(jitted, static=("space", "refresh", "resample_below", "particles", "draws", "moves"))
def _sweeps(
    keys: Key,
    current: Text,
    data: TokenData,
    *,
    space: Any,
    refresh: Any,
    resample_below: float,
    particles: int,
    draws: int,
    moves: int,
) -> tuple[Text, Array]:
    plain, sizes = without_ramp(data), space.sizes

    def sweep(held: Text, key: Key) -> tuple[Text, tuple[Text, Array]]:
        filter_key, pick, move_key = jax.random.split(key, 3)
        cloud = conditional(
            filter_key,
            space,
            data,
            {"tokens": held.tokens[0]},
            particles,
            resample_below=resample_below,
            refresh=refresh,
        )
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
