"""A conditional autoregressive spline flow: a normalised density that can be drawn from exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from probinf.core.flows.splines import (
    Knots,
    beyond,
    free_knots,
    open_knots,
    spline,
    spline_inverse,
)
from probinf.core.program import Key

Tails = Literal["identity", "linear"]

_BOUND: dict[Tails, float] = {"identity": 5.0, "linear": 3.0}
_MOST_LOG_SCALE = 5.0


class Layer(eqx.Module):
    """A masked network: the outputs of a coordinate see only the coordinates before it.

    The context reaches every hidden layer. Output weights start near zero, the flow as the
    identity.

    Attributes:
        inputs: weights of each linear map.
        contexts: weights of the context in each linear map.
        biases: of each linear map.
    """

    inputs: list[Float[Array, "..."]]
    contexts: list[Float[Array, "..."]]
    biases: list[Float[Array, "..."]]

    def __init__(
        self, key: Key, size: int, context: int, hidden: tuple[int, ...], outputs: int
    ) -> None:
        self.inputs, self.contexts, self.biases = [], [], []
        for k, (n, m) in enumerate(itertools.pairwise((size, *hidden, size * outputs))):
            first, second = jax.random.split(jax.random.fold_in(key, k))
            bound = (1e-2 if k == len(hidden) else 1.0) / np.sqrt(n + context)
            shapes = (m, n), (m, context)
            self.inputs.append(jax.random.uniform(first, shapes[0], minval=-bound, maxval=bound))
            self.contexts.append(jax.random.uniform(second, shapes[1], minval=-bound, maxval=bound))
            self.biases.append(jnp.zeros(m))

    def __call__(
        self, z: Float[Array, " d"], context: Float[Array, " c"], masks: list[Array]
    ) -> Float[Array, "d p"]:
        """The numbers that make the map of every coordinate."""
        return self._through(z, context, masks, lambda rows: rows).reshape(z.shape[0], -1)

    def of_one(
        self, z: Float[Array, " d"], context: Float[Array, " c"], masks: list[Array], i: Array
    ) -> Float[Array, " p"]:
        """Those of one coordinate, by its rows of the last linear map, which is the largest."""
        count = self.biases[-1].shape[0] // z.shape[0]
        its = partial(jax.lax.dynamic_slice_in_dim, start_index=i * count, slice_size=count)
        return self._through(z, context, masks, its)

    def _through(
        self, z: Array, context: Array, masks: list[Array], wanted: Callable[[Array], Array]
    ) -> Array:
        out, last = z, len(masks) - 1
        for k, mask in enumerate(masks):
            parts = self.inputs[k] * mask, self.contexts[k], self.biases[k]
            inputs, contexts, bias = map(wanted, parts) if k == last else parts
            moved = inputs @ out + contexts @ context + bias
            if k < last:
                moved = jax.nn.silu(moved)
                moved = moved + out if k > 0 and moved.shape == out.shape else moved
            out = moved
        return out


def _masks(order: np.ndarray, hidden: tuple[int, ...], outputs: int) -> list[np.ndarray]:
    """Which weights may be used, when coordinates are made in this order."""
    rank = np.empty(len(order), int)
    rank[order] = np.arange(1, len(order) + 1)
    degrees = [rank, *(np.arange(width) % len(order) for width in hidden)]  # 0: context only
    masks = [b[:, None] >= a[None] for a, b in itertools.pairwise(degrees)]
    masks.append(np.repeat(rank, outputs)[:, None] > degrees[-1][None])
    return [mask.astype("f4") for mask in masks]


class SplineFlow(eqx.Module):
    """A density on R^d given a context, by autoregressive rational-quadratic splines.

    Each layer shifts and scales a coordinate and sends it through a monotone spline with
    parameters that depend on the context and on earlier coordinates; the image is standard
    normal.

    Args:
        key: random key of the first weights.
        size: d.
        context: length of the context; 0 for an unconditional density.
        layers: transformations; their order of coordinates alternates.
        hidden: widths of the conditioner's layers.
        bins: of each spline.
        tails: ``"identity"``, of splines on [-5, 5]; or ``"linear"``, of splines on [-3, 3] to any
            interval, which go on with their outer slopes: what no draw of the training has reached
            follows from what some have.

    Source: Durkan, Bekasov, Murray & Papamakarios (2019); Papamakarios, Pavlakou & Murray
    (2017) for the masked conditioner.
    """

    stack: Layer
    size: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    bins: int = eqx.field(static=True)
    tails: Tails = eqx.field(static=True)

    def __init__(
        self,
        key: Key,
        size: int,
        context: int,
        *,
        layers: int = 5,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        tails: Tails = "identity",
    ) -> None:
        self.size, self.layers, self.hidden, self.bins = size, layers, tuple(hidden), bins
        self.tails = tails
        one = partial(Layer, size=size, context=context, hidden=self.hidden, outputs=self._outputs)
        self.stack = eqx.filter_vmap(one)(jax.random.split(key, layers))

    @property
    def _outputs(self) -> int:
        """Numbers that make the map of one coordinate."""
        return 3 * self.bins + (1 if self.tails == "identity" else 3)

    @property
    def orders(self) -> np.ndarray:
        """(layers, d) order in which each layer makes the coordinates: forth and back in turn."""
        rows = []
        for k in range(self.layers):
            row = np.random.default_rng(k // 2).permutation(self.size)
            row = np.arange(self.size) if k < 2 else row
            rows.append(row if k % 2 == 0 else row[::-1])
        return np.stack(rows)

    def _stacked(self) -> tuple[Layer, list[Array], Array]:
        """What differs between layers, for a scan: one compilation serves all of them."""
        masks = [_masks(order, self.hidden, self._outputs) for order in self.orders]
        stacked = [jnp.asarray(np.stack(m)) for m in zip(*masks, strict=True)]
        return self.stack, stacked, jnp.asarray(self.orders)

    def to_normal(
        self, z: Float[Array, " d"], context: Float[Array, " c"]
    ) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """The standard normal image of ``z``, and the log of its Jacobian determinant."""

        def through(z: Array, item: Any) -> tuple[Array, Array]:
            layer, masks, _ = item
            return _forward(z, layer(z, context, masks), self.tails)

        z, context = self._alike(z, context)
        z, changes = jax.lax.scan(through, z, self._stacked())
        return z, jnp.sum(changes)

    def from_normal(self, u: Float[Array, " d"], context: Float[Array, " c"]) -> Float[Array, " d"]:
        """The exact inverse of :meth:`to_normal`, coordinate after coordinate."""

        def back(u: Array, item: Any) -> tuple[Array, None]:
            layer, masks, order = item

            def fill(z: Array, i: Array) -> tuple[Array, None]:
                raw = layer.of_one(z, context, masks, i)
                return z.at[i].set(_backward(u[i], raw, self.tails)), None

            return jax.lax.scan(fill, jnp.zeros_like(u), order)[0], None

        u, context = self._alike(u, context)
        return jax.lax.scan(back, u, self._stacked(), reverse=True)[0]

    def _alike(self, z: Array, context: Array) -> tuple[Array, Array]:
        """A vector and a context in the widest type of both and of the weights."""
        kind = jnp.result_type(z, context, *jax.tree.leaves(self.stack))
        return jnp.asarray(z, kind), jnp.asarray(context, kind)

    def log_density(self, z: Float[Array, " d"], context: Float[Array, " c"]) -> Float[Array, ""]:
        """Log of the normalised density at ``z``."""
        u, log_det = self.to_normal(z, context)
        return log_det - 0.5 * jnp.sum(u**2) - 0.5 * self.size * jnp.log(2 * jnp.pi)

    def draw(self, key: Key, context: Float[Array, " c"]) -> Float[Array, " d"]:
        """One exact draw."""
        return self.from_normal(jax.random.normal(key, (self.size,)), context)


def _scale(raw: Array) -> Array:
    """Log scale, bounded smoothly so that no coordinate can blow up."""
    return _MOST_LOG_SCALE * jnp.tanh(raw / _MOST_LOG_SCALE)


def _knots(raw: Array, tails: Tails) -> Knots:
    make = free_knots if tails == "identity" else open_knots
    return make(raw[..., 2:], _BOUND[tails])


def _forward(z: Array, raw: Array, tails: Tails) -> tuple[Array, Array]:
    log_scale = _scale(raw[..., 1])
    v = (z - raw[..., 0]) * jnp.exp(-log_scale)
    inside = jnp.abs(v) < _BOUND[tails]
    knots = _knots(raw, tails)
    image, log_slope = spline(jnp.where(inside, v, 0.0), knots)
    outside, log_outer = (v, 0.0) if tails == "identity" else beyond(v, knots)
    return jnp.where(inside, image, outside), jnp.where(inside, log_slope, log_outer) - log_scale


def _backward(u: Array, raw: Array, tails: Tails) -> Array:
    knots = _knots(raw, tails)
    low, high = knots.y[..., 0], knots.y[..., -1]
    inside = (u > low) & (u < high)
    swapped = Knots(knots.y, knots.x, 1 / knots.slope)
    outside = u if tails == "identity" else beyond(u, swapped)[0]
    middle = 0.5 * (low + high)
    v = jnp.where(inside, spline_inverse(jnp.where(inside, u, middle), knots), outside)
    return v * jnp.exp(_scale(raw[..., 1])) + raw[..., 0]
