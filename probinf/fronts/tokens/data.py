"""What a token program consists of: sizes, which are static, and everything else as data."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from probinf.lm.protocol import LanguageModel


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Static sizes.

    Attributes:
        max_tokens: T, of the longest text.
        block: most tokens of one step.
    """

    max_tokens: int
    block: int


class Step(NamedTuple):
    """What differs from step to step; leading axis steps.

    Attributes:
        number: from 0.
        exponent: of the target after the step.
        before: of the target before it.
        last: whether it is the last one (or comes after it), where texts end however they stand.
    """

    number: Int[Array, "*s"]
    exponent: Float[Array, "*s"]
    before: Float[Array, "*s"]
    last: Bool[Array, "*s"]


class TokenData(NamedTuple):
    """Data of a token program.

    Attributes:
        lm: the language model.
        prompt: (P,) padded on its right.
        used: how many of its tokens count.
        steps: leading axis steps.
        potential: callable, or None.
        twist: callable, or None.
        proposal: callable, or None.
        stop: rule by which a text ends besides ``eos``, or None.
        boundary: rule by which a step ends, or None.
        constraint: which texts are possible, or None.
    """

    lm: LanguageModel
    prompt: Int[Array, " p"]
    used: Int[Array, ""]
    steps: Step
    potential: Any
    twist: Any
    proposal: Any
    stop: Any
    boundary: Any
    constraint: Any


class Rows(NamedTuple):
    """N texts on their way: a state of the sequence, every leaf with the rows first.

    Attributes:
        tokens: (N, T), ``eos`` where nothing is chosen yet.
        length: (N,).
        log_prob: (N,) under the model.
        log_potential: (N,) sum of the log potentials.
        log_twist: (N,) of the prefix, 0 of a text that has ended.
        begin: (N,) where the last step begins.
        done: (N,).
        memory: of the potential.
        place: (N,) of the constraint.
        fault: (N,) first step at which a potential was no number, -1 where none; shared by all
            rows.
        seen: (N,) what it was.
        cache: of the model, which has read all tokens but the last.
    """

    tokens: Int[Array, "n t"]
    length: Int[Array, " n"]
    log_prob: Float[Array, " n"]
    log_potential: Float[Array, " n"]
    log_twist: Float[Array, " n"]
    begin: Int[Array, " n"]
    done: Bool[Array, " n"]
    memory: Any
    place: Int[Array, " n"]
    fault: Int[Array, " n"]
    seen: Float[Array, " n"]
    cache: Any


def blank(sizes: Sizes, data: TokenData, n: int, cache: Any) -> Rows:
    """``n`` empty texts."""
    zero, nothing = jnp.zeros((n,), float), jnp.zeros((n,), jnp.int32)
    memory = getattr(data.potential, "begin", None)
    remembered = () if memory is None else memory()
    return Rows(
        tokens=jnp.full((n, sizes.max_tokens), data.lm.eos, jnp.int32),
        length=nothing,
        log_prob=zero,
        log_potential=zero,
        log_twist=zero,
        begin=nothing,
        done=jnp.zeros((n,), bool),
        memory=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), remembered),
        place=nothing if data.constraint is None else nothing + data.constraint.start,
        fault=jnp.full((n,), -1, jnp.int32),
        seen=zero,
        cache=cache,
    )
