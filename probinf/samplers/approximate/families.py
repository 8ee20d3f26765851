"""Families of laws that variational inference fits, each beginning as the standard normal."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from probinf.core.laws import DiagonalNormal, FactorNormal, LowRankNormal
from probinf.core.program import Key

Family = Literal["mean_field", "low_rank", "full_rank", "flow"]

_LAYERS, _HIDDEN, _BINS = 4, (64, 64), 8
_SEED_OF_DIRECTIONS = 0.1  # their first length, of a standard deviation


def rank_of(size: int, rank: int | None) -> int:
    """Directions of a low-rank law: 10 at most, unless so many are asked for."""
    return min(10 if rank is None else rank, size)


def first_law(key: Key, family: Family, size: int, dtype: Any, rank: int | None) -> Any:
    """The standard normal, as a member of the family.

    Args:
        key: of the first weights of a flow and the first directions of a low-rank law.
        family: which.
        size: d.
        dtype: of the coordinates.
        rank: of a low-rank law; None for 10.
    """
    zeros = jnp.zeros((size,), dtype)
    if family == "mean_field":
        return DiagonalNormal(zeros, zeros)
    if family == "full_rank":
        return FactorNormal(zeros, zeros, jnp.zeros((size, size), dtype))
    if family == "low_rank":
        shape = (size, rank_of(size, rank))
        directions = jax.random.normal(key, shape, dtype) * (_SEED_OF_DIRECTIONS / shape[0] ** 0.5)
        return LowRankNormal(zeros, zeros, directions)
    from probinf.core.flows.flow import SplineFlow
    from probinf.core.flows.laws import DrawnFlow

    flow = SplineFlow(key, size, 0, layers=_LAYERS, hidden=_HIDDEN, bins=_BINS, tails="linear")
    return DrawnFlow(jax.tree.map(lambda leaf: leaf.astype(dtype), flow))
