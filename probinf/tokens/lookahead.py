"""Sharpening by looking ahead: each likely token is judged by texts that the model ends it with."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int

from probinf.core.inputs.limits import at_least
from probinf.core.program import Key, Program
from probinf.core.state_space import Sequence, StateSpace
from probinf.fronts.nothing import nothing
from probinf.fronts.tokens.checks import only_a_power
from probinf.fronts.tokens.data import Rows, Sizes, Step, TokenData, blank
from probinf.fronts.tokens.program import TokenSpace
from probinf.fronts.tokens.sequence import sequence_of
from probinf.fronts.tokens.stepping import longer, noted, read
from probinf.lm.drawing import draw
from probinf.lm.protocol import gather


@dataclasses.dataclass(frozen=True)
class Look:
    """Sizes of a look ahead.

    Attributes:
        candidates: most likely tokens that are tried.
        rollouts: texts that continue each of them.
        horizon: most tokens of these.
    """

    candidates: int
    rollouts: int
    horizon: int


def with_lookahead(
    program: Program, *, candidates: int = 8, rollouts: int = 8, horizon: int | None = None
) -> Program:
    """The same power of a model, with filters that look ahead before each token.

    The likeliest tokens, and one drawn among the others, are continued by the model; the mean of
    ``p(continuation) ** (exponent - 1)`` estimates the mass that lies ahead of each. A token is
    drawn by these masses, and its own estimate is divided out again at the next one, so that the
    weights stay exact however rough the estimates are, and whatever the horizon.

    Args:
        program: of ``from_language_model``, with an exponent and nothing else.
        candidates: K.
        rollouts: M, of each candidate.
        horizon: most tokens of a rollout; to the end of the text by default.

    Raises:
        MethodError: the program has potentials, a constraint, steps of several tokens or the
            like.

    Source: Ji et al. (2026), arXiv 2601.21590, as a nested filter (Naesseth, Lindsten & Schon,
    2015) in place of its uncorrected draw.
    """
    sizes, look = looking(program, candidates, rollouts, horizon)
    return dataclasses.replace(program, state_space=_LookaheadSpace(sizes, look))


def looking(
    program: Program, candidates: int, rollouts: int, horizon: int | None
) -> tuple[Sizes, Look]:
    """Sizes of a look ahead, checked."""
    sizes = only_a_power("looking ahead", program)
    at_least(1, candidates=candidates, rollouts=rollouts, horizon=horizon)
    k = min(candidates, program.data.lm.vocab_size)
    return sizes, Look(k, rollouts, sizes.max_tokens if horizon is None else horizon)


@dataclasses.dataclass(frozen=True)
class _LookaheadSpace(TokenSpace):
    look: Look

    def __call__(self, data: TokenData) -> StateSpace:
        sequence: Sequence = dataclasses.replace(
            sequence_of(self.sizes, data),
            start=_Start(self.sizes, self.look),
            extend=_Extend(self.sizes, self.look),
            start_all=_StartAll(self.sizes, self.look),
            extend_all=_ExtendAll(self.sizes, self.look),
            weigh_start=None,
            weigh=None,
        )
        return StateSpace(nothing(), sequence)


@dataclasses.dataclass(frozen=True)
class _StartAll:
    sizes: Sizes
    look: Look

    def __call__(self, key: Key, n: int, data: Any) -> tuple[Rows, Array]:
        own = data[1]
        cache, logits = own.lm.init(own.prompt, own.used, n, self.sizes.max_tokens)
        step = jax.tree.map(lambda leaf: leaf[0], own.steps)
        rows = blank(self.sizes, own, n, cache)
        return _exact(key, rows, logits, self.sizes, self.look, own, step)


@dataclasses.dataclass(frozen=True)
class _ExtendAll:
    sizes: Sizes
    look: Look

    def __call__(self, key: Key, states: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        rows, logits = read(states, ~states.done, data[1])
        return _exact(key, rows, logits, self.sizes, self.look, data[1], value)


@dataclasses.dataclass(frozen=True)
class _Start(_StartAll):
    def __call__(self, key: Key, data: Any) -> tuple[Rows, Array]:  # type: ignore[override]
        rows, gained = _StartAll(self.sizes, self.look)(key, 1, data)
        return jax.tree.map(lambda leaf: leaf[0], rows), gained[0]


@dataclasses.dataclass(frozen=True)
class _Extend(_ExtendAll):
    def __call__(self, key: Key, states: Rows, value: Step, data: Any) -> tuple[Rows, Array]:
        many = jax.tree.map(lambda leaf: leaf[None], states)
        rows, gained = _ExtendAll(self.sizes, self.look)(key, many, value, data)
        return jax.tree.map(lambda leaf: leaf[0], rows), gained[0]


def _exact(
    key: Key,
    rows: Rows,
    logits: Float[Array, "n vocab"],
    sizes: Sizes,
    look: Look,
    data: TokenData,
    step: Step,
) -> tuple[Rows, Float[Array, " n"]]:
    """A token by its look ahead; the weight is the step's mass over the old estimate of it."""
    rest_key, roll_key, pick = jax.random.split(key, 3)
    log_p, a = jax.nn.log_softmax(logits), data.steps.exponent[-1]
    _, tokens = jax.lax.top_k(log_p, look.candidates)
    log_count = jnp.zeros(tokens.shape)
    if look.candidates < data.lm.vocab_size:
        n = log_p.shape[0]
        others = a * log_p.at[jnp.arange(n)[:, None], tokens].set(-jnp.inf)
        none = jnp.isneginf(others).all(1)  # hard zeros may leave no other token
        others = jnp.where(none[:, None], 0.0, others)
        one = draw(rest_key, others)
        chance = jnp.take_along_axis(jax.nn.log_softmax(others), one[:, None], 1)
        tokens = jnp.concatenate([tokens, one[:, None]], 1)
        stands = jnp.where(none[:, None], -jnp.inf, -chance)
        log_count = jnp.concatenate([log_count, stands], 1)  # it stands for all the others
    log_mass = rolled(roll_key, rows, tokens, sizes, look, data)
    ahead = logsumexp(log_mass, axis=-1) - jnp.log(look.rollouts)
    own = jnp.take_along_axis(log_p, tokens, 1)
    terms = log_count + a * own + ahead
    chosen = jax.random.categorical(pick, terms)[:, None]

    def of(table: Array) -> Array:
        return jnp.take_along_axis(table, chosen, 1)[:, 0]

    active = ~rows.done
    gained = jnp.where(active, logsumexp(terms, axis=-1) - rows.log_twist, 0.0)
    rows = longer(rows, of(tokens), of(own), sizes, data, step)
    twist = jnp.where(rows.done, 0.0, of(ahead))
    return noted(rows._replace(log_twist=twist), gained, step), gained


def rolled(
    key: Key,
    rows: Rows,
    tokens: Int[Array, "n k"],
    sizes: Sizes,
    look: Look,
    data: TokenData,
) -> Float[Array, "n k m"]:
    """``(exponent - 1) * log p`` of texts that go on after each candidate."""
    n, k = tokens.shape
    m, eos = look.rollouts, data.lm.eos
    own = jnp.repeat(jnp.arange(n), k * m)
    length = rows.length[own] + 1
    token = jnp.repeat(tokens.reshape(-1), m)
    going = ~rows.done[own] & (token != eos) & (length < sizes.max_tokens)

    def open_ones(state: Any) -> Bool[Array, ""]:
        return (state[0] < look.horizon) & state[4].any()

    def further(state: Any) -> Any:
        count, cache, token, length, going, total = state
        cache, logits = data.lm.step(cache, jnp.where(going, token, eos), going)
        log_p = jax.nn.log_softmax(logits)
        new = draw(jax.random.fold_in(key, count), log_p).astype(token.dtype)
        here = jnp.take_along_axis(log_p, new[:, None], 1)[:, 0]
        total, length = total + jnp.where(going, here, 0.0), length + going
        after = going & (new != eos) & (length < sizes.max_tokens)
        return count + 1, cache, new, length, after, total

    begin = (
        jnp.zeros((), int),
        gather(rows.cache, own),
        token,
        length,
        going,
        jnp.zeros(n * k * m),
    )
    total = jax.lax.while_loop(open_ones, further, begin)[-1]
    return ((data.steps.exponent[-1] - 1) * total).reshape(n, k, m)
