"""The network that stands in for a log likelihood, and its training."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

_BATCH = 256
_CROSS = 16  # coordinates up to which products of two are inputs
_DEPTH = 8.0  # nats below the best point, from which on errors are relative
_HELD = 0.1
_ABOVE = 5.0  # nats over the best point that the network may promise
_RATE = 1e-2
_TRIAL = 4  # a width is tried for one of so many parts of the steps


class LogLikelihood(eqx.Module):
    """Flat position to log likelihood: a quadratic fit, corrected by a network.

    The network works on ``squeezed`` depths below the best point, linear near it and logarithmic
    far below, so that its errors are absolute where the posterior lies and relative elsewhere.

    Attributes:
        interval: which coordinates are logits of places in intervals; to the network these places
            are given, in which a likelihood ends at the prior's edge as it would anywhere.
        centre, scale: of positions.
        quadratic: coefficients of the quadratic fit, by features.
        top: largest log likelihood of the training points.
        layers: of the network, silu between them.
    """

    interval: Bool[Array, " d"]
    centre: Float[Array, " d"]
    scale: Float[Array, " d"]
    quadratic: Float[Array, " f"]
    top: Float[Array, ""]
    layers: list[eqx.nn.Linear]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """The approximate log likelihood at one position."""
        value = -_DEPTH * released(self.depth(x))
        # far from all points a network may rise to anything, where no likelihood was seen to
        return self.top + value - jax.nn.softplus(value - _ABOVE)

    def depth(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """How far below the best point, squeezed."""
        z = (placed(x, self.interval) - self.centre) / self.scale
        features = quadratics(z)
        first = squeezed(-self.quadratic @ features / _DEPTH)
        h = jnp.concatenate([z, jnp.tanh(features[1 + z.size :] / 4), first[None]])
        for layer in self.layers[:-1]:
            h = jax.nn.silu(layer(h))
        return first + self.layers[-1](h)[0]


def placed(x: Any, interval: Any) -> Any:
    """Logits as places between -1 and 1."""
    return jnp.where(interval, jnp.tanh(x / 2), x)


def squeezed(v: Any) -> Any:
    """``log(1 + v)`` above zero, ``v`` below."""
    return jnp.where(v > 0, jnp.log1p(jnp.maximum(v, 0.0)), v)


def released(u: Any) -> Any:
    """The inverse of ``squeezed``."""
    return jnp.where(u > 0, jnp.expm1(jnp.clip(u, 0.0, 30.0)), u)


def quadratics(z: Any) -> Any:
    """(..., f) one, the coordinates (..., d), their squares and, of few, their products."""
    d = z.shape[-1]
    rows, columns = np.triu_indices(d) if d <= _CROSS else (np.arange(d), np.arange(d))
    space = np if isinstance(z, np.ndarray) else jnp
    return space.concatenate(
        [space.ones_like(z[..., :1]), z, z[..., rows] * z[..., columns]], axis=-1
    )


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
    key: Array,
    x: np.ndarray,
    y: np.ndarray,
    importance: np.ndarray,
    interval: np.ndarray,
    widths: Any,
    steps: int,
) -> Trained:
    """A network of the width that a short training found best on held-out points.

    Args:
        key: random key.
        x: (n, d) positions.
        y: (n,) their log likelihoods, finite.
        importance: (n,) weights by which errors are judged, adding up to one.
        interval: (d,) which coordinates are logits of places in intervals.
        widths: of two hidden layers each, which are tried.
        steps: of Adam; a quarter of it for each width where there are several.
    """
    order = np.asarray(jax.random.permutation(key, len(y)))
    held, rest = np.split(order, [int(_HELD * len(y))])
    top = float(y.max())
    depth = np.asarray(squeezed((top - y) / _DEPTH))
    start = _quadratic(x[rest], y[rest] - top, interval)
    data = _padded(x[rest], depth[rest])

    def network_of(width: int, steps: int) -> Trained:
        first = _network(jax.random.fold_in(key, width), start, top, width)
        network = _adam(first, data, len(rest), jax.random.fold_in(key, 2 * width + 1), steps)
        gap = values(network, x[held]) - y[held]
        share = importance[held] + 1e-300
        return Trained(network, float(np.sqrt(np.average(gap**2, weights=share))), width)

    width = widths[0]
    if len(widths) > 1:
        tried = [network_of(w, steps // _TRIAL) for w in widths]
        width = min(tried, key=lambda one: np.inf if np.isnan(one.error) else one.error).width
    return network_of(width, steps)


def values(network: Any, x: np.ndarray) -> np.ndarray:
    """(n,) values at positions (n, d)."""
    return np.asarray(_values(network, *_padded(x)), float)[: len(x)]


def _padded(*arrays: np.ndarray) -> tuple[Array, ...]:
    """To the next power of two, so that few lengths are compiled."""
    n = len(arrays[0])
    more = (1 << (n - 1).bit_length()) - n
    return tuple(jnp.asarray(np.pad(a, [(0, more), *[(0, 0)] * (a.ndim - 1)])) for a in arrays)


@jax.jit
def _values(network: Any, rows: Array) -> Array:
    return jax.vmap(network)(rows)


def _quadratic(x: np.ndarray, y: np.ndarray, interval: np.ndarray) -> tuple[np.ndarray, ...]:
    x = np.asarray(placed(x, interval), float)
    weights = 1 / (1 - y / _DEPTH) ** 2
    inside = weights / weights.sum()
    centre = inside @ x
    scale = np.sqrt(inside @ (x - centre) ** 2) + 1e-12
    features = quadratics((x - centre) / scale)
    root = np.sqrt(weights)[:, None]
    ridge = 1e-3 * np.eye(features.shape[1])
    normal = (root * features).T @ (root * features) + ridge
    return interval, centre, scale, np.linalg.solve(normal, features.T @ (weights * y))


def _network(key: Array, fit: tuple[np.ndarray, ...], top: float, width: int) -> LogLikelihood:
    centre, scale, weights = (jnp.asarray(v, float) for v in fit[1:])
    size = len(weights)  # the features without the constant, and the fit
    keys = jax.random.split(key, 3)
    last = eqx.nn.Linear(width, 1, key=keys[2])
    last = eqx.tree_at(lambda layer: layer.weight, last, jnp.zeros_like(last.weight))
    layers = [
        eqx.nn.Linear(size, width, key=keys[0]),
        eqx.nn.Linear(width, width, key=keys[1]),
        eqx.tree_at(lambda layer: layer.bias, last, jnp.zeros_like(last.bias)),
    ]
    return LogLikelihood(
        jnp.asarray(fit[0]), centre, scale, weights, jnp.asarray(top, float), layers
    )


@jax.jit
def _adam(first: LogLikelihood, data: Any, count: Any, key: Array, steps: Any) -> LogLikelihood:
    x, depth = data
    optimiser = optax.scale_by_adam()

    def loss(layers: Any, rows: Array) -> Array:
        network = eqx.tree_at(lambda n: n.layers, first, layers)
        gap = jax.vmap(network.depth)(x[rows]) - depth[rows]
        return jnp.mean(jnp.sqrt(0.01 + gap**2))

    def step(k: Array, carry: Any) -> Any:
        layers, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, k), (_BATCH,), 0, count)
        updates, state = optimiser.update(jax.grad(loss)(layers, rows), state)
        rate = _RATE * (1 + jnp.cos(jnp.pi * k / steps)) / 2
        return jax.tree.map(lambda v, u: v - rate * u, layers, updates), state

    carry = (first.layers, optimiser.init(first.layers))
    layers, _ = jax.lax.fori_loop(0, steps, step, carry)
    network: LogLikelihood = eqx.tree_at(lambda n: n.layers, first, layers)
    return network
