"""Tuning a kernel from the particles it moves, without letting a particle tune its own moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.population import normalise
from probinf.kernels.base import Params


def divided(tree: Any, groups: int) -> Any:
    """The leading axis of every leaf as (groups, members)."""
    return jax.tree.map(lambda a: a.reshape(groups, a.shape[0] // groups, *a.shape[1:]), tree)


def united(tree: Any) -> Any:
    """The inverse of ``divided``."""
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), tree)


def over_groups(fn: Callable[..., Any], *trees: Any) -> Any:
    """``fn`` on every group: in turn on a CPU (plain matrix products are faster), else at once."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda group: fn(*group), trees)
    return jax.vmap(fn)(*trees)


def cross_fitted(params: Params, vectors: Float[Array, "n d"], log_w: Float[Array, " n"]) -> Params:
    """Mean and covariance for each half of the particles, estimated from the other half.

    A kernel whose covariance was estimated from the very particles it moves does not leave
    the target invariant: every move then adds a bias of order 1 / particles, and a hundred
    moves with two hundred particles spoil the evidence. A kernel tuned elsewhere is exact.
    A half without any weight tunes nothing.

    Args:
        params: tuning of both halves, leading axis 2; the step sizes carry over.
        vectors: positions.
        log_w: log weights.
    """
    others = [half[::-1] for half in divided((vectors, log_w), 2)]
    fresh = jax.vmap(moments)(params, *others)
    usable = jnp.isfinite(jnp.max(others[1], axis=1))
    return jax.vmap(lambda u, a, b: jax.tree.map(lambda x, y: jnp.where(u, x, y), a, b))(
        usable, fresh, params
    )


def moments(params: Params, vectors: Float[Array, "n d"], log_w: Float[Array, " n"]) -> Params:
    """Mean and covariance of weighted particles, correlations shrunk where they are few."""
    w = jnp.exp(normalise(log_w))
    vectors = jnp.where(w[:, None] > 0, vectors, 0.0)
    mean = w @ vectors
    centred = vectors - mean
    d = vectors.shape[1]
    variances = w @ centred**2 + 1e-10
    if params.covariance.ndim == 1:
        return Params(params.step_size, mean, variances)
    # shrink correlations a little, so that few effective particles stay invertible
    count = 1 / jnp.sum(w**2)
    share = count / (count + d)
    covariance = share * (centred.T * w) @ centred + (1 - share) * jnp.diag(variances)
    return Params(params.step_size, mean, covariance + 1e-6 * jnp.diag(variances))
