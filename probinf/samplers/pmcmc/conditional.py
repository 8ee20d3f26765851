"""Conditional SMC: a new path given an old one, leaving the law of paths invariant."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from probinf.core.population import no_nan, normalise
from probinf.core.program import Key
from probinf.core.resampling import inverse_cdf
from probinf.core.sequence import Sequence, State
from probinf.samplers.pmcmc.filtering import steps_of, traced_back

Refresh = Literal["ancestor", "backward", "none"]


def conditional_smc(
    key: Key,
    sequence: Sequence,
    reference: State,
    particles: int,
    *,
    refresh: Refresh = "ancestor",
) -> State:
    """A path drawn given another one, by a kernel that leaves the law of paths invariant.

    The law is the sequence's, normalised: states given all data. Particle 0 is the reference in
    every generation; the others are drawn independently by weight (multinomial resampling), for
    which holding one of them needs no correction.

    Args:
        key: random key.
        sequence: the model, with ``weigh_start`` and ``weigh``, and ``log_transition`` unless
            ``refresh="none"``.
        reference: path, leading axis time (one more than the sequence has inputs), of positive
            density.
        particles: of each generation, the reference included; at least 2.
        refresh: how early states are renewed, which share few ancestors: ``"ancestor"`` draws a
            new past for the reference at every step, ``"backward"`` draws the new path
            backwards through all generations, ``"none"`` traces ancestors only, so that early
            states hardly ever move.

    Source: Andrieu, Doucet & Holenstein (2010), section 4.3; ancestor sampling: Lindsten, Jordan
    & Schon (2014); backward sampling: Whiteley (2010).
    """
    first_key, rest, pick_key, back_key = jax.random.split(key, 4)
    length = steps_of(sequence)
    state, log_w = _first(first_key, sequence, _at(reference, 0), particles)
    log_w = normalise(log_w)

    def step(carry: Any, item: Any) -> tuple[Any, Any]:
        state, log_w = carry
        key, value, held = item
        choose, move, ancestor = jax.random.split(key, 3)
        parents = _resampled(choose, jnp.exp(log_w))
        if refresh == "ancestor":
            logits = _ancestor_logits(sequence, state, log_w, held, value)
            parents = parents.at[0].set(drawn(ancestor, logits).astype(parents.dtype))
        after, increment = _next(move, sequence, state, parents, held, value)
        return (after, normalise(increment)), (state, log_w, parents)

    later = jax.tree.map(lambda leaf: leaf[1:], reference)
    keys = jax.random.split(rest, length)
    (last, log_w), stored = jax.lax.scan(step, (state, log_w), (keys, sequence.inputs, later))
    states, weights, parents = stored
    chosen = drawn(pick_key, log_w)
    if refresh == "backward":
        return _backwards(back_key, sequence, states, weights, _at(last, chosen))
    return traced_back(states, parents, last, chosen)


def conditional_likelihood(
    key: Key, sequence: Sequence, reference: State, particles: int
) -> Float[Array, ""]:
    """Log likelihood estimated by conditional SMC around a path.

    For a path drawn from its law given the data it is distributed as the estimate of a filter
    that resamples independently at every step, reweighted by that estimate itself: what a chain
    of PMMH with such filters holds where it stands.

    Args:
        key: random key.
        sequence: the model, with ``weigh_start`` and ``weigh``.
        reference: path, leading axis time.
        particles: of each generation, the reference included.

    Source: Andrieu, Doucet & Holenstein (2010), theorem 2 and section 4.3.
    """
    first_key, rest = jax.random.split(key)
    state, log_w = _first(first_key, sequence, _at(reference, 0), particles)

    def step(carry: Any, item: Any) -> tuple[Any, Array]:
        state, log_w = carry
        key, value, held = item
        choose, move = jax.random.split(key)
        parents = _resampled(choose, jnp.exp(normalise(log_w)))
        after, increment = _next(move, sequence, state, parents, held, value)
        return (after, increment), logsumexp(increment)

    later = jax.tree.map(lambda leaf: leaf[1:], reference)
    keys = jax.random.split(rest, steps_of(sequence))
    _, masses = jax.lax.scan(step, (state, log_w), (keys, sequence.inputs, later))
    return logsumexp(log_w) + masses.sum() - (masses.size + 1) * jnp.log(particles)


def path_density(sequence: Sequence, path: State) -> Float[Array, ""]:
    """Log density of a path and all data, with ``log_start`` and ``log_transition``."""
    assert sequence.log_start is not None and sequence.log_transition is not None
    head = sequence.log_start(_at(path, 0), sequence.data)
    before = jax.tree.map(lambda leaf: leaf[:-1], path)
    after = jax.tree.map(lambda leaf: leaf[1:], path)
    steps = jax.vmap(sequence.log_transition, (0, 0, 0, None))(
        before, after, sequence.inputs, sequence.data
    )
    return head + jnp.sum(steps)


def drawn(key: Key, log_w: Float[Array, " n"]) -> Int[Array, ""]:
    """One index by weight."""
    return inverse_cdf(jnp.exp(normalise(log_w)), jax.random.uniform(key, (1,), log_w.dtype))[0]


def _first(
    key: Key, sequence: Sequence, held: State, particles: int
) -> tuple[State, Float[Array, " n"]]:
    state, log_w = sequence.first(key, particles)
    assert sequence.weigh_start is not None
    log_w = log_w.at[0].set(sequence.weigh_start(held, sequence.data))
    return _with(state, held), no_nan(log_w)[0]


def _next(
    key: Key,
    sequence: Sequence,
    state: State,
    parents: Int[Array, " n"],
    held: State,
    value: Any,
) -> tuple[State, Float[Array, " n"]]:
    """The next generation, the reference among it, and what the step gives to log weights."""
    before = jax.tree.map(lambda leaf: leaf[parents], state)
    after, increment = sequence.next(key, before, value)
    assert sequence.weigh is not None
    own = sequence.weigh(_at(before, 0), held, value, sequence.data)
    return _with(after, held), no_nan(increment.at[0].set(own))[0]


def _resampled(key: Key, weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Independent draws by weight; the reference is its own parent."""
    u = jax.random.uniform(key, weights.shape, weights.dtype)
    return inverse_cdf(weights, u).at[0].set(0)


def _ancestor_logits(
    sequence: Sequence, state: State, log_w: Float[Array, " n"], held: State, value: Any
) -> Float[Array, " n"]:
    """Log weights of every particle as the past of the reference's next state."""
    assert sequence.log_transition is not None
    ahead = jax.vmap(sequence.log_transition, (0, None, None, None))(
        state, held, value, sequence.data
    )
    return log_w + no_nan(ahead)[0]


def _backwards(
    key: Key, sequence: Sequence, states: State, weights: Float[Array, "steps n"], last: State
) -> State:
    def back(ahead: State, item: Any) -> tuple[State, State]:
        key, state, log_w, value = item
        index = drawn(key, _ancestor_logits(sequence, state, log_w, ahead, value))
        here = _at(state, index)
        return here, here

    keys = jax.random.split(key, weights.shape[0])
    _, path = jax.lax.scan(back, last, (keys, states, weights, sequence.inputs), reverse=True)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), path, last)


def _at(tree: State, index: Any) -> State:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _with(state: State, held: State) -> State:
    """The generation with the reference as its particle 0."""
    return jax.tree.map(lambda leaf, own: leaf.at[0].set(own), state, held)
