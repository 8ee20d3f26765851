"""One step of a particle filter: resample, move, weigh; with or without a look ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.population import Population, effective_sample_size, no_nan, normalise
from probinf.core.program import Key
from probinf.core.resampling import Resampler
from probinf.core.state_space import Sequence, State

Lookahead = Callable[[State, Any, Any], Array]
"""``(state, input, data) -> log weight`` of the first stage of an auxiliary filter."""


class Filtered(NamedTuple):
    """What a step of a filter leaves.

    Attributes:
        cloud: the particles, their normalised log weights and the log of the mass so far.
        ancestors: (N,) from which each particle comes.
        before: (N,) normalised log weights that the particles came with, before the step.
        increment: what the step has added to the log of the mass.
        resampled: whether the particles were drawn anew.
        lost: particles whose weight was NaN.
    """

    cloud: Population
    ancestors: Int[Array, " n"]
    before: Float[Array, " n"]
    increment: Float[Array, ""]
    resampled: Bool[Array, ""]
    lost: Int[Array, ""]


def first_step(key: Key, sequence: Sequence, n: int) -> Filtered:
    """``n`` first states."""
    state, log_w = sequence.first(key, n)
    equal = jnp.full((n,), -jnp.log(n), log_w.dtype)
    cloud, increment, lost = _weighed(state, equal, log_w, jnp.zeros((), log_w.dtype))
    return Filtered(cloud, jnp.arange(n), equal, increment, jnp.asarray(False), lost)


def next_step(
    key: Key,
    sequence: Sequence,
    cloud: Population,
    value: Any,
    *,
    resampler: Resampler,
    resample_below: float,
    lookahead: Lookahead | None = None,
) -> Filtered:
    """Particles a step ahead.

    With a look ahead particles are resampled by weights times it, and what it has added is taken
    away again, so that the mass stays unbiased.

    Args:
        key: random key.
        sequence: the model.
        cloud: with normalised log weights.
        value: input of the step.
        resampler: from ``probinf.resampling``.
        resample_below: resample when the ESS falls below this share of N.
        lookahead: log weights of the first stage.

    Source: Gordon, Salmond & Smith (1993); look ahead: Pitt & Shephard (1999), Johansen & Doucet
    (2008).
    """
    n = cloud.log_w.shape[0]
    resample_key, move_key = jax.random.split(key)
    log_w = normalise(cloud.log_w)
    chosen_by = log_w
    if lookahead is not None:
        look = jax.vmap(lookahead, (0, None, None))(cloud.x, value, sequence.data)
        ahead = log_w + no_nan(look)[0]
        chosen_by = jnp.where(jnp.isneginf(ahead).all(), log_w, normalise(ahead))
    needed = effective_sample_size(chosen_by) < resample_below * n if resample_below < 1 else True

    def drawn(_: Any) -> Any:
        ancestors = resampler(resample_key, jnp.exp(chosen_by))
        x = jax.tree.map(lambda leaf: leaf[ancestors], cloud.x)
        equal = jnp.full((n,), -jnp.log(n), log_w.dtype)
        if lookahead is not None:
            equal = equal + (log_w - chosen_by)[ancestors]
        return x, equal, ancestors.astype(int)

    def kept(_: Any) -> Any:
        return cloud.x, log_w, jnp.arange(n)

    x, weights, ancestors = (
        drawn(None) if needed is True else jax.lax.cond(needed, drawn, kept, None)
    )
    state, gained = sequence.next(move_key, x, value)
    after, increment, lost = _weighed(state, weights, gained, cloud.log_z)
    return Filtered(after, ancestors, weights, increment, jnp.asarray(needed), lost)


def _weighed(
    state: State, log_w: Array, gained: Array, log_z: Array
) -> tuple[Population, Array, Array]:
    """The cloud with new weights, what it gained in mass, and how many weights were NaN."""
    clean, lost = no_nan(gained)
    total = log_w + clean
    mass = jax.scipy.special.logsumexp(total)
    return Population(state, normalise(total), log_z + mass), mass, lost
