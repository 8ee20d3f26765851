"""Transformer: context tokens see each other, queries see the context, queries never meet."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from probinf.core.program import Key

_HIDDEN = -1e9  # not -inf: with an empty context a softmax over it must stay finite


class Dense(eqx.Module):
    """An affine map of the last axis; weights start as N(0, gain² / inputs), biases at 0."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, key: Key, gain: float = 1.0) -> None:
        self.weight = gain * jax.random.normal(key, (inputs, outputs)) / jnp.sqrt(inputs)
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        return x @ self.weight + self.bias


class Perceptron(eqx.Module):
    """Dense, GELU, dense; ``gain`` scales the start of the last layer."""

    first: Dense
    last: Dense

    def __init__(self, inputs: int, hidden: int, outputs: int, key: Key, gain: float = 1.0) -> None:
        one, two = jax.random.split(key)
        self.first = Dense(inputs, hidden, one)
        self.last = Dense(hidden, outputs, two, gain)

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        return self.last(jax.nn.gelu(self.first(x)))


class Norm(eqx.Module):
    """Layer normalisation of the last axis."""

    scale: Float[Array, " width"]
    shift: Float[Array, " width"]

    def __init__(self, width: int) -> None:
        self.scale, self.shift = jnp.ones(width), jnp.zeros(width)

    def __call__(self, x: Float[Array, "*rows width"]) -> Float[Array, "*rows width"]:
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.mean(centred**2, -1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * self.scale + self.shift


class Attention(eqx.Module):
    """Multi-head attention of every token to the visible context and to itself."""

    projection: Dense
    out: Dense
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, key: Key) -> None:
        one, two = jax.random.split(key)
        self.projection = Dense(width, 3 * width, one)
        self.out = Dense(width, width, two, gain=0.0)  # blocks start as the identity
        self.heads = heads

    def __call__(
        self, tokens: Float[Array, "rows width"], mask: Bool[Array, " n"]
    ) -> Float[Array, "rows width"]:
        rows, width = tokens.shape
        n = mask.shape[0]
        q, k, v = jnp.moveaxis(self.projection(tokens).reshape(rows, 3, self.heads, -1), 1, 0)
        q = q / jnp.sqrt(width / self.heads)
        scores = jnp.einsum("mhe,nhe->hmn", q, k[:n]) + jnp.where(mask, 0.0, _HIDDEN)
        # A visible context row finds itself among the context; all other tokens see themselves.
        alone = jnp.concatenate([~mask, jnp.ones(rows - n, bool)])
        own = jnp.sum(q * k, -1) + jnp.where(alone, 0.0, _HIDDEN)[:, None]
        weights = jax.nn.softmax(jnp.concatenate([scores, own.T[..., None]], -1))
        mixed = jnp.einsum("hmn,nhe->mhe", weights[..., :-1], v[:n])
        mixed = mixed + weights[..., -1].T[..., None] * v
        return self.out(mixed.reshape(rows, width))


class Block(eqx.Module):
    """Pre-norm attention and perceptron, each added to its input."""

    attention: Attention
    perceptron: Perceptron
    norms: tuple[Norm, Norm]

    def __init__(self, width: int, heads: int, hidden: int, key: Key) -> None:
        one, two = jax.random.split(key)
        self.attention = Attention(width, heads, one)
        self.perceptron = Perceptron(width, hidden, width, two, gain=0.0)
        self.norms = (Norm(width), Norm(width))

    def __call__(
        self, tokens: Float[Array, "rows width"], mask: Bool[Array, " n"]
    ) -> Float[Array, "rows width"]:
        tokens = tokens + self.attention(self.norms[0](tokens), mask)
        return tokens + self.perceptron(self.norms[1](tokens))


class Transformer(eqx.Module):
    """A stack of blocks on context and queries; symmetric in the context, no positions.

    Cost is O(n² + n m) for n context and m query tokens. After "Transformers can do Bayesian
    inference" (Müller et al., 2022, arXiv 2112.10510, section 3), with pre-normalisation.
    """

    blocks: tuple[Block, ...]
    norm: Norm

    def __init__(self, width: int, layers: int, heads: int, hidden: int, key: Key) -> None:
        keys = jax.random.split(key, layers)
        self.blocks = tuple(Block(width, heads, hidden, k) for k in keys)
        self.norm = Norm(width)

    def __call__(
        self,
        context: Float[Array, "n width"],
        mask: Bool[Array, " n"],
        queries: Float[Array, "m width"],
    ) -> Float[Array, "m width"]:
        tokens = jnp.concatenate([context, queries])
        for block in self.blocks:  # unrolled: a scan ran a third slower on a CPU
            tokens = block(tokens, mask)
        return self.norm(tokens[context.shape[0] :])


class CrossBlock(eqx.Module):
    """Tokens attend to each other and to unchanging others; then a perceptron; both are added."""

    query: Dense
    key_value: Dense
    out: Dense
    perceptron: Perceptron
    norms: tuple[Norm, Norm]
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, hidden: int, key: Key) -> None:
        one, two, three, four = jax.random.split(key, 4)
        self.query, self.key_value = Dense(width, width, one), Dense(width, 2 * width, two)
        self.out = Dense(width, width, three, gain=0.0)
        self.perceptron = Perceptron(width, hidden, width, four, gain=0.0)
        self.norms, self.heads = (Norm(width), Norm(width)), heads

    def __call__(
        self,
        tokens: Float[Array, "c width"],
        others: Float[Array, "n width"],
        mask: Bool[Array, " n"],
    ) -> Float[Array, "c width"]:
        c, width = tokens.shape
        normed = self.norms[0](tokens)
        everyone = jnp.concatenate([normed, others])
        seen = jnp.concatenate([jnp.ones(c, bool), mask])
        q = self.query(normed).reshape(c, self.heads, -1) / jnp.sqrt(width / self.heads)
        k, v = jnp.moveaxis(
            self.key_value(everyone).reshape(everyone.shape[0], 2, self.heads, -1), 1, 0
        )
        scores = jnp.einsum("che,nhe->hcn", q, k) + jnp.where(seen, 0.0, _HIDDEN)
        mixed = jnp.einsum("hcn,nhe->che", jax.nn.softmax(scores), v)
        tokens = tokens + self.out(mixed.reshape(c, width))
        return tokens + self.perceptron(self.norms[1](tokens))
