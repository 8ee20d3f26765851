"""Network: tokens of rows, a transformer, and a head; the network of a PFN."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from probinf.amortized.heads.bars import Bars
from probinf.amortized.heads.categorical import Categorical
from probinf.amortized.heads.mixture import Mixture
from probinf.amortized.nets.attention import Dense, Perceptron, Transformer
from probinf.core.program import Key

Head = Bars | Mixture | Categorical
_HEADS: dict[str, Any] = {"bars": Bars, "mixture": Mixture, "categorical": Categorical}
_CLIP = 8.0


def head_of(config: dict[str, Any]) -> Head:
    """The head that a configuration describes."""
    options = {k: v for k, v in config["head"].items() if k != "kind"}
    if "borders" in options:
        options["borders"] = tuple(options["borders"])
    found: Head = _HEADS[config["head"]["kind"]](**options)
    return found


class Network(eqx.Module):
    """Tokens of context rows and queries, a transformer, and a head on the queries."""

    encode_x: Dense
    encode_y: Dense
    transformer: Transformer
    head: Perceptron
    fourier: int = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)
    standardise: bool = eqx.field(static=True)

    def __init__(self, config: dict[str, Any], key: Key) -> None:
        one, two, three, four = jax.random.split(key, 4)
        width, classes = config["width"], config["classes"]
        columns = config["inputs"] * (1 + 2 * config["fourier"])
        self.encode_x = Dense(columns, width, one)
        self.encode_y = Dense(classes or 1, width, two)
        self.transformer = Transformer(width, config["layers"], config["heads"], 2 * width, three)
        self.head = Perceptron(width, 2 * width, config["outputs"], four, gain=0.1)
        self.fourier, self.classes = config["fourier"], classes
        self.standardise = config["standardise"]

    def features(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows columns"]:
        """Inputs centred on [0, 1], followed by sines and cosines of periods 2, 1, 2/3, ..."""
        if self.fourier == 0:
            return x
        angle = jnp.pi * x[..., None] * jnp.arange(1, self.fourier + 1)
        waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
        centred = (x - 0.5) * np.sqrt(12)
        return jnp.concatenate([centred, waves.reshape(x.shape[0], -1)], -1)

    def __call__(
        self,
        x: Float[Array, "n inputs"],
        y: Array,
        mask: Bool[Array, " n"],
        x_query: Float[Array, "m inputs"],
    ) -> Float[Array, "m outputs"]:
        if self.standardise:
            x, x_query = _standardised(x, mask, x_query)
        place, query = self.encode_x(self.features(x)), self.encode_x(self.features(x_query))
        column = y[:, None] if self.classes is None else jax.nn.one_hot(y, self.classes)
        context = place + self.encode_y(column.astype(place.dtype))
        return self.head(self.transformer(context, mask, query))


def _standardised(
    x: Float[Array, "n inputs"], mask: Bool[Array, " n"], x_query: Float[Array, "m inputs"]
) -> tuple[Array, Array]:
    """Columns scaled by mean and spread of the visible context; constant columns become zero."""
    seen = mask[:, None].astype(x.dtype)
    count = jnp.maximum(seen.sum(), 1.0)
    mean = jnp.sum(seen * x, 0) / count
    variance = jnp.sum(seen * (x - mean) ** 2, 0) / count
    scale = jnp.where(variance > 1e-12, jax.lax.rsqrt(variance + 1e-12), 0.0)

    def moved(v: Array) -> Array:
        return jnp.clip((v - mean) * scale, -_CLIP, _CLIP)

    return moved(x), moved(x_query)
