"""Directions of slices that fit each cluster of the live points, and the cells they stay in.

One covariance of all live points fits none of several modes that lie in different directions. A
direction that is chosen where a walker stands would break the balance of its moves, unless the
way back is as likely: so the space is parted into a cell for each cluster, and a slice along its
cluster's directions ends where the cell does. What clusters were found decides how fast walkers
mix, never where they arrive.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.kernels.base import Params
from probinf.samplers.populations.tuning import divided, moments

_NEIGHBOURS = 5  # that a point is linked to
MOST = 6  # clusters with directions of their own


class Cells(NamedTuple):
    """A cell for each cluster of a half of the live points, the last for all other points.

    Attributes:
        scales: (c + 1, d, d) Cholesky factors of the clusters' covariances, then of all points'.
        roots: their inverses.
        centres: (c + 1, d) means, multiplied by these.
        costs: (c + 1,) log determinant less log share; infinite for a cell without points.
        several: whether more than one cell has any.
    """

    scales: Float[Array, "*g c d d"]
    roots: Float[Array, "*g c d d"]
    centres: Float[Array, "*g c d"]
    costs: Float[Array, "*g c"]
    several: Bool[Array, "*g"]


def cell_of(cells: Cells, x: Float[Array, "k d"], group: Int[Array, " k"]) -> Int[Array, " k"]:
    """Cell of each point: the cluster whose normal density, times its share, is highest.

    Args:
        cells: of both halves, leading axis 2.
        x: points.
        group: whose cells each point is told by.
    """

    def told() -> Int[Array, " k"]:
        first, second = (_nearest(Cells(*(leaf[half] for leaf in cells)), x) for half in range(2))
        return jnp.where(group == 0, first, second)

    found: Int[Array, " k"] = jax.lax.cond(
        cells.several.any(), told, lambda: jnp.zeros((x.shape[0],), int)
    )
    return found


def _nearest(cells: Cells, x: Float[Array, "k d"]) -> Int[Array, " k"]:
    c, d, _ = cells.roots.shape
    z = (cells.roots.reshape(c * d, d) @ x.T).reshape(c, d, -1) - cells.centres[:, :, None]
    return jnp.argmin(0.5 * jnp.sum(z**2, 1) + cells.costs[:, None], axis=0)


def cells_for_halves(
    params: Params, vectors: Float[Array, "n d"], log_w: Float[Array, " n"]
) -> Cells:
    """Cells for the points of each half, found among those of the other.

    Args:
        params: tuning of both halves as a whole, with dense covariances, leading axis 2.
        vectors: positions.
        log_w: 0 for a point above the contour, else -inf.
    """
    others = [half[::-1] for half in divided((vectors, log_w), 2)]
    return jax.vmap(_cells)(params, *others)


def _cells(whole: Params, x: Float[Array, "m d"], log_w: Float[Array, " m"]) -> Cells:
    (m, d), used = x.shape, jnp.isfinite(log_w)
    root = _inverse(whole.scale())
    label = _labels((jnp.where(used[:, None], x, whole.mean) - whole.mean) @ root.T, used)
    sizes = jnp.zeros((m,), x.dtype).at[label].add(used)
    size, name = jax.lax.top_k(sizes, min(MOST, m))
    own = (size >= 2 * d + 2)[:, None] & (label == name[:, None]) & used
    one = jax.vmap(lambda member: moments(whole, x, jnp.where(member, log_w, -jnp.inf)))(own)
    counts = own.sum(1)
    found = counts > 0
    mean = jnp.where(found[:, None], one.mean, whole.mean)
    covariance = jnp.where(found[:, None, None], one.covariance, whole.covariance)
    mean = jnp.concatenate([mean, whole.mean[None]])
    scales = jnp.linalg.cholesky(jnp.concatenate([covariance, whole.covariance[None]]))
    shares = jnp.append(counts, used.sum() - counts.sum()).astype(x.dtype)
    volumes = jnp.log(jnp.diagonal(scales, axis1=1, axis2=2)).sum(1)
    roots = jax.vmap(_inverse)(scales)
    centres = jnp.einsum("cij,cj->ci", roots, mean)
    return Cells(scales, roots, centres, volumes - jnp.log(shares), (shares > 0).sum() > 1)


def _inverse(scale: Float[Array, "d d"]) -> Float[Array, "d d"]:
    return jax.scipy.linalg.solve_triangular(scale, jnp.eye(scale.shape[0]), lower=True)


def _labels(x: Float[Array, "m d"], used: Bool[Array, " m"]) -> Int[Array, " m"]:
    """A number that points share with all they are linked to by a chain of near neighbours."""
    m = x.shape[0]
    square = jnp.sum(x**2, 1)
    gap = square[:, None] + square - 2 * x @ x.T
    apart = ~(used[:, None] & used) | jnp.eye(m, dtype=bool)
    gap = jnp.where(apart, jnp.inf, gap)

    def next_nearest(_: Any, reach: Float[Array, "m 1"]) -> Float[Array, "m 1"]:
        return jnp.where(gap > reach, gap, jnp.inf).min(1, keepdims=True)

    # sorting rows is thirty times as slow on a CPU
    reach = jax.lax.fori_loop(0, _NEIGHBOURS, next_nearest, jnp.full((m, 1), -jnp.inf, x.dtype))
    near = (gap <= reach) & ~apart
    linked = near | near.T

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        label, _ = state
        lower = jnp.minimum(label, jnp.where(linked, label, m).min(1))
        lower = lower[lower]
        return lower, jnp.any(lower != label)

    start = jnp.arange(m), jnp.asarray(True)
    return jax.lax.while_loop(lambda state: state[1], spread, start)[0]
