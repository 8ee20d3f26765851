"""Slice moves inside a likelihood contour: many walkers in lockstep, one evaluation each a turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.host.asking import only
from probinf.core.population import usable
from probinf.core.program import Key, Program
from probinf.samplers.nested.clusters import Cells, cell_of

_WIDTH = 5.0  # of the first bracket, in standard deviations along the direction
_NUMBERS = 1_000_000  # random ones drawn at once for slices
_TURNS = 32  # for which random numbers are drawn at once


class Walkers(NamedTuple):
    """Points inside the contour, with both parts of their score."""

    x: Float[Array, "k d"]
    log_base: Float[Array, " k"]
    log_likelihood: Float[Array, " k"]


class Report(NamedTuple):
    """What the moves cost and lost."""

    evaluations: Int[Array, ""]
    nan_count: Int[Array, ""]
    stuck: Int[Array, ""]


class _Turn(NamedTuple):
    walkers: Walkers
    moved: Int[Array, " k"]
    left: Float[Array, " k"]
    right: Float[Array, " k"]
    shrinks: Int[Array, " k"]
    cell: Int[Array, " k"]
    turns: Int[Array, ""]
    report: Report


def slice_above(
    key: Key,
    program: Program,
    walkers: Walkers,
    level: Float[Array, ""],
    scales: Float[Array, "g ..."] | Cells,
    group: Int[Array, " k"],
    *,
    moves: int,
    max_shrinkage: int,
    place: Callable[[Float[Array, "k d"]], Float[Array, "k d"]] = lambda x: x,
) -> tuple[Walkers, Report]:
    """``moves`` hit-and-run slices of each walker under ``above(program, level)``.

    A slice needs a bracket, placed at random over the walker, and shrinks it until a point
    inside is found. Whichever slice a walker is at, it takes one evaluation of the score per
    turn: nobody waits for the longest slice of the others, only for the longest total.

    Args:
        key: random key.
        program: on flat positions.
        walkers: k starting points with likelihood strictly above ``level``.
        level: the contour.
        scales: (g, d) standard deviations of g groups, or cells of them: every other slice, by
            chance, goes along the directions of the walker's own cell and stays in it.
        group: (k,) which of them shapes a walker's directions.
        moves: slices per walker.
        max_shrinkage: after so many evaluations a slice is given up, the walker stays and is
            counted as stuck.
        place: of positions that stand for the same point, the one that cells are told by.

    Source: Neal (2003), bracket without stepping out; Skilling (2004) for the contour.
    """
    (k, d), dtype = walkers.x.shape, walkers.x.dtype
    slice_key, turn_key = jax.random.split(key)
    size = min(moves, max(1, _NUMBERS // (k * (d + 3))))
    each = jnp.arange(k)

    def cells(x: Float[Array, "k d"]) -> Int[Array, " k"]:
        if not isinstance(scales, Cells):
            return jnp.zeros((k,), int)
        return cell_of(scales, place(x), group)

    def several_slices(number: Int[Array, ""], turn: _Turn) -> _Turn:
        """The next ``size`` slices of each walker."""
        first = number * size
        # one flat array of random numbers: each matrix of them costs seconds of compilation
        numbers = jax.random.uniform(
            jax.random.fold_in(slice_key, number), (size * k * (d + 3),), dtype
        )
        u = numbers[: 3 * size * k].reshape(3, size, k)
        local = u[2] < 0.5
        sphere = _on_sphere(numbers[3 * size * k :].reshape(size, k, d))
        directions = _directions(scales, group, local, sphere)

        def unfinished(turn: _Turn) -> Bool[Array, " k"]:
            return turn.moved < jnp.minimum(first + size, moves)

        def several_turns(turn: _Turn) -> _Turn:
            """The next ``_TURNS`` of them: drawing for each alone takes longer than the rest."""
            begun = turn.turns
            where = jax.random.uniform(jax.random.fold_in(turn_key, begun), (_TURNS * k,), dtype)

            def running(turn: _Turn) -> Bool[Array, ""]:
                return jnp.any(unfinished(turn)) & (turn.turns < begun + _TURNS)

            def once(turn: _Turn) -> _Turn:
                return turn_once(turn, where.reshape(_TURNS, k)[turn.turns - begun])

            last: _Turn = jax.lax.while_loop(running, once, turn)
            return last

        def turn_once(turn: _Turn, where: Float[Array, " k"]) -> _Turn:
            now, active = turn.walkers, unfinished(turn)
            at = jnp.minimum(turn.moved - first, size - 1), each
            direction = directions[at]
            if isinstance(scales, Cells):
                direction = _in_cells(scales, group, turn.cell, local[at], sphere[at], direction)
            height = now.log_base + jnp.log1p(-u[0][at])
            fresh = turn.shrinks == 0
            left = jnp.where(fresh, -_WIDTH * u[1][at], turn.left)
            right = jnp.where(fresh, left + _WIDTH, turn.right)
            t = left + (right - left) * where
            x = now.x + t[:, None] * direction
            asked = only(program, active, x, now.x)
            score = jax.vmap(program.score, (0, None))(asked, program.data)
            log_likelihood, unusable = usable(score)
            inside = (score.log_base >= height) & (log_likelihood > level) & active
            cell = cells(x)
            inside &= _allowed(local[at], turn.cell, cell)
            lost = unusable & ~jnp.isneginf(score.log_base) & active
            given_up = active & ~inside & (turn.shrinks + 1 >= max_shrinkage)
            ended = inside | given_up
            report = Report(
                turn.report.evaluations + active.sum(),
                turn.report.nan_count + lost.sum(),
                turn.report.stuck + given_up.sum(),
            )
            return _Turn(
                Walkers(
                    jnp.where(inside[:, None], x, now.x),
                    jnp.where(inside, score.log_base, now.log_base),
                    jnp.where(inside, log_likelihood, now.log_likelihood),
                ),
                turn.moved + ended,
                jnp.where(t < 0, t, left),
                jnp.where(t < 0, right, t),
                jnp.where(ended | ~active, 0, turn.shrinks + 1),
                jnp.where(inside, cell, turn.cell),
                turn.turns + 1,
                report,
            )

        last: _Turn = jax.lax.while_loop(lambda t: jnp.any(unfinished(t)), several_turns, turn)
        return last

    nothing, zero = jnp.zeros((k,), dtype), jnp.zeros((), int)
    none = jnp.zeros((k,), int)
    report = Report(zero, zero, zero)
    turn = _Turn(walkers, none, nothing, nothing, none, cells(walkers.x), zero, report)
    if size == moves:
        turn = several_slices(zero, turn)
    else:
        turn = jax.lax.fori_loop(0, -(-moves // size), several_slices, turn)
    return turn.walkers, turn.report


def _on_sphere(u: Float[Array, "s k d"]) -> Float[Array, "s k d"]:
    """Uniform directions, from uniform numbers."""
    one = jnp.ones((), u.dtype)
    z = jax.lax.erf_inv(jnp.maximum(2 * u - 1, jnp.nextafter(-one, 0 * one)))
    return z / jnp.linalg.norm(z, axis=2, keepdims=True)


def _directions(
    scales: Float[Array, "g ..."] | Cells,
    group: Int[Array, " k"],
    local: Bool[Array, "s k"],
    sphere: Float[Array, "s k d"],
) -> Float[Array, "s k d"]:
    """Directions of the slices of walkers that are all in the first cell."""
    if not isinstance(scales, Cells):
        return sphere * scales[group]

    def along(cell: int) -> Float[Array, "s k d"]:
        first, second = (sphere @ scales.scales[half, cell].T for half in range(2))
        return jnp.where((group == 0)[:, None], first, second)

    return jnp.where(local[..., None], along(0), along(-1))


def _in_cells(
    cells: Cells,
    group: Int[Array, " k"],
    cell: Int[Array, " k"],
    local: Bool[Array, " k"],
    sphere: Float[Array, "k d"],
    direction: Float[Array, "k d"],
) -> Float[Array, "k d"]:
    """Directions of walkers that may be in any cell."""

    def own() -> Float[Array, "k d"]:
        found = jnp.einsum("kij,kj->ki", cells.scales[group, cell], sphere)
        return jnp.where(local[:, None], found, direction)

    found: Float[Array, "k d"] = jax.lax.cond(cells.several.any(), own, lambda: direction)
    return found


def _allowed(
    local: Bool[Array, " k"], own: Int[Array, " k"], cell: Int[Array, " k"]
) -> Bool[Array, " k"]:
    """Whether a slice may end in a cell: one along the directions of its own, nowhere else."""
    return ~local | (cell == own)


def insertion_ranks(
    u: Float[Array, " k"],
    log_likelihood: Float[Array, " n"],
    above: Bool[Array, " n"],
    inserted: Float[Array, " k"],
) -> Float[Array, " k"]:
    """Randomised rank in (0, 1) of each point among the survivors and those inserted before.

    Args:
        u: uniform on (0, 1), to break ties.
        log_likelihood: of the live points.
        above: which of them survive.
        inserted: log likelihoods of the new points, in their order.
    """
    survivors = jnp.where(above, log_likelihood, jnp.inf)
    k = inserted.shape[0]
    earlier = jnp.tril(jnp.ones((k, k), bool), -1)
    lower = (survivors < inserted[:, None]).sum(axis=1)
    lower += (earlier & (inserted < inserted[:, None])).sum(axis=1)
    tied = (survivors == inserted[:, None]).sum(axis=1)
    tied += (earlier & (inserted == inserted[:, None])).sum(axis=1)
    return (lower + u * (tied + 1)) / (above.sum() + jnp.arange(k) + 1)


def survivors(
    u: Float[Array, " k"], above: Bool[Array, " n"], group: Int[Array, " k"]
) -> Int[Array, " k"]:
    """A random point above the contour for each new one, from its own half where there is one."""
    n = above.shape[0]
    half = jnp.arange(n) >= n // 2
    own = jnp.stack([above & ~half, above & half])
    usable = jnp.where(own.any(axis=1, keepdims=True), own, above)
    counts = jnp.cumsum(usable, axis=1)
    last = counts[group, -1]
    wanted = jnp.minimum(jnp.floor(u * last).astype(counts.dtype), last - 1)
    return jnp.sum(counts[group] <= wanted[:, None], axis=1)
