"""The mathematics of a decoder-only transformer, as functions of a tree of weights.

Weights are a dict: ``embedding`` (V, d), ``norm`` (d,), ``head`` (V, d) unless it is the embedding
again, and ``blocks``, a list of dicts with ``attention_norm`` (d,), ``query`` (d, H h), ``key`` and
``value`` (d, K h), ``output`` (H h, d), ``mlp_norm`` (d,), ``gate`` and ``up`` (d, m), ``down``
(m, d), and ``query_bias``, ``key_bias``, ``value_bias`` where the model has them.

Sources: RMSNorm: Zhang & Sennrich (2019); rotary positions: Su et al. (2021); grouped queries:
Ainslie et al. (2023); SwiGLU: Shazeer (2020).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.lm.architecture import Architecture

Weights = dict[str, Any]


class Past(NamedTuple):
    """Keys and values to attend to.

    Attributes:
        keys: (N, S, K, h), or (S, K, h) when all rows share them.
        values: of the same shape.
        seen: broadcasts to (N, T, S): which query may look at which key.
    """

    keys: Array
    values: Array
    seen: Bool[Array, "..."]


Remember = Callable[[int, Array, Array], tuple[list[Past], Any]]
"""``(layer, new keys, new values) -> (what to attend to, what to keep)``."""


def norm(x: Array, scale: Array, epsilon: float) -> Array:
    """Root-mean-square normalisation over the last axis."""
    wide = x.astype(jnp.float32)
    root = jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + epsilon)
    return (wide * root).astype(x.dtype) * scale


def rotate(x: Float[Array, "n t heads h"], angles: Float[Array, "n t half"], rope: str) -> Array:
    """Each pair of coordinates turned by its angle."""
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    if rope == "halves":
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], -1)
    return turned.reshape(x.shape).astype(x.dtype)


def attend(query: Float[Array, "n t heads h"], past: list[Past]) -> Float[Array, "n t width"]:
    """Grouped-query attention over several stores at once."""
    n, t, heads, size = query.shape
    groups = past[0].keys.shape[-2]
    q = query.reshape(n, t, groups, heads // groups, size) * size**-0.5
    scores = []
    for keys, _, seen in past:
        name = "ntkgh,skh->nkgts" if keys.ndim == 3 else "ntkgh,nskh->nkgts"
        mask = jnp.broadcast_to(seen, (n, t, keys.shape[-3]))[:, None, None]
        found = jnp.einsum(name, q, keys, preferred_element_type=jnp.float32)
        scores.append(jnp.where(mask, found, -jnp.inf))
    shares = jax.nn.softmax(jnp.concatenate(scores, -1), axis=-1).astype(query.dtype)
    ends = np.cumsum([s.shape[-1] for s in scores])[:-1]
    out = []
    for share, (_, values, _) in zip(jnp.split(shares, ends, -1), past, strict=True):
        name = "nkgts,skh->ntkgh" if values.ndim == 3 else "nkgts,nskh->ntkgh"
        out.append(jnp.einsum(name, share, values))
    return sum(out[1:], out[0]).reshape(n, t, heads * size)


def decode(
    weights: Weights,
    shape: Architecture,
    tokens: Int[Array, "n t"],
    positions: Int[Array, "n t"],
    remember: Remember,
) -> tuple[Float[Array, "n t d"], list[Any]]:
    """The residual stream after the last norm, and what each layer keeps.

    Args:
        weights: as described above.
        shape: the architecture.
        tokens: of each row.
        positions: of each token in its own row's text.
        remember: stores keys and values and says what to attend to.
    """
    angles = positions[..., None] * jnp.asarray(shape.frequencies(), jnp.float32)
    x = weights["embedding"].at[tokens].get(mode="fill", fill_value=jnp.nan)  # no such token
    kept = []
    for layer, w in enumerate(weights["blocks"]):
        queries, keys, values = _projected(w, x, angles, shape=shape)
        past, store = remember(layer, keys, values)
        kept.append(store)
        x = _added(w, x, queries, past, shape=shape)
    return norm(x, weights["norm"], shape.norm_epsilon), kept


@functools.partial(jax.jit, static_argnames="shape")  # traced once for all layers
def _projected(
    w: Weights, x: Array, angles: Array, *, shape: Architecture
) -> tuple[Array, Array, Array]:
    """Queries and keys, turned, and values."""
    n, t, _ = x.shape
    h = norm(x, w["attention_norm"], shape.norm_epsilon)
    q = _project(h, w, "query").reshape(n, t, shape.heads, shape.head_size)
    k = _project(h, w, "key").reshape(n, t, shape.kv_heads, shape.head_size)
    v = _project(h, w, "value").reshape(n, t, shape.kv_heads, shape.head_size)
    return rotate(q, angles, shape.rope), rotate(k, angles, shape.rope), v


@functools.partial(jax.jit, static_argnames="shape")
def _added(w: Weights, x: Array, queries: Array, past: list[Past], *, shape: Architecture) -> Array:
    """The residual stream with a layer's attention and feed-forward added."""
    x = x + attend(queries, past) @ w["output"]
    h = norm(x, w["mlp_norm"], shape.norm_epsilon)
    return x + (jax.nn.silu(h @ w["gate"]) * (h @ w["up"])) @ w["down"]


def _project(h: Array, w: Weights, name: str) -> Array:
    out = h @ w[name]
    return out + w[f"{name}_bias"] if f"{name}_bias" in w else out


def logits(
    weights: Weights, shape: Architecture, x: Float[Array, "*rows d"]
) -> Float[Array, "*rows V"]:
    """Unnormalised log probabilities of the next token, in single precision or better."""
    head = weights.get("head", weights["embedding"])
    out = jnp.einsum("...d,vd->...v", x, head, preferred_element_type=jnp.float32)
    if not shape.other_ends:
        return out
    ends = jnp.asarray((shape.eos, *shape.other_ends))
    together = jax.nn.logsumexp(out[..., ends], -1)
    return out.at[..., ends].set(-jnp.inf).at[..., shape.eos].set(together)


def initial_weights(key: Array, shape: Architecture, *, biases: bool, tied: bool) -> Weights:
    """Random weights: normal with variance 1 / inputs, those that end in the residual stream
    smaller by the root of the number of additions to it."""

    def normal(*sizes: int, scale: float = 1.0) -> Array:
        nonlocal key
        key, now = jax.random.split(key)
        return jax.random.normal(now, sizes) * scale * sizes[0] ** -0.5

    d, inner = shape.width, shape.heads * shape.head_size
    outer, last = shape.kv_heads * shape.head_size, (2 * shape.layers) ** -0.5
    blocks = []
    for _ in range(shape.layers):
        block = {
            "attention_norm": jnp.ones(d),
            "query": normal(d, inner),
            "key": normal(d, outer),
            "value": normal(d, outer),
            "output": normal(inner, d, scale=last),
            "mlp_norm": jnp.ones(d),
            "gate": normal(d, shape.hidden),
            "up": normal(d, shape.hidden),
            "down": normal(shape.hidden, d, scale=last),
        }
        if biases:
            block |= {"query_bias": jnp.zeros(inner), "key_bias": jnp.zeros(outer)}
            block |= {"value_bias": jnp.zeros(outer)}
        blocks.append(block)
    embedding = normal(d, shape.vocab_size).T
    weights: Weights = {"embedding": embedding, "norm": jnp.ones(d), "blocks": blocks}
    return weights if tied else weights | {"head": normal(d, shape.vocab_size).T}
