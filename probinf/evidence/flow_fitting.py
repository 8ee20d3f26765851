"""A spline flow fitted to weighted draws by maximum likelihood, with a held-out stop."""

from __future__ import annotations

from functools import partial
from typing import Any

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
_MOST = 20_000  # draws that are trained on


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
    if not np.allclose(weights, weights[0], rtol=1e-6):
        z = z[rng.choice(len(z), size=min(len(z), _MOST), p=weights)]
    z = z[rng.permutation(len(z))[:_MOST]]
    held = max(1, int(_HELD_OUT * len(z)))
    rows = jnp.asarray(z, dtype)
    flow = SplineFlow(jax.random.key(0), x.shape[1], 0, layers=_LAYERS, hidden=_HIDDEN, bins=_BINS)
    law = jax.tree.map(lambda leaf: leaf.astype(dtype), FittedFlow(flow))
    law = _trained(law, rows[held:], rows[:held])
    return Scaled(law, jnp.asarray(mean, dtype), jnp.asarray(factor, dtype))


def _trained(law: Any, rows: Array, held: Array) -> Any:
    """The average of weights over the round with the lowest held-out loss."""
    state = (law, _optimizer().init(law))
    best, lowest, waited = law, float(_loss(law, held)), 0
    for look in range(_LOOKS):
        state, average = _round(state, rows, jax.random.key(look))
        loss = float(_loss(average, held))
        if loss < lowest - 1e-3:
            best, lowest, waited = average, loss, 0
            continue
        waited += 1
        if waited >= _PATIENCE:
            break
    return best


@jax.jit
def _loss(law: Any, rows: Array) -> Array:
    return -jnp.mean(jax.vmap(law.log_density)(rows))


@jax.jit
def _round(state: Any, rows: Array, key: Array) -> Any:
    size = min(_BATCH, rows.shape[0])

    def one(carry: Any, key: Array) -> Any:
        law, moments, total = carry
        batch = rows[jax.random.randint(key, (size,), 0, rows.shape[0])]
        slope = jax.grad(partial(_loss, rows=batch))(law)
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
