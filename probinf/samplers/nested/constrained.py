"""Slice moves inside a likelihood contour: many walkers in lockstep, one evaluation each a turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.host.asking import only
from probinf.core.population import usable
from probinf.core.program import Key, Program
from probinf.samplers.nested.clusters import Cells, cell_of

_WIDTH = 5.0  # of the first bracket, in standard deviations along the direction


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
    fresh: Bool[Array, " k"]
    direction: Float[Array, "k d"]
    height: Float[Array, " k"]
    left: Float[Array, " k"]
    right: Float[Array, " k"]
    shrinks: Int[Array, " k"]
    cell: Int[Array, " k"]
    local: Bool[Array, " k"]
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
    one = jnp.ones((), dtype)

    def new_directions(u: Float[Array, "k d"], cell: Int[Array, " k"]) -> Float[Array, "k d"]:
        z = jax.lax.erf_inv(jnp.maximum(2 * u - 1, jnp.nextafter(-one, 0 * one)))
        z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
        if not isinstance(scales, Cells):
            return z * scales[group]
        return jnp.einsum("kij,kj->ki", scales.scales[group, cell], z)

    def cells(x: Float[Array, "k d"]) -> Int[Array, " k"]:
        if not isinstance(scales, Cells):
            return jnp.zeros((k,), int)
        return cell_of(scales, place(x), group)

    def running(turn: _Turn) -> Bool[Array, ""]:
        return jnp.any(turn.moved < moves)

    def turn_once(turn: _Turn) -> _Turn:
        now = turn.walkers
        # one flat array of random numbers: each matrix of them costs seconds of compilation
        numbers = jax.random.uniform(jax.random.fold_in(key, turn.turns), (k * (d + 4),), dtype)
        u = numbers[k * d :].reshape(4, k)
        fresh = turn.fresh
        local = jnp.where(fresh, u[3] < 0.5, turn.local)
        directions = new_directions(numbers[: k * d].reshape(k, d), jnp.where(local, turn.cell, -1))
        direction = jnp.where(fresh[:, None], directions, turn.direction)
        height = jnp.where(fresh, now.log_base + jnp.log1p(-u[0]), turn.height)
        left = jnp.where(fresh, -_WIDTH * u[1], turn.left)
        right = jnp.where(fresh, left + _WIDTH, turn.right)
        t = left + (right - left) * u[2]
        x = now.x + t[:, None] * direction
        active = turn.moved < moves
        asked = only(program, active, x, now.x)
        score = jax.vmap(program.score, (0, None))(asked, program.data)
        log_likelihood, unusable = usable(score)
        inside = (score.log_base >= height) & (log_likelihood > level) & active
        cell = cells(x)
        inside &= _allowed(local, turn.cell, cell)
        lost = unusable & ~jnp.isneginf(score.log_base) & active
        shrinks = jnp.where(fresh, 0, turn.shrinks) + 1
        given_up = active & ~inside & (shrinks >= max_shrinkage)
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
            ended,
            direction,
            height,
            jnp.where(t < 0, t, left),
            jnp.where(t < 0, right, t),
            shrinks,
            jnp.where(inside, cell, turn.cell),
            local,
            turn.turns + 1,
            report,
        )

    nothing, zero = jnp.zeros((k,), walkers.x.dtype), jnp.zeros((), int)
    first: Any = _Turn(
        walkers,
        jnp.zeros((k,), int),
        jnp.ones((k,), bool),
        jnp.zeros_like(walkers.x),
        nothing,
        nothing,
        nothing,
        jnp.zeros((k,), int),
        cells(walkers.x),
        jnp.zeros((k,), bool),
        zero,
        Report(zero, zero, zero),
    )
    last: _Turn = jax.lax.while_loop(running, turn_once, first)
    return last.walkers, last.report


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
