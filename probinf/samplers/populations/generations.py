"""What an island of persistent sampling keeps: all its generations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
        line: an ancestor some generations back, by its place among all particles.
    """

    position: Any
    log_likelihood: Float[Array, "g n"]
    log_mixture: Float[Array, "g n"]
    eve: Int[Array, "g n"]
    line: Int[Array, "g n"]


class PersistentState(NamedTuple):
    """One island: its generations, their temperatures and evidences."""

    all: Generations
    filled: Int[Array, ""]
    betas: Float[Array, " g"]
    log_zs: Float[Array, " g"]
    beta: Float[Array, ""]
    top: Float[Array, ""]
    params: Params
    varied: Bool[Array, ""]
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
    acceptance_by_place: Float[Array, ""]
    acceptance_by_likelihood: Float[Array, ""]


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


def line_gains(
    log_likelihood: np.ndarray,
    betas: np.ndarray,
    log_zs: np.ndarray,
    line: np.ndarray,
    count: int,
    first: int,
) -> np.ndarray:
    """What each line of descent adds to the relative error of an island's evidence.

    An evidence is the mean weight of all particles so far. It is off by how far weights of a
    generation lie from their mean, and by the errors of earlier evidences, which are in the
    weights' denominators: for every term of these, by the share that it has of them.

    Args:
        log_likelihood: (generations, n), relative to the same number as ``log_zs``.
        betas: (generations,) inverse temperatures.
        log_zs: (generations,) log evidences at these, from the generations before.
        line: (generations, n) labels; lines are independent of each other.
        count: generations that are filled.
        first: generations that were drawn from the base.

    Returns:
        (lines,) whose squares sum to the variance of the log evidence.
    """
    n = log_likelihood.shape[1]
    log_likelihood = log_likelihood[:count]
    beta, log_z = betas[:count, None, None], log_zs[:count, None, None]
    label = np.unique(line[:count], return_inverse=True)[1].reshape(count, n)
    lines = int(label.max()) + 1
    sizes = np.stack([np.bincount(row, minlength=lines) for row in label]) / n
    others = np.maximum(1 - np.sum(sizes**2, axis=1), 1 / n)
    with np.errstate(invalid="ignore"):
        # (temperature, generation, n)
        terms = np.where(beta == 0, 0.0, beta * log_likelihood) - log_z
    gains = np.zeros((count, lines))
    mixtures = np.logaddexp.reduce(terms[:first], axis=0)
    for t in range(first, count):
        weights = np.exp(terms[t, :t] - mixtures[:t])
        weights /= weights.sum()
        centred = (weights - weights.mean(axis=1, keepdims=True)) / np.sqrt(others[:t, None])
        shares = np.array([np.sum(weights * np.exp(terms[s, :t] - mixtures[:t])) for s in range(t)])
        gains[t] = np.bincount(label[:t].ravel(), centred.ravel(), lines) + shares @ gains[:t]
        mixtures = np.logaddexp(mixtures, terms[t])
    return gains[-1]
