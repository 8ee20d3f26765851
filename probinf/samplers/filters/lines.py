"""Lines of descent of a filter, held as stretches of its ordered particles."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.resampling import Resampler, running_sum, systematic
from probinf.errors import MethodError
from probinf.samplers.populations.descent import Descent, is_few, no_descent

MOST = 1024
"""Families that are followed; of more particles, neighbours begin one together."""
_BLOCK = 32


class Lines(NamedTuple):
    """Families of particles, and what reweighting has given to each.

    Resamplers give ancestors in increasing order, so that a family stays together: it is known
    by where it begins, and following it costs little for each particle.

    Attributes:
        starts: (families + 1,) first particle of each, the last one N.
        shares: (families,) of each in the weights.
        descent: gains by family.
    """

    starts: Int[Array, " g1"]
    shares: Float[Array, " g"]
    descent: Descent


def no_lines(like: Float[Array, " n"]) -> Lines:
    """Every particle, or stretch of equally weighted particles, begins its own."""
    families = min(like.size, MOST)
    starts = _even(like.size, families)
    return Lines(starts, _counted(starts, like), no_descent(like[:families]))


def _even(n: int, families: int) -> Int[Array, " g1"]:
    return jnp.asarray([k * n // families for k in range(families + 1)], jnp.int32)


def _counted(starts: Int[Array, " g1"], like: Float[Array, " n"]) -> Float[Array, " g"]:
    return jnp.diff(starts).astype(like.dtype) / like.size


def followed(
    lines: Lines,
    ancestors: Int[Array, " n"],
    resampled: Bool[Array, ""],
    after: Float[Array, " n"],
    looked: Float[Array, " n"] | None = None,
) -> Lines:
    """The families a step later; where few are left, all particles begin new ones.

    Resampling changes shares by chance, but no evidence: only what weights change is a gain. A
    look ahead changes them twice, before it and after.

    Args:
        lines: so far.
        ancestors: in increasing order.
        resampled: whether they are not each particle's own.
        after: normalised log weights after the step.
        looked: those by which ancestors were drawn; None where they are those of the step before.

    Source: families from the beginning, Chan & Lai (2013), Lee & Whiteley (2018); from some
    steps back, Olsson & Douc (2019).
    """
    n, families = after.size, lines.starts.size - 1

    def inherited(_: None) -> tuple[Array, Array, Array]:
        ahead = lines.shares if looked is None else by_family(looked, lines.starts)
        starts = jnp.searchsorted(ancestors, lines.starts).astype(jnp.int32)
        return starts, _counted(starts, after), ahead - lines.shares

    def same(_: None) -> tuple[Array, Array, Array]:
        return lines.starts, lines.shares, jnp.zeros_like(lines.shares)

    starts, before, moved = jax.lax.cond(resampled, inherited, same, None)
    shares = by_family(after, starts)
    moved = moved + shares - before
    others = jnp.maximum(1 - jnp.sum(before**2), 1 / n)
    descent = lines.descent
    descent = descent._replace(gain=descent.gain + moved / jnp.sqrt(others))

    def renewed(_: None) -> Lines:
        even = _even(n, families)
        nothing = Descent(jnp.zeros_like(descent.gain), *descent.sums())
        return Lines(even, by_family(after, even), nothing)

    few = is_few(shares, families)
    return jax.lax.cond(few, renewed, lambda _: Lines(starts, shares, descent), None)


def by_family(log_w: Float[Array, " n"], starts: Int[Array, " g1"]) -> Float[Array, " g"]:
    """The share of each family in the weights: sums of blocks, and of what a cut leaves of one."""
    n = log_w.size
    top = jnp.max(log_w)
    w = jnp.exp(log_w - jnp.where(jnp.isfinite(top), top, 0.0))
    rows = -(-n // _BLOCK)
    table = jnp.pad(w, (0, rows * _BLOCK - n)).reshape(rows, _BLOCK)
    whole = jnp.pad(running_sum(table.sum(1)), (1, 0))
    row, left = starts // _BLOCK, starts % _BLOCK
    part = jnp.where(jnp.arange(_BLOCK) < left[:, None], table[jnp.minimum(row, rows - 1)], 0.0)
    upto = whole[row] + part.sum(1)
    return jnp.diff(upto) / jnp.maximum(upto[-1], jnp.finfo(w.dtype).tiny)


def family_of(starts: Int[Array, " g1"], n: int) -> Int[Array, " n"]:
    """The family of each particle."""
    return jnp.searchsorted(starts, jnp.arange(n), side="right") - 1


def refuse_disorder(resampler: Resampler) -> None:
    """Raise where a resampler of the user's does not give ancestors in increasing order.

    Raises:
        MethodError: it does not.
    """
    if getattr(resampler, "__module__", "") == systematic.__module__:
        return
    weights = jnp.asarray([1.0, 2.0, 3.0, 4.0] * 8) / 80
    found = np.asarray(resampler(jax.random.key(0), weights))
    if (np.diff(found) < 0).any():
        raise MethodError(
            f"resampler: its ancestors must increase, by which lines of descent are followed; "
            f"for 32 weights it gave {found[:6].tolist()}... Sort them (jnp.sort), or pass "
            "lines=False."
        )
