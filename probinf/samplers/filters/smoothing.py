"""Paths of the states given all observations, from what a filter has stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.batches import mapped
from probinf.core.program import Key
from probinf.core.resampling import inverse_cdf, running_sum
from probinf.core.state_space import Sequence

_AT_ONCE = 2**22  # densities that backward sampling holds at a time


class Stored(NamedTuple):
    """The particles of every step, leading axes (time, N).

    Attributes:
        states: by name.
        log_w: normalised, after the step's observation.
        ancestors: of each particle among those of the step before.
    """

    states: dict[str, Array]
    log_w: Float[Array, "t n"]
    ancestors: Int[Array, "t n"]


def taken(stored: Stored, index: Int[Array, "t m"]) -> dict[str, Array]:
    """The states at these indices, leading axes (path, time)."""

    def one(leaf: Array) -> Array:
        return jnp.swapaxes(jax.vmap(lambda row, i: row[i])(leaf, index), 0, 1)

    return jax.tree.map(one, stored.states)


def last(key: Key, stored: Stored, paths: int) -> Int[Array, " m"]:
    """Particles of the last step, drawn by their weights."""
    return drawn_by(key, stored.log_w[-1], paths)


def drawn_by(key: Key, log_w: Float[Array, " n"], count: int) -> Int[Array, " m"]:
    """``count`` particles by their weights, one from each of as many equal strata."""
    points = (jnp.arange(count) + jax.random.uniform(key, (count,), log_w.dtype)) / count
    return inverse_cdf(jnp.exp(log_w), points)


def genealogy(key: Key, stored: Stored, paths: int) -> Int[Array, "t m"]:
    """The ancestors of particles of the last step.

    Source: Kitagawa (1996).
    """

    def back(index: Array, ancestors: Array) -> tuple[Array, Array]:
        before = ancestors[index]
        return before, before

    end = last(key, stored, paths)
    _, found = jax.lax.scan(back, end, stored.ancestors[1:], reverse=True)
    return jnp.concatenate([found, end[None]])


def fixed_lag(key: Key, stored: Stored, paths: int, lag: int) -> Int[Array, "t m"]:
    """At each step, the ancestors of particles ``lag`` steps later.

    The states of one step have the right law up to what is observed later still; those of
    different steps do not belong together.

    Source: Kitagawa & Sato (2001).
    """
    steps = stored.log_w.shape[0]

    def at(key: Key, t: Array) -> Array:
        until = jnp.minimum(t + lag, steps - 1)
        index = drawn_by(key, stored.log_w[until], paths)

        def back(k: Array, index: Array) -> Array:
            at = until - k
            return jnp.where(at > t, stored.ancestors[at][index], index)

        return jax.lax.fori_loop(0, lag, back, index)

    keys = jax.random.split(key, steps)
    return jax.lax.map(lambda item: at(*item), (keys, jnp.arange(steps)))


def backward(key: Key, sequence: Sequence, stored: Stored, paths: int) -> Int[Array, "t m"]:
    """Backward sampling: each path picks its states by how likely they lead to the next one.

    Exact given the particles; N evaluations for each step of a path.

    Source: Godsill, Doucet & West (2004).
    """
    move = _density(sequence)
    n = stored.log_w.shape[1]
    at_once = max(1, min(paths, _AT_ONCE // n))

    def back(state_after: Any, item: Any) -> Any:
        key, states, log_w, value = item

        def one(item: Any) -> Array:
            key, after = item
            log_m = jax.vmap(move, (0, None, None, None))(states, after, value, sequence.data)
            weights = log_w + jnp.where(jnp.isnan(log_m), -jnp.inf, log_m)
            return _one_of(key, weights)

        keys = jax.random.split(key, paths)
        index = mapped(one, (keys, state_after), at_once)
        return jax.tree.map(lambda leaf: leaf[index], states), index

    first, rest = jax.random.split(key)
    end = last(first, stored, paths)
    after = jax.tree.map(lambda leaf: leaf[-1][end], stored.states)
    keys = jax.random.split(rest, stored.log_w.shape[0] - 1)
    earlier = jax.tree.map(lambda leaf: leaf[:-1], (stored.states, stored.log_w))
    items = (keys, *earlier, sequence.inputs)
    _, found = jax.lax.scan(back, after, items, reverse=True)
    return jnp.concatenate([found, end[None]])


def backward_rejection(
    key: Key, sequence: Sequence, stored: Stored, paths: int
) -> tuple[Int[Array, "t m"], Float[Array, ""]]:
    """Backward sampling by rejection: exact given the particles, most of it without the N.

    Particles are proposed by their weights and accepted by how likely they lead to the next state,
    against a bound that holds for all of them. Rounds of proposals for all paths end when one
    has saved less than it has cost; what is left is drawn at N evaluations each, as ``backward``
    does. When they end depends on how many were accepted, never on which. The second result is
    how far a density was above its bound, which must not be.

    Source: Douc, Garivier, Moulines & Olsson (2011), algorithm 1; the end: Taghavi, Lindsten,
    Svensson & Schon (2013).
    """
    move, peak, n = sequence.log_move, sequence.log_peak, stored.log_w.shape[1]
    assert move is not None and peak is not None  # refused before the run

    def back(after: Any, item: Any) -> Any:
        key, states, log_w, value = item
        tries, rest = jax.random.split(key)
        peaks = jax.vmap(peak, (0, None, None))(states, value, sequence.data)
        possible = log_w > -jnp.inf
        bound = jnp.max(jnp.where(possible, peaks, -jnp.inf))
        ends = running_sum(jnp.exp(log_w))

        def useful(carry: Any) -> Any:
            _, done, gained, _, _ = carry
            return ~done.all() & (gained * n >= paths)

        def tried(carry: Any) -> Any:
            index, done, _, k, over = carry
            draw, accept = jax.random.split(jax.random.fold_in(tries, k))
            u = jax.random.uniform(draw, (paths,), ends.dtype) * ends[-1]
            proposed = jnp.minimum(jnp.searchsorted(ends, u, side="right"), n - 1)
            here = jax.tree.map(lambda leaf: leaf[proposed], states)
            log_m = jax.vmap(move, (0, 0, None, None))(here, after, value, sequence.data)
            u = jax.random.uniform(accept, (paths,), log_m.dtype)
            new = (jnp.log(u) < log_m - bound) & possible[proposed] & ~done
            over = jnp.fmax(over, jnp.max(jnp.where(possible[proposed], log_m - bound, -jnp.inf)))
            return jnp.where(new, proposed, index), done | new, new.sum(), k + 1, over

        nobody = jnp.zeros((paths,), int), jnp.zeros((paths,), bool)
        start = (*nobody, jnp.asarray(paths), 0, jnp.zeros((), bound.dtype))
        index, done, _, _, over = jax.lax.while_loop(useful, tried, start)

        def left(item: Any) -> Array:
            key, index, done, after = item

            def exact() -> Array:
                log_m = jax.vmap(move, (0, None, None, None))(states, after, value, sequence.data)
                return _one_of(key, log_w + jnp.where(jnp.isnan(log_m), -jnp.inf, log_m))

            return jax.lax.cond(done, lambda: index, exact)

        index = jax.lax.map(left, (jax.random.split(rest, paths), index, done, after))
        return jax.tree.map(lambda leaf: leaf[index], states), (index, over)

    first, rest = jax.random.split(key)
    end = last(first, stored, paths)
    after = jax.tree.map(lambda leaf: leaf[-1][end], stored.states)
    keys = jax.random.split(rest, stored.log_w.shape[0] - 1)
    earlier = jax.tree.map(lambda leaf: leaf[:-1], (stored.states, stored.log_w))
    _, (found, over) = jax.lax.scan(back, after, (keys, *earlier, sequence.inputs), reverse=True)
    return jnp.concatenate([found, end[None]]), jnp.max(over, initial=0.0)


def _one_of(key: Key, weights: Float[Array, " n"]) -> Int[Array, ""]:
    """An index by log weights of any total."""
    top = jnp.max(weights)
    ends = running_sum(jnp.exp(weights - jnp.where(jnp.isfinite(top), top, 0.0)))
    u = jax.random.uniform(key, (), ends.dtype) * ends[-1]
    return jnp.minimum(jnp.searchsorted(ends, u, side="right"), weights.size - 1)


def backward_mcmc(
    key: Key, sequence: Sequence, stored: Stored, paths: int, moves: int
) -> Int[Array, "t m"]:
    """Backward sampling by Markov chains: O(1) for each step of a path, whatever N.

    A chain begins at the ancestor, which has the right law where every step has resampled, and
    proposes other particles by their weights.

    Source: Bunch & Godsill (2013); from the ancestor, Dau & Chopin (2023).
    """
    move = jax.vmap(_density(sequence), (0, 0, None, None))

    def back(carry: Any, item: Any) -> Any:
        index_after, after = carry
        key, states, log_w, ancestors, value = item

        def density(index: Array) -> Array:
            here = jax.tree.map(lambda leaf: leaf[index], states)
            return move(here, after, value, sequence.data)

        def step(carry: Any, key: Key) -> Any:
            index, log_m = carry
            draw, accept = jax.random.split(key)
            u = jax.random.uniform(draw, (paths,), log_w.dtype)
            proposed = inverse_cdf(jnp.exp(log_w), u)
            log_p = density(proposed)
            better = jnp.log(jax.random.uniform(accept, (paths,), log_w.dtype)) < log_p - log_m
            return (jnp.where(better, proposed, index), jnp.where(better, log_p, log_m)), None

        index = ancestors[index_after]
        (index, _), _ = jax.lax.scan(step, (index, density(index)), jax.random.split(key, moves))
        return (index, jax.tree.map(lambda leaf: leaf[index], states)), index

    first, rest = jax.random.split(key)
    end = last(first, stored, paths)
    after = jax.tree.map(lambda leaf: leaf[-1][end], stored.states)
    keys = jax.random.split(rest, stored.log_w.shape[0] - 1)
    states, log_w = jax.tree.map(lambda leaf: leaf[:-1], (stored.states, stored.log_w))
    items = (keys, states, log_w, stored.ancestors[1:], sequence.inputs)
    _, found = jax.lax.scan(back, (end, after), items, reverse=True)
    return jnp.concatenate([found, end[None]])


def _density(sequence: Sequence) -> Any:
    assert sequence.log_transition is not None  # refused before the run
    return sequence.log_transition
