"""A spline flow fitted to weighted draws by maximum likelihood, with a held-out stop."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.laws import Scaled

_LAYERS, _HIDDEN, _BINS = 4, (64, 64), 8
_STEPS = 200  # between two looks at the held-out draws
_LOOKS = 20
_PATIENCE = 3  # looks without a gain
_BATCH = 256
_RATE = 2e-3
_HELD_OUT = 0.1
_MOST = 20_000  # draws that are trained on or held out


def flow_of(
    x: Float[np.ndarray, "n d"],
    weights: Float[np.ndarray, " n"],
    mean: Float[np.ndarray, " d"],
    factor: Float[np.ndarray, "d d"],
    dtype: Any,
) -> Scaled:
    """A flow of whitened coordinates, as good on draws that it was not trained on as it got.

    Args:
        x: draws.
        weights: of the draws, which sum to one.
        mean: of the draws.
        factor: Cholesky factor of their covariance.
        dtype: of the coordinates.
    """
    from probinf.core.flows.flow import SplineFlow
    from probinf.core.flows.laws import FittedFlow

    z = np.linalg.solve(factor, (x - mean).T).T
    rng = np.random.default_rng(0)
    z, weights = _once(z, weights)
    order = rng.permutation(len(z))
    held = max(1, int(_HELD_OUT * len(order)))
    flow = SplineFlow(jax.random.key(0), x.shape[1], 0, layers=_LAYERS, hidden=_HIDDEN, bins=_BINS)
    law = jax.tree.map(lambda leaf: leaf.astype(dtype), FittedFlow(flow))
    trained = _some(rng, order[held:], weights, round((1 - _HELD_OUT) * _MOST))
    looked_at = _some(rng, order[:held], weights, round(_HELD_OUT * _MOST))
    law = _trained(law, *(_Rows.of(z[k], share, dtype) for k, share in (trained, looked_at)))
    return Scaled(law, jnp.asarray(mean, dtype), jnp.asarray(factor, dtype))


def _once(z: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws that repeat, as those of populations do, as one: held out or trained on, not both."""
    z, group = np.unique(z, axis=0, return_inverse=True)
    return z, np.bincount(group.ravel(), weights)


def _some(
    rng: np.random.Generator, rows: np.ndarray, weights: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their weights; of more than ``most`` as many drawn by weight, alike from then on."""
    weights = weights[rows]
    if len(rows) <= most:
        return rows, weights
    drawn = rng.choice(rows, size=most, p=weights / weights.sum())
    return drawn, np.ones(most)


class _Rows(NamedTuple):
    """Draws and their shares.

    Attributes:
        z: (n, d).
        share: (n,) that sum to one.
        until: (n,) running sums of them.
    """

    z: Array
    share: Array
    until: Array

    @classmethod
    def of(cls, z: np.ndarray, weights: np.ndarray, dtype: Any) -> _Rows:
        """With shares by weights."""
        share = weights / weights.sum()
        return cls(*(jnp.asarray(v, dtype) for v in (z, share, np.cumsum(share))))


def _trained(law: Any, rows: _Rows, held: _Rows) -> Any:
    """The average of weights over the round with the lowest held-out loss."""
    state = (law, _optimizer().init(law))
    best, lowest, waited = law, float(_loss(law, held.z, held.share)), 0
    for look in range(_LOOKS):
        state, average = _round(state, rows, jax.random.key(look))
        loss = float(_loss(average, held.z, held.share))
        if loss < lowest - 1e-3:
            best, lowest, waited = average, loss, 0
            continue
        waited += 1
        if waited >= _PATIENCE:
            break
    return best


@jax.jit
def _loss(law: Any, z: Array, share: Array) -> Array:
    return -jnp.sum(share * jax.vmap(law.log_density)(z))


@jax.jit
def _round(state: Any, rows: _Rows, key: Array) -> Any:
    count = rows.z.shape[0]
    size = min(_BATCH, count)
    equal = jnp.full(size, 1 / size, rows.z.dtype)

    def one(carry: Any, key: Array) -> Any:
        law, moments, total = carry
        at = jnp.searchsorted(rows.until, jax.random.uniform(key, (size,)) * rows.until[-1])
        batch = rows.z[jnp.minimum(at, count - 1)]
        slope = jax.grad(_loss)(law, batch, equal)
        change, moments = _optimizer().update(slope, moments, law)
        law = jax.tree.map(jnp.add, law, change)
        return (law, moments, jax.tree.map(jnp.add, total, law)), None

    nothing = jax.tree.map(jnp.zeros_like, state[0])
    carry = (*state, nothing)
    (law, moments, total), _ = jax.lax.scan(one, carry, jax.random.split(key, _STEPS))
    return (law, moments), jax.tree.map(lambda v: v / _STEPS, total)


def _optimizer() -> Any:
    import optax

    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(_RATE))
