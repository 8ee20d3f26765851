"""Sharpening by branches: all likely tokens are tried, and no text is held twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from probinf.core.compiling import jitted
from probinf.core.inputs.limits import at_least
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.fronts.tokens.checks import only_a_power
from probinf.fronts.tokens.data import Rows, Sizes, TokenData, blank
from probinf.fronts.tokens.stepping import longer, noted, read
from probinf.lm.drawing import draw
from probinf.lm.protocol import gather

Select = Callable[[Key, Float[Array, " m"], int], tuple[Int[Array, " n"], Float[Array, " n"]]]
"""``(key, log weights, n) -> which are kept, and their log weights``."""


@dataclasses.dataclass(frozen=True)
class Branches:
    """Distinct texts with weights.

    Attributes:
        tokens: (N, T), ``eos`` after the end.
        length: (N,).
        log_prob: (N,) under the model.
        log_weights: (N,) not normalised: their sum estimates the mass without bias, so that the
            texts of several runs can be put together as they are. -inf where there were fewer
            texts than places.
    """

    tokens: np.ndarray
    length: np.ndarray
    log_prob: np.ndarray
    log_weights: np.ndarray

    @property
    def log_evidence(self) -> float:
        """Log of the estimate of the mass."""
        return float(np.logaddexp.reduce(self.log_weights))

    def draw(self, key: int | Key, count: int = 1) -> np.ndarray:
        """(count, T) texts drawn by weight."""
        where = jax.random.categorical(as_key(key), jnp.asarray(self.log_weights), shape=(count,))
        return self.tokens[np.asarray(where)]


def branching_filter(
    program: Program, *, key: int | Key, particles: int = 64, candidates: int = 8
) -> Branches:
    """Texts of the power of a model, by a filter whose particles are distinct.

    At every token each text goes on with its likeliest tokens, and with one drawn among the
    others, all by weight; of these branches ``particles`` are kept. Whatever weighs more than a
    threshold is kept with its weight, the rest stands a chance in proportion to its weight, and
    weighs as much as the threshold then. The model is asked as often as by a ``ParticleFilter`` of
    the same size, which draws likely texts many times over. Where the particles are as many as
    the texts, and the candidates as the tokens, nothing is left to chance.

    Args:
        program: of ``from_language_model``, with an exponent and nothing else; its ramp says by
            which powers branches are kept on the way.
        key: random key or seed.
        particles: N.
        candidates: K, likeliest tokens that are all tried.

    Raises:
        MethodError: the program has potentials, a constraint, steps of several tokens or the
            like.
        ZeroLikelihoodError: no text is possible.
        RewardError: the model's logits are NaN.

    Source: Fearnhead & Clifford (2003), JRSS B 65, section 3.3; the likeliest tokens and one of
    the others are unbiased for all of them.
    """
    sizes = only_a_power("branching_filter", program)
    at_least(1, particles=particles, candidates=candidates)
    k = min(candidates, program.data.lm.vocab_size)
    rows, log_w, steps = branched(
        as_key(key), program.data, sizes=sizes, n=particles, k=k, select=distinct
    )
    space: Any = program.state_space
    space.refuse(rows)
    if np.isneginf(np.asarray(log_w)).all():
        raise space.nothing_left(int(steps) - 1, particles, 1, "branching_filter")
    found = (rows.tokens, rows.length, rows.log_prob, log_w)
    return Branches(*(np.asarray(v) for v in found))


def distinct(
    key: Key, log_w: Float[Array, " m"], n: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """``n`` of more candidates, none twice: expected weights are those of the candidates.

    Args:
        key: random key.
        log_w: of the candidates.
        n: at most as many as there are candidates.

    Source: Fearnhead & Clifford (2003): the unbiased choice of least expected squared error.
    """
    top = jnp.max(log_w)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    w = jnp.exp(log_w - top)
    order = jnp.argsort(-w)
    down = w[order]
    rest = jnp.cumsum(down[::-1])[::-1][:n]  # from each on
    places = n - jnp.arange(n)
    sure = jnp.argmax(down[:n] * places <= rest)  # so many are kept for certain
    level = rest[sure] / places[sure]
    chance = w.at[order].set(jnp.where(jnp.arange(w.size) < sure, 0.0, down))
    ends = jnp.cumsum(chance)
    slot = jnp.arange(n)
    point = (slot - sure + jax.random.uniform(key)) / jnp.maximum(n - sure, 1) * ends[-1]
    last = w.size - 1 - jnp.argmax(chance[::-1] > 0)  # rounding must not lead beyond it
    drawn = jnp.minimum(jnp.searchsorted(ends, point, side="right"), last)
    kept = jnp.where(slot < sure, order[:n], drawn)
    return kept, jnp.where(slot < sure, log_w[kept], jnp.log(level) + top)


@partial(jitted, static=("sizes", "n", "k", "select"))
def branched(
    key: Key, data: TokenData, *, sizes: Sizes, n: int, k: int, select: Select
) -> tuple[Rows, Float[Array, " n"], Int[Array, ""]]:
    """Texts, their log weights, and how many steps it took until all had ended."""
    cache, logits = data.lm.init(data.prompt, data.used, n, sizes.max_tokens)
    one = jnp.where(jnp.arange(n) == 0, 0.0, -jnp.inf)  # all rows are the empty text
    begun = _branch(key, blank(sizes, data, n, cache), one, logits, 0, sizes, data, k, select)

    def going(state: Any) -> Bool[Array, ""]:
        t, rows, log_w = state
        full = data.steps.exponent[t - 1] == data.steps.exponent[-1]
        return (t < sizes.max_tokens) & ~(full & ~_open(rows, log_w).any())

    def further(state: Any) -> Any:
        t, rows, log_w = state
        rows, logits = read(rows, _open(rows, log_w), data)
        own = jax.random.fold_in(key, t)
        return t + 1, *_branch(own, rows, log_w, logits, t, sizes, data, k, select)

    steps, rows, log_w = jax.lax.while_loop(going, further, (jnp.ones((), int), *begun))
    return rows, log_w, steps


def _open(rows: Rows, log_w: Float[Array, " n"]) -> Bool[Array, " n"]:
    return ~rows.done & jnp.isfinite(log_w)


def _branch(
    key: Key,
    rows: Rows,
    log_w: Float[Array, " n"],
    logits: Float[Array, "n vocab"],
    t: int | Int[Array, ""],
    sizes: Sizes,
    data: TokenData,
    k: int,
    select: Select,
) -> tuple[Rows, Float[Array, " n"]]:
    """Rows one token further; those that have ended are a branch of their own."""
    rest_key, pick = jax.random.split(key)
    step = jax.tree.map(lambda leaf: jnp.asarray(leaf)[t], data.steps)
    log_p, n = jax.nn.log_softmax(logits), log_w.shape[0]
    own, tokens = jax.lax.top_k(log_p, k)
    terms = step.exponent * own
    if k < data.lm.vocab_size:
        others = log_p.at[jnp.arange(n)[:, None], tokens].set(-jnp.inf)
        none = jnp.isneginf(others).all(1, keepdims=True)
        other = draw(rest_key, jnp.where(none, 0.0, step.exponent * others))[:, None]
        here = jnp.where(none, -jnp.inf, jnp.take_along_axis(log_p, other, 1))
        mass = jax.scipy.special.logsumexp(step.exponent * others, axis=1, keepdims=True)
        terms = jnp.concatenate([terms, mass], 1)  # p ** a over the chance to be drawn
        tokens, own = jnp.concatenate([tokens, other], 1), jnp.concatenate([own, here], 1)
    first = jnp.arange(tokens.shape[1]) == 0
    terms = jnp.where(rows.done[:, None], jnp.where(first, 0.0, -jnp.inf), terms)
    bridge = (step.exponent - step.before) * rows.log_prob
    alive = ~jnp.isneginf(log_w)
    terms = jnp.where(alive[:, None], (log_w + bridge)[:, None] + terms, -jnp.inf)
    wrong = jnp.isnan(terms).any(1)
    rows = noted(rows, jnp.where(wrong, jnp.nan, 0.0), step)
    kept, log_w = select(pick, jnp.where(jnp.isnan(terms), -jnp.inf, terms).ravel(), n)
    parent, which = kept // tokens.shape[1], kept % tokens.shape[1]
    cache = gather(rows.cache, parent)
    rest = jax.tree.map(lambda leaf: leaf[parent], rows._replace(cache=()))
    token, here = tokens[parent, which], own[parent, which]
    return longer(rest._replace(cache=cache), token, here, sizes, data, step), log_w
