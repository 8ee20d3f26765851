"""Token programs on a language model that can be enumerated, and the truth about them."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp as jax_logsumexp
from scipy.special import logsumexp

import probinf as pi
from probinf.core.sequence import particle_filter
from probinf.fronts.tokens.context import Context
from probinf.fronts.tokens.reward import reward
from probinf.lm import TableLM

T, A = 6, 4.0
LM = TableLM.random(1, vocab_size=4, depth=T)


def score(context: Context) -> jax.Array:
    """A made-up reward in (0, 1) of the text so far."""
    weights = jnp.cos(1.0 + jnp.arange(context.tokens.shape[0]))
    within = jnp.arange(context.tokens.shape[0]) < context.length
    total = jnp.sum(jnp.where(within, weights * (context.tokens - 1.2), 0.0))
    return jax.nn.sigmoid(1.5 * total)


def log_potential(context: Context) -> jax.Array:
    """A made-up potential of each token."""
    return jnp.sin(2.0 * context.token + context.length)


def twist(context: Context) -> jax.Array:
    """A made-up twist, far from the best one."""
    return jnp.cos(3.0 * context.token - context.length)


def cold(log_p: jax.Array, context: Context) -> jax.Array:
    """A proposal that is not the default one."""
    return 1.5 * log_p


def program(name: str, max_tokens: int = T, lm: TableLM = LM, **options: Any) -> pi.Program:
    """A token program of one target."""
    given: dict[str, Any] = {
        "model": {},
        "power": {"exponent": A, "ramp": 4},
        "twist": {"exponent": 2.0, "twist": twist, "proposal": cold},
        "reward": {"potential": reward(score)},
        "odds": {"potential": reward(score, link="odds", aggregation="min")},
        "diff": {"potential": reward(score, link="diff"), "exponent": 2.0},
        "prod": {"potential": reward(score, aggregation="prod")},
        "potential": {"exponent": 1.5, "potential": log_potential, "ramp": 3},
        "blocks": {"exponent": 2.0, "potential": reward(score), "block": 2, "ramp": 2},
        "steps": {"potential": reward(score), "block": 3, "boundary": 1, "max_steps": 3},
    }[name]
    return pi.from_language_model(lm, max_tokens=max_tokens, **{**given, **options})


@dataclasses.dataclass(frozen=True)
class Exact:
    """All texts and their masses."""

    tokens: np.ndarray
    lengths: np.ndarray
    log_p: np.ndarray
    log_mass: np.ndarray

    @property
    def log_z(self) -> float:
        return float(logsumexp(self.log_mass))

    @property
    def law(self) -> np.ndarray:
        return np.exp(self.log_mass - self.log_z)

    def tv(self, shares: np.ndarray) -> float:
        """Total variation distance of shares of all texts from the law."""
        return float(0.5 * np.abs(shares - self.law).sum())

    def index(self, tokens: Any) -> np.ndarray:
        """Which of all texts each is."""
        base = (1 + self.tokens.max()) ** np.arange(self.tokens.shape[1])
        codes = self.tokens @ base
        order = np.argsort(codes)
        found = np.searchsorted(codes[order], np.asarray(tokens) @ base)
        return order[found]


def exact(name: str, max_tokens: int = T, lm: TableLM = LM, exponent: float | None = None) -> Exact:
    """The truth about ``program(name)``, by a way of its own: no engine, no replay."""
    tokens, lengths = (np.asarray(v) for v in lm.texts(max_tokens))
    mask = np.arange(max_tokens) < lengths[:, None]
    none = jnp.zeros((1,), jnp.int32)
    given = (jnp.asarray(tokens), jnp.asarray(mask))
    log_ps = np.asarray(lm.log_prob(none, jnp.zeros((), int), *given), float)
    log_p = log_ps.sum(1)
    power = {"power": A, "twist": 2.0, "diff": 2.0, "potential": 1.5, "blocks": 2.0}
    log_mass = (exponent or power.get(name, 1.0)) * log_p
    scores = np.log(_prefixes(score, tokens, lengths))  # 0 at the prefix of no token
    rows = np.arange(len(tokens))
    if name == "reward":
        log_mass = log_mass + scores.sum(1)
    elif name == "odds":
        least = np.exp(np.minimum.accumulate(scores, 1))
        log_mass = log_mass + np.where(mask, np.log(least) - np.log1p(-least), 0).sum(1)
    elif name == "diff":
        log_mass = log_mass + scores[rows, lengths - 1]
    elif name == "prod":
        log_mass = log_mass + np.where(mask, np.cumsum(scores, 1), 0).sum(1)
    elif name == "potential":
        log_mass = log_mass + np.log(
            _prefixes(lambda c: jnp.exp(log_potential(c)), tokens, lengths)
        ).sum(1)
    elif name == "blocks":
        ends = (np.arange(1, max_tokens + 1) % 2 == 0) | _last(lengths, max_tokens)
        log_mass = log_mass + np.where(ends, scores, 0).sum(1)
    elif name == "steps":
        return _with_steps(tokens, lengths, log_ps, scores, lm.eos)
    return Exact(tokens, lengths, log_p, log_mass)


def _last(lengths: np.ndarray, max_tokens: int) -> np.ndarray:
    return np.arange(1, max_tokens + 1) == lengths[:, None]


def _with_steps(
    tokens: np.ndarray, lengths: np.ndarray, log_ps: np.ndarray, scores: np.ndarray, eos: int
) -> Exact:
    """Steps end with token 1 or their third token; texts with their third step."""
    found: dict[tuple[int, ...], tuple[int, float, float]] = {}
    for row, length, log_p, s in zip(tokens, lengths, log_ps, scores, strict=True):
        steps, inside, total, cut = 0, 0, 0.0, int(length)
        for t in range(length):
            inside += 1
            if row[t] == 1 or inside == 3 or t == length - 1:
                steps, inside, total = steps + 1, 0, total + s[t]
                if steps == 3:
                    cut = t + 1
                    break
        text = (*row[:cut].tolist(), *[eos] * (len(row) - cut))
        found[text] = (cut, float(log_p[:cut].sum()), total)
    cuts, log_p, totals = map(np.array, zip(*found.values(), strict=True))
    return Exact(np.array(list(found)), cuts, log_p, log_p + totals)


def _prefixes(fn: Any, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A function of all prefixes, (text, tokens of the prefix); 1 beyond the end."""
    max_tokens = tokens.shape[1]

    def one(row: jax.Array, length: jax.Array) -> jax.Array:
        kept = jnp.where(jnp.arange(max_tokens) < length, row, LM.eos)
        zero, none = jnp.zeros((), int), jnp.zeros((1,), int)
        return fn(
            Context(kept, length, row[length - 1], zero, zero + 0.0, zero > 0, zero, none, zero)
        )

    both = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    found = jax.jit(both)(jnp.asarray(tokens), jnp.arange(1, max_tokens + 1))
    inside = np.arange(1, max_tokens + 1) <= lengths[:, None]
    return np.where(inside, np.asarray(found, float), 1.0)


def sequence(program: pi.Program) -> pi.Sequence:
    """The program's sequence, for the core's filter."""
    found = program.state_space(program.data).sequence
    return dataclasses.replace(found, data=({}, found.data))


@partial(jax.jit, static_argnames=("runs", "particles", "below", "resampler", "run"))
def filtered(
    key: jax.Array,
    sequence: pi.Sequence,
    *,
    runs: int,
    particles: int,
    below: float = 0.5,
    resampler: Any = pi.resampling.systematic,
    run: Any = particle_filter,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Many filters: log evidences (runs,), tokens (runs, N, T), normalised log weights."""

    def one(key: jax.Array) -> Any:
        cloud = run(key, sequence, particles, resample_below=below, resampler=resampler)
        log_w = cloud.log_w - jax_logsumexp(cloud.log_w)
        return cloud.log_z, cloud.x.tokens, log_w

    return jax.lax.map(one, jax.random.split(key, runs), batch_size=100)


def pooled(truth: Exact, log_z: Any, tokens: Any, log_w: Any) -> np.ndarray:
    """Shares of all texts, runs weighted by their evidence."""
    log_z, log_w = np.asarray(log_z, float), np.asarray(log_w, float)
    weights = np.exp(log_w + (log_z - log_z.max())[:, None])
    where = truth.index(np.asarray(tokens).reshape(-1, tokens.shape[-1]))
    shares = np.bincount(where, weights.ravel(), len(truth.lengths))
    return shares / shares.sum()


def z_score(log_z: Any, truth: float) -> float:
    """How many standard errors the mean evidence is off."""
    ratio = np.exp(np.asarray(log_z, float) - truth)
    error = ratio.std(ddof=1) / np.sqrt(ratio.size)
    return float((ratio.mean() - 1) / max(error, 1e-5))  # where all runs agree, they round
