"""What an island of persistent sampling keeps: all its generations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.transformations.paths import power
from probinf.kernels.base import Params


class Generations(NamedTuple):
    """All particles so far; the leading axis is generations, of which the first ones are filled.

    Attributes:
        position: pytree, axes (generation, particle).
        log_likelihood: relative to ``PersistentState.top``.
        log_mixture: log of the sum, over generations, of the density they were drawn from,
            relative to the base.
        eve: first ancestor.
    """

    position: Any
    log_likelihood: Float[Array, "g n"]
    log_mixture: Float[Array, "g n"]
    eve: Int[Array, "g n"]


class PersistentState(NamedTuple):
    """One island: its generations, their temperatures and evidences."""

    all: Generations
    filled: Int[Array, ""]
    betas: Float[Array, " g"]
    log_zs: Float[Array, " g"]
    beta: Float[Array, ""]
    top: Float[Array, ""]
    params: Params
    nan_count: Int[Array, ""]
    dead: Bool[Array, ""]


class GenerationRecord(NamedTuple):
    """What is kept of one stage."""

    beta: Float[Array, ""]
    ess: Float[Array, ""]
    acceptance: Float[Array, ""]
    moves: Int[Array, ""]
    evaluations: Int[Array, ""]
    step_size: Float[Array, ""]
    correlation: Float[Array, ""]


def joined(rows: Any) -> Any:
    """Generations as one population."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)


def last_log_z(state: PersistentState) -> Float[Array, ""]:
    """The log evidence at the last temperature, relative to the largest likelihood."""
    return state.log_zs[state.filled - 1]


def mixture(
    log_likelihood: Float[Array, " n"],
    betas: Float[Array, " g"],
    log_zs: Float[Array, " g"],
    count: Int[Array, ""],
) -> Float[Array, " n"]:
    """Log of the sum over generations of ``L**beta / Z``, the density they were drawn from."""
    terms = power(log_likelihood[None, :], betas[:, None]) - log_zs[:, None]
    filled = jnp.arange(betas.size)[:, None] < count
    return jax.scipy.special.logsumexp(jnp.where(filled, terms, -jnp.inf), axis=0)
