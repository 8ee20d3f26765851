"""Starting points of chains: wide ones, tried until all is finite, or draws by Pathfinder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.coordinates import Mixed, layout_of, vector_of
from probinf.core.program import Key, Position, Program, log_density
from probinf.kernels import blackjax

START_TRIES = 100
"""Tries for each starting point."""

_PATHS, _STEPS, _LINE_SEARCH = 8, 40, 20
_FARTHEST = 5.0  # times a start that the last try is farther out
_DRAWS = 8  # of every normal approximation, for its evidence lower bound


def found_start(
    attempt: Callable[[Key, Any], tuple[Any, Any]], key: Key, candidates: int = 1
) -> tuple[Any, Bool[Array, ""]]:
    """The densest of so many starts whose arrays are all finite; up to 100 tries for one.

    Args:
        attempt: from a key and the number of tries before to a kernel state, which has a
            ``logdensity``, and to whatever shall be kept of it.
        key: try ``i`` uses ``fold_in(key, i)``.
        candidates: how many are tried in any case.

    Returns:
        What is kept of the start, and whether there is one.
    """

    attempt = jax.jit(attempt, inline=True)  # traced once, for its shapes and for the loop

    def again(carry: Any) -> Any:
        tries, best, top, found = carry
        state, kept = attempt(jax.random.fold_in(key, tries), tries)
        fine = _finite(state)
        better = fine & (~found | (state.logdensity > top))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), kept, best)
        return tries + 1, best, jnp.where(better, state.logdensity, top), found | fine

    state, kept = jax.eval_shape(attempt, key, jnp.zeros((), int))
    blank = jax.tree.map(blank_array, kept)
    top = jnp.zeros((), state.logdensity.dtype)
    _, best, _, found = jax.lax.while_loop(
        lambda c: (c[0] < candidates) | (~c[3] & (c[0] < START_TRIES)),
        again,
        (jnp.zeros((), int), blank, top, jnp.asarray(False)),
    )
    return best, found


def scattered(program: Program, key: Key, tries: Int[Array, ""]) -> Position:
    """A start of a flat program; when half of the tries were in vain, farther and farther out.

    A support may begin where no usual start lies: ``Pareto(t, 1.5)`` with ``t ~ Uniform(0, 10)``
    and a datum of 0.6 needs t below it, and usual starts are above 1.2.
    """
    x = program.start(key, program.data)
    if layout_of(program).integers:
        return x
    far = 1 + _FARTHEST * jnp.maximum(tries - START_TRIES // 2, 0) / (START_TRIES // 2)

    def moved(leaf: Array) -> Array:
        return (far * leaf).astype(leaf.dtype) if _is_float(leaf) else leaf

    return jax.tree.map(moved, x)


def near(
    init: Callable[[Program, Position], Any],
    program: Program,
    x: Position,
    given: Bool[Array, " d"],
) -> Callable[[Key, Any], tuple[Any, Any]]:
    """Attempts at a start, for :func:`found_start`, of which some coordinates are given.

    Args:
        init: from the program and a position to a kernel state.
        program: on flat positions.
        x: where the given coordinates lie.
        given: (d,) which these are.
    """

    def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
        wide = scattered(program, key, tries)
        if isinstance(wide, Mixed):
            wide = wide._replace(vector=jnp.where(given, vector_of(x), wide.vector))
        else:
            wide = jnp.where(given, x, wide)
        state = init(program, wide)
        return state, state

    return attempt


def pathfinder_start(
    init: Callable[[Program, Position], Any], program: Program, key: Key
) -> tuple[Any, Bool[Array, ""]]:
    """A draw of one of 8 normal approximations, chosen by how much mass they hold.

    From every wide start L-BFGS climbs at most 40 steps; of the normal approximations along its
    path the one of the largest evidence lower bound stands for the mode at which it arrives.
    One of the eight is drawn with weights ``exp(bound)``, and of its draws one by importance: a
    mode of negligible mass is hardly ever chosen, and two of similar mass are chosen alike, so
    that chains still disagree where there are several. Paths that meet NaN or infinity count
    for nothing; without any other the start is the densest wide one.

    Args:
        init: from the program and a position to a kernel state.
        program: on flat positions, differentiable.
        key: of everything.

    Returns:
        The start, and whether there is one.

    Source: Zhang, Carpenter, Gelman & Vehtari (2022), algorithms 1 and 2.
    """
    pathfinder = blackjax.pathfinder()

    def attempt(key: Key, tries: Any) -> tuple[Any, Any]:
        state = init(program, scattered(program, key, tries))
        return state, state

    def follow(key: Key) -> tuple[Any, Bool[Array, ""], Any, Array]:
        start_key, path_key, draw_key = jax.random.split(key, 3)
        wide, found = found_start(attempt, start_key)
        fitted, _ = pathfinder.approximate(
            path_key,
            lambda x: log_density(program, x),
            wide.position,
            _DRAWS,
            maxiter=_STEPS,
            maxls=_LINE_SEARCH,
        )
        # a draw far out in the tail, where the approximation may be bad, weighs nothing
        near_key, pick_key = jax.random.split(draw_key)
        near, log_q = pathfinder.sample(near_key, fitted, _DRAWS)
        log_p = jax.vmap(lambda x: log_density(program, x))(near)
        picked = near[_drawn(pick_key, log_p - log_q)]
        state = init(program, picked.astype(wide.position.dtype))
        fine = found & _finite(state) & jnp.isfinite(fitted.elbo)
        return wide, found, state, jnp.where(fine, fitted.elbo, -jnp.inf)

    paths_key, choice_key = jax.random.split(key)
    wide, found, drawn, worth = jax.lax.map(follow, jax.random.split(paths_key, _PATHS))
    chosen = _drawn(choice_key, worth)
    densest = jnp.argmax(jnp.where(found, wide.logdensity, -jnp.inf))
    usable = jnp.any(jnp.isfinite(worth))
    start = jax.tree.map(lambda a, b: jnp.where(usable, a[chosen], b[densest]), drawn, wide)
    return start, jnp.any(found)


def _drawn(key: Key, log_weights: Float[Array, " n"]) -> Int[Array, ""]:
    """An index drawn by weight; NaN and infinite weights count as zero."""
    usable = jnp.where(jnp.isfinite(log_weights), log_weights, -jnp.inf)
    return jnp.argmax(usable + jax.random.gumbel(key, usable.shape, usable.dtype))


def blank_array(leaf: jax.ShapeDtypeStruct) -> Array:
    """Zeros of a shape and dtype, random keys included."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _finite(state: Any) -> Bool[Array, ""]:
    leaves = [v for v in jax.tree.leaves(state) if _is_float(v)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
