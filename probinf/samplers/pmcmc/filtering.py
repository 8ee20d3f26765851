"""Filters whose random numbers are given, step by step, and whose paths can be traced back."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.population import effective_sample_size, no_nan, normalise
from probinf.core.program import Key
from probinf.core.resampling import inverse_cdf, systematic
from probinf.core.sequence import Sequence, State


class Cloud(NamedTuple):
    """The particles of a filter after some of the data.

    Attributes:
        state: leading axis n.
        log_w: (n,), normalised.
        log_z: log of the estimated likelihood of the data so far.
    """

    state: State
    log_w: Float[Array, " n"]
    log_z: Float[Array, ""]


class Filter(NamedTuple):
    """Options of a filter, compared by value.

    Attributes:
        particles: n.
        resample_below: resample when the ESS falls below this share of n.
        ordered: sort the particles before resampling, so that filters with nearly the same
            random numbers stay close to each other.
    """

    particles: int
    resample_below: float = 0.5
    ordered: bool = False

    def begin(self, key: Key, sequence: Sequence) -> Cloud:
        """The first states, weighed."""
        state, log_w = sequence.first(key, self.particles)
        equal = jnp.full_like(log_w, -jnp.log(self.particles))
        return _weighed(state, equal, log_w, jnp.zeros((), log_w.dtype))

    def advance(
        self, key: Key, sequence: Sequence, value: Any, cloud: Cloud
    ) -> tuple[Cloud, Int[Array, " n"]]:
        """One more step, and which particle each of the new ones comes from."""
        n = self.particles
        resample_key, move_key = jax.random.split(key)
        order = jnp.arange(n)
        if self.ordered:
            order = jnp.argsort(_height(cloud.state))
        log_w = cloud.log_w[order]

        def resampled() -> tuple[Array, Array]:
            chosen = systematic(resample_key, jnp.exp(normalise(log_w)))
            return order[chosen].astype(order.dtype), jnp.full_like(log_w, -jnp.log(n))

        low = effective_sample_size(log_w) < self.resample_below * n
        ancestors, log_w = jax.lax.cond(low, resampled, lambda: (order, log_w))
        before = jax.tree.map(lambda leaf: leaf[ancestors], cloud.state)
        state, increment = sequence.next(move_key, before, value)
        return _weighed(state, log_w, increment, cloud.log_z), ancestors


def _weighed(state: State, log_w: Array, increment: Array, log_z: Array) -> Cloud:
    log_w = log_w + no_nan(increment)[0]
    return Cloud(state, normalise(log_w), log_z + jax.scipy.special.logsumexp(log_w))


def _height(state: State) -> Array:
    """The first coordinate of every particle."""
    leaf = jax.tree.leaves(state)[0]
    return leaf.reshape(leaf.shape[0], -1)[:, 0]


def steps_of(sequence: Sequence) -> int:
    """How many steps follow the first."""
    return int(jax.tree.leaves(sequence.inputs)[0].shape[0])


def spread(blocks: Key, steps: int) -> Key:
    """A key for the first states, one for each step, and one that picks the path.

    Args:
        blocks: (b,) keys, each of which moves its own stretch of time.
        steps: after the first.
    """
    count = blocks.shape[0]
    places = jnp.arange(steps + 2)
    return jax.vmap(jax.random.fold_in)(blocks[places * count // (steps + 2)], places)


def log_likelihood(keys: Key, sequence: Sequence, options: Filter) -> Float[Array, ""]:
    """Log of an unbiased estimate of the sequence's total mass.

    Args:
        keys: of ``spread``.
        sequence: the model.
        options: of the filter.

    Source: Gordon, Salmond & Smith (1993); unbiasedness: Del Moral (2004), theorem 7.4.2.
    """

    def step(cloud: Cloud, item: tuple[Key, Any]) -> tuple[Cloud, None]:
        return options.advance(item[0], sequence, item[1], cloud)[0], None

    cloud = options.begin(keys[0], sequence)
    return jax.lax.scan(step, cloud, (keys[1:-1], sequence.inputs))[0].log_z


class Traced(NamedTuple):
    """A filter with all its generations.

    Attributes:
        log_z: log likelihood, estimated.
        path: one path drawn from the filter, leading axis time.
        log_increments: (time,) of ``log_z``.
    """

    log_z: Float[Array, ""]
    path: State
    log_increments: Float[Array, " time"]


def traced(keys: Key, sequence: Sequence, options: Filter) -> Traced:
    """The same filter as ``log_likelihood`` runs, and one of its paths, drawn by weight."""

    def step(cloud: Cloud, item: tuple[Key, Any]) -> tuple[Cloud, Any]:
        after, ancestors = options.advance(item[0], sequence, item[1], cloud)
        return after, (cloud.state, ancestors, after.log_z)

    first = options.begin(keys[0], sequence)
    last, (states, ancestors, log_z) = jax.lax.scan(step, first, (keys[1:-1], sequence.inputs))
    u = jax.random.uniform(keys[-1], (1,), last.log_w.dtype)
    chosen = inverse_cdf(jnp.exp(last.log_w), u)[0]
    path = traced_back(states, ancestors, last.state, chosen)
    every = jnp.concatenate([first.log_z[None], log_z])
    return Traced(last.log_z, path, jnp.diff(every, prepend=jnp.zeros_like(every[:1])))


def traced_back(
    states: State, ancestors: Int[Array, "steps n"], last: State, chosen: Int[Array, ""]
) -> State:
    """The path that ends in a particle of the last generation.

    Args:
        states: of all generations but the last, leading axes (steps, n).
        ancestors: row t leads from generation t + 1 to generation t.
        last: generation.
        chosen: index in it.
    """

    def back(index: Array, row: Any) -> tuple[Array, Any]:
        generation, parents = row
        parent = parents[index]
        return parent, jax.tree.map(lambda leaf: leaf[parent], generation)

    _, earlier = jax.lax.scan(
        back, chosen.astype(ancestors.dtype), (states, ancestors), reverse=True
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[chosen][None]]), earlier, last)
