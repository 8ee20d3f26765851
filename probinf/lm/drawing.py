"""Drawing tokens: by one random number instead of as many as there are tokens."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.program import Key


def draw(key: Key, logits: Float[Array, "n vocab"]) -> Int[Array, " n"]:
    """A token for each row, by its probabilities; one of probability zero is never drawn.

    The distribution function is inverted in two stages, first over blocks of about sqrt(V)
    tokens, then within one: small probabilities are not lost beside a sum that is large, and a
    row needs two uniform numbers, where the usual way needs V of them and their logarithms
    (six times as long for V = 49,152).

    Args:
        key: random key.
        logits: (N, V), unnormalised; not all of a row -inf.
    """
    n, vocab = logits.shape
    width = math.isqrt(vocab - 1) + 1
    blocks = -(-vocab // width)
    shares = jnp.exp(logits - logits.max(-1, keepdims=True))
    shares = jnp.pad(shares, ((0, 0), (0, blocks * width - vocab))).reshape(n, blocks, width)
    u = 1 - jax.random.uniform(key, (2, n), shares.dtype)  # (0, 1]: zero would draw the impossible
    block = _inverted(shares.sum(-1), u[0])
    inside = jnp.take_along_axis(shares, block[:, None, None], 1)[:, 0]
    return jnp.minimum(block * width + _inverted(inside, u[1]), vocab - 1)


def _inverted(shares: Float[Array, "n k"], u: Float[Array, " n"]) -> Int[Array, " n"]:
    """The first possible place at which the running sum reaches the share ``u`` of the whole."""
    sums, possible = jnp.cumsum(shares, -1), shares > 0
    reached = (sums >= u[:, None] * sums[:, -1:]) & possible
    last = shares.shape[1] - 1 - jnp.argmax(possible[:, ::-1], -1)
    return jnp.where(reached.any(-1), jnp.argmax(reached, -1), last)  # sums are rounded
