"""The variance of one island's evidence, from what its lines of descent gain and lose."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.population import normalise

_FEW = 32  # effective lines below which descent is counted anew


class Descent(NamedTuple):
    """What lines of descent, each from one ancestor some stages back, have gained so far.

    The relative error of the evidence is the sum, over lines, of what reweighting adds to their
    shares. Lines are independent, so that its variance is the sum of the squares. Resampling
    changes shares too, by chance, but no evidence: that is not counted.

    Attributes:
        gain: by line, what reweighting has added to its share.
        variance: the squares, summed, of lines that are counted no more.
        fourth: their fourth powers, summed.
    """

    gain: Float[Array, " n"]
    variance: Float[Array, ""]
    fourth: Float[Array, ""]

    def sums(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Variance of the log evidence, and the sum of fourth powers that says how sure it is."""
        second, fourth = jnp.sum(self.gain**2), jnp.sum(self.gain**4)
        return self.variance + second, self.fourth + fourth


def no_descent(like: Float[Array, " n"]) -> Descent:
    """Nothing gained yet."""
    return Descent(jnp.zeros_like(like), jnp.zeros((), like.dtype), jnp.zeros((), like.dtype))


def is_few(shares: Float[Array, " n"], most: int) -> Bool[Array, ""]:
    """Whether too few lines are left, of as many as there can be after resampling."""
    return jnp.sum(shares**2) * min(_FEW, most / 2) > 1


def reweighted(
    descent: Descent,
    line: Int[Array, " n"],
    before: Float[Array, " n"],
    after: Float[Array, " n"],
    most: int,
) -> tuple[Descent, Int[Array, " n"]]:
    """The gains when weights change; where few lines are left, every particle begins its own.

    Few lines say little of a variance, and a last one nothing: gains are relative to all lines,
    and enlarged by what a line's own part in these takes off.

    Args:
        descent: so far.
        line: of each particle, below n.
        before: log weights.
        after: log weights.
        most: how many lines can be left after resampling.

    Source: lines from the beginning, Lee & Whiteley (2018); from some stages back, Olsson &
    Douc (2019).
    """
    n = before.size
    before, after = jnp.exp(normalise(before)), jnp.exp(normalise(after))

    def by_line(values: Float[Array, " n"]) -> Float[Array, " n"]:
        return jax.ops.segment_sum(values, line, n)

    shares, moved = by_line(before), by_line(after - before)
    others = jnp.maximum(1 - jnp.sum(shares**2), 1 / n)
    descent = descent._replace(gain=descent.gain + moved / jnp.sqrt(others))
    few = is_few(shares + moved, most)
    variance, fourth = descent.sums()
    renewed = Descent(jnp.zeros_like(descent.gain), variance, fourth)
    descent = jax.tree.map(lambda a, b: jnp.where(few, a, b), renewed, descent)
    return descent, jnp.where(few, jnp.arange(n, dtype=line.dtype), line)
