"""LowRank: a metric of variances and a few directions, estimated from draws and scores."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_RIDGE = 1e-5  # of both covariances, in standardised coordinates
_POWER_STEPS = 3
_TRUST = 3.0
_ENOUGH = 50  # draws from which directions are believed, where there are more dimensions


class LowRank(NamedTuple):
    """The covariance ``diag(scale) (I + U (diag(values) - I) U^T) diag(scale)``.

    Attributes:
        scale: (d,) positive.
        directions: (d, k), orthonormal columns.
        values: (k,) positive; 1 where a direction is not used.
    """

    scale: Float[Array, " d"]
    directions: Float[Array, "d k"]
    values: Float[Array, " k"]


def from_scores(score: Float[Array, " d"], rank: int) -> LowRank:
    """A first metric from one score: scales ``1 / sqrt |score|`` within a factor of 10 of 1.

    Far out in the tail scores are so large that a scale which believed them could never move.
    """
    d = score.size
    scale = 1 / jnp.sqrt(jnp.clip(jnp.abs(score), 1e-2, 1e2))
    return LowRank(scale, jnp.eye(d, rank, dtype=score.dtype), jnp.ones((rank,), score.dtype))


def fisher(
    draws: Float[Array, "n d"],
    scores: Float[Array, "n d"],
    used: Bool[Array, " n"],
    rank: int,
    cutoff: float = 2.0,
) -> LowRank:
    """The metric of least Fisher divergence between the whitened target and a normal.

    With ``C_x`` and ``C_a`` the covariances of draws and scores, standardised by
    ``scale**2 = sd(draws) / sd(scores)``, the dense optimum solves ``S C_a S = C_x``. It is
    computed from triangular square roots of both, never from the covariances themselves, so
    that single precision loses no more digits than double precision would on covariances, and
    the result is positive definite by construction. Directions whose eigenvalue lies within
    ``[1 / cutoff, cutoff]`` are left alone: they are noise, or not worth their cost. For a
    normal target the metric is exact as soon as there are more draws than dimensions.

    Args:
        draws: positions; unused rows may hold anything finite.
        scores: gradients of the log density at the draws.
        used: rows that count.
        rank: most directions.
        cutoff: see above.

    Source: Seyboldt, Carlson & Carpenter (2026), sections 3 and 4.
    """
    d = draws.shape[1]
    count = jnp.maximum(used.sum(), 2)
    x, a = _centred(draws, used), _centred(scores, used)
    tiny = jnp.finfo(draws.dtype).tiny
    sd_x = jnp.sqrt(jnp.sum(x**2, axis=0) / count)
    sd_a = jnp.sqrt(jnp.sum(a**2, axis=0) / count)
    known = (sd_x > tiny) & (sd_a > tiny) & jnp.isfinite(sd_x) & jnp.isfinite(sd_a)
    # in an exponential tail the score is constant: trust it within a factor only
    ratio = jnp.sqrt(sd_x / jnp.where(known, sd_a, 1.0))
    scale = jnp.where(known, jnp.clip(ratio, sd_x / _TRUST, sd_x * _TRUST), 1.0)
    x = jnp.where(known, x / scale, 0.0) / jnp.sqrt(count)
    a = jnp.where(known, a * scale, 0.0) / jnp.sqrt(count)

    basis = _leading(jnp.concatenate([x, a]), 2 * rank) if d > 2 * rank else jnp.eye(d)
    root_x, root_a = _root(x @ basis), _root(a @ basis)
    _, s, vt = jnp.linalg.svd(root_a @ root_x.T)
    factor = root_x.T @ (vt.T / jnp.sqrt(jnp.maximum(s, tiny)))
    u, root_values, _ = jnp.linalg.svd(factor)
    values = root_values**2
    directions = basis @ u
    if rank < values.size:
        worth = jnp.abs(jnp.log(jnp.maximum(values, tiny)))
        _, order = jax.lax.top_k(worth, rank)
        values, directions = values[order], directions[:, order]
    keep = ((values > cutoff) | (values < 1 / cutoff)) & (count > min(d, _ENOUGH))
    fine = jnp.all(jnp.isfinite(directions)) & jnp.all(jnp.isfinite(values))
    return LowRank(
        scale.astype(draws.dtype),
        jnp.where(fine, directions, jnp.eye(d, directions.shape[1])).astype(draws.dtype),
        jnp.where(keep & fine, values, 1.0).astype(draws.dtype),
    )


def _centred(rows: Float[Array, "n d"], used: Bool[Array, " n"]) -> Float[Array, "n d"]:
    weights = used[:, None].astype(rows.dtype)
    rows = jnp.where(used[:, None] & jnp.isfinite(rows), rows, 0.0)
    return weights * (rows - rows.sum(axis=0) / jnp.maximum(weights.sum(), 1))


def _root(rows: Float[Array, "n k"]) -> Float[Array, "k k"]:
    """Upper triangular R with ``R^T R = rows^T rows + ridge I``."""
    k = rows.shape[1]
    ridge = jnp.sqrt(jnp.asarray(_RIDGE, rows.dtype)) * jnp.eye(k, dtype=rows.dtype)
    return jnp.linalg.qr(jnp.concatenate([rows, ridge]), mode="r")


def _leading(rows: Float[Array, "n d"], k: int) -> Float[Array, "d k"]:
    """Orthonormal basis of about the k leading right singular vectors, by subspace iteration."""
    start = jax.random.normal(jax.random.key(0), (rows.shape[1], k), rows.dtype)
    basis = jnp.linalg.qr(start)[0]
    for _ in range(_POWER_STEPS):
        basis = jnp.linalg.qr(rows.T @ (rows @ basis) + _RIDGE * basis)[0]
    return basis
