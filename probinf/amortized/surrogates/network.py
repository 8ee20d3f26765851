"""The network that stands in for a log likelihood, and its training."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

_BATCH = 128
_CROSS = 16  # coordinates up to which products of two are inputs
_DEPTH = 10.0  # nats below the best point, from which on errors count less
_HELD = 0.2
_ABOVE = 5.0  # nats over the best point that the network may promise


class LogLikelihood(eqx.Module):
    """Flat position to log likelihood: a quadratic fit, and a network for what is left.

    Attributes:
        centre, scale: of positions.
        quadratic: coefficients of the quadratic fit, by features.
        spread: of what the quadratic fit leaves, which scales the network.
        top: largest log likelihood of the training points.
        layers: of the network, silu between them.
    """

    centre: Float[Array, " d"]
    scale: Float[Array, " d"]
    quadratic: Float[Array, " f"]
    spread: Float[Array, ""]
    top: Float[Array, ""]
    layers: list[eqx.nn.Linear]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """The approximate log likelihood at one position."""
        z = (x - self.centre) / self.scale
        features = quadratics(z)
        fit = self.quadratic @ features
        squeezed = jnp.arcsinh(fit / self.spread)
        h = jnp.concatenate([z, jnp.tanh(features[1 + z.size :] / 4), squeezed[None]])
        for layer in self.layers[:-1]:
            h = jax.nn.silu(layer(h))
        out = self.layers[-1](h)[0]
        value = fit + jnp.sinh(jnp.clip(out, -15.0, 15.0)) * self.spread
        # far from all points a network may rise to anything, where no likelihood was seen to
        return self.top + value - jax.nn.softplus(value - _ABOVE)


def quadratics(z: Float[Array, " d"]) -> Float[Array, " f"]:
    """One, the coordinates, their squares and, of few coordinates, their products."""
    d = z.shape[0]
    rows, columns = np.triu_indices(d) if d <= _CROSS else (np.arange(d), np.arange(d))
    return jnp.concatenate([jnp.ones(1, z.dtype), z, z[rows] * z[columns]])


class Trained(NamedTuple):
    """A network and its error.

    Attributes:
        network: the surrogate.
        error: root mean squared error, in nats, on held-out points that carry the posterior.
        width: of its hidden layers.
    """

    network: LogLikelihood
    error: float
    width: int


def trained(
    key: Array, x: np.ndarray, y: np.ndarray, importance: np.ndarray, widths: Any, steps: int
) -> Trained:
    """The best of some widths on held-out points.

    Args:
        key: random key.
        x: (n, d) positions.
        y: (n,) their log likelihoods, finite.
        importance: (n,) weights by which errors are judged, adding up to one.
        widths: of two hidden layers each, which are tried.
        steps: of Adam for each.
    """
    order = np.asarray(jax.random.permutation(key, len(y)))
    held = order[: int(_HELD * len(y))]
    rest = order[len(held) :]
    top = float(y.max())
    depth = 1 / (1 + (top - y) / _DEPTH) ** 2
    start = _quadratic(x[rest], y[rest] - top, depth[rest])
    found = []
    for k, width in enumerate(widths):
        first = _network(jax.random.fold_in(key, k), start, top, width)
        data = (jnp.asarray(x[rest]), jnp.asarray(y[rest]), jnp.asarray(depth[rest]))
        network = _adam(first, data, jax.random.fold_in(key, 100 + k), steps)
        gap = np.asarray(jax.vmap(network)(jnp.asarray(x[held])), float) - y[held]
        share = importance[held] + 1e-300
        found.append(Trained(network, float(np.sqrt(np.average(gap**2, weights=share))), width))
    return min(found, key=lambda one: np.inf if np.isnan(one.error) else one.error)


def _quadratic(
    x: np.ndarray, y: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    inside = depth / depth.sum()
    centre = inside @ x
    scale = np.sqrt(inside @ (x - centre) ** 2) + 1e-12
    features = np.asarray(jax.vmap(quadratics)(jnp.asarray((x - centre) / scale)), float)
    root = np.sqrt(depth)[:, None]
    ridge = 1e-3 * np.eye(features.shape[1])
    normal = (root * features).T @ (root * features) + ridge
    weights = np.linalg.solve(normal, features.T @ (depth * y))
    left = y - features @ weights
    spread = np.sqrt(np.average(left**2, weights=depth)) + 1e-3
    return centre, scale, weights, np.asarray(spread)


def _network(key: Array, fit: tuple[np.ndarray, ...], top: float, width: int) -> LogLikelihood:
    centre, scale, weights, spread = (jnp.asarray(v, float) for v in fit)
    size = len(weights)  # the features without the constant, and the fit
    keys = jax.random.split(key, 3)
    last = eqx.nn.Linear(width, 1, key=keys[2])
    last = eqx.tree_at(lambda layer: layer.weight, last, jnp.zeros_like(last.weight))
    layers = [
        eqx.nn.Linear(size, width, key=keys[0]),
        eqx.nn.Linear(width, width, key=keys[1]),
        eqx.tree_at(lambda layer: layer.bias, last, jnp.zeros_like(last.bias)),
    ]
    return LogLikelihood(centre, scale, weights, spread, jnp.asarray(top, float), layers)


@partial(jax.jit, static_argnames=("steps",))
def _adam(first: LogLikelihood, data: Any, key: Array, steps: int) -> LogLikelihood:
    x, y, depth = data
    optimiser = optax.adam(optax.cosine_decay_schedule(3e-3, max(steps, 1)))

    def loss(layers: Any, rows: Array) -> Array:
        network = eqx.tree_at(lambda n: n.layers, first, layers)
        gap = jax.vmap(network)(x[rows]) - y[rows]
        # in units of what is worth knowing there: one nat near the top, more further down
        gap = gap * jnp.sqrt(depth[rows])
        return jnp.mean(jnp.sqrt(1 + gap**2) - 1)

    def step(carry: Any, key: Array) -> tuple[Any, None]:
        layers, state = carry
        rows = jax.random.randint(key, (_BATCH,), 0, x.shape[0])
        updates, state = optimiser.update(jax.grad(loss)(layers, rows), state)
        return (optax.apply_updates(layers, updates), state), None

    carry = (first.layers, optimiser.init(first.layers))
    (layers, _), _ = jax.lax.scan(step, carry, jax.random.split(key, steps))
    network: LogLikelihood = eqx.tree_at(lambda n: n.layers, first, layers)
    return network
