"""scalable_power: texts of the published look ahead, which is not corrected."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from probinf.core.compiling import jitted
from probinf.core.inputs.limits import at_least, check_choice
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData, blank
from probinf.fronts.tokens.stepping import longer, read
from probinf.tokens.lookahead import Look, looking, rolled
from probinf.tokens.tails import TextChains

Correction = Literal["jackknife", "none"]


def scalable_power(
    program: Program,
    *,
    key: int | Key,
    rows: int = 8,
    candidates: int = 8,
    rollouts: int = 8,
    horizon: int | None = None,
    correction: Correction = "jackknife",
) -> TextChains:
    """Texts of the published algorithm, which draws each token by its look ahead and goes on.

    Its law is that of the power only in the limit of many rollouts (and of all candidates); the
    jackknife takes the largest part of the error away. ``with_lookahead`` is exact.

    Args:
        program: of ``from_language_model``, with an exponent and nothing else.
        key: random key or seed.
        rows: texts.
        candidates: K, likeliest tokens; others are never drawn.
        rollouts: M, of each candidate; at least 2 for the jackknife.
        horizon: most tokens of a rollout; to the end of the text by default.
        correction: ``"jackknife"``, or ``"none"``.

    Returns:
        One draw for each row, with the rows as chains.

    Source: Ji et al. (2026), arXiv 2601.21590, the token-level algorithm.
    """
    sizes, look = looking(program, candidates, rollouts, horizon)
    check_choice("correction", correction, ("jackknife", "none"))
    at_least(1, rows=rows)
    at_least(2 if correction == "jackknife" else 1, rollouts=rollouts)
    found = _published(
        as_key(key), program.data, sizes=sizes, look=look, n=rows, correction=correction
    )
    parts = (found.tokens, found.length, found.log_prob, found.log_potential)
    return TextChains(*(np.asarray(v)[:, None] for v in (*parts, jnp.ones(rows))))


def jackknifed(
    log_p: Float[Array, "*n k"], log_mass: Float[Array, "*n k m"], exponent: Float[Array, ""]
) -> Float[Array, "*n k"]:
    """Probabilities of candidates with the largest part of the bias of their ratio taken away.

    Args:
        log_p: of the candidates; -inf where there is none.
        log_mass: of each rollout, ``(exponent - 1) * log p`` of it.
        exponent: of the power.
    """
    m = log_mass.shape[-1]
    whole = shares(log_p, log_mass, exponent)
    without = []
    for s in range(m):
        rest = jnp.delete(log_mass, s, axis=-1, assume_unique_indices=True)
        without.append(shares(log_p, rest, exponent))
    found = m * whole - (m - 1) * jnp.mean(jnp.stack(without), 0)
    kept = jnp.maximum(found, 0)
    return kept / kept.sum(-1, keepdims=True)


def shares(log_p: Array, log_mass: Array, exponent: Array) -> Array:
    ahead = logsumexp(log_mass, axis=-1)
    return jax.nn.softmax(exponent * log_p + ahead, axis=-1)


@partial(jitted, static=("sizes", "look", "n", "correction"))
def _published(
    key: Key, data: TokenData, *, sizes: Sizes, look: Look, n: int, correction: Correction
) -> Rows:
    a = data.steps.exponent[-1]

    def token(key: Key, rows: Rows, logits: Array, step: Step) -> Rows:
        roll_key, pick = jax.random.split(key)
        log_p = jax.nn.log_softmax(logits)
        own, tokens = jax.lax.top_k(log_p, look.candidates)
        log_mass = rolled(roll_key, rows, tokens, sizes, look, data)
        rule = jackknifed if correction == "jackknife" else shares
        chosen = jax.random.categorical(pick, jnp.log(rule(own, log_mass, a)))[:, None]
        new = jnp.take_along_axis(tokens, chosen, 1)[:, 0]
        here = jnp.take_along_axis(own, chosen, 1)[:, 0]
        return longer(rows, new, here, sizes, data, step)

    def further(rows: Rows, item: tuple[Key, Step]) -> tuple[Rows, None]:
        rows, logits = read(rows, ~rows.done, data)
        return token(item[0], rows, logits, item[1]), None

    cache, logits = data.lm.init(data.prompt, data.used, n, sizes.max_tokens)
    keys = jax.random.split(key, sizes.max_tokens)
    items = (keys, jax.tree.map(lambda leaf: leaf[: sizes.max_tokens], data.steps))
    first, later = (jax.tree.map(lambda leaf, at=at: leaf[at], items) for at in (0, slice(1, None)))
    rows = token(first[0], blank(sizes, data, n, cache), logits, first[1])
    return jax.lax.scan(further, rows, later)[0]
