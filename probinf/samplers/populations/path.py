"""The way of a population from the base to the program: by temperature, or by data."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from probinf.core.program import Position, Program
from probinf.core.transformations.paths import data_count, flat_pointwise, power, prefix, temper


class Increments(NamedTuple):
    """Log weights of going on from one point of a path, as functions of where to.

    Attributes:
        upto: ``t -> (n,)``, relative to ``rate(t) * (t - now)``.
        rate: what was taken off, per unit of the path; the host adds it in float64, so that
            a large offset of the likelihood costs no precision.
        passed: ``(log_w, t) -> (values, passed)``, log evidence gained at each datum that is
            passed on the way; of length 0 where the path is not made of data.
    """

    upto: Callable[[Float[Array, ""]], Float[Array, " n"]]
    rate: Callable[[Float[Array, ""]], Float[Array, ""]]
    passed: Callable[[Float[Array, " n"], Float[Array, ""]], tuple[Array, Array]]


class Path(abc.ABC):
    """Programs between the base, at 0, and the program itself, at ``end``."""

    @abc.abstractmethod
    def end(self, program: Program) -> float:
        """Where the path arrives at the program."""

    @abc.abstractmethod
    def at(self, program: Program, t: Float[Array, ""]) -> Program:
        """The program at one point of the path; ``t`` is dynamic."""

    @abc.abstractmethod
    def terms(self, program: Program, x: Position) -> tuple[Array, Array]:
        """Of one position: the base's log density, and the likelihood terms of the path."""

    @abc.abstractmethod
    def increments(self, terms: Array, now: Float[Array, ""]) -> Increments:
        """Log weights from ``now`` on; terms have a leading axis of particles."""


class Tempering(Path):
    """``base * L**t`` with ``t`` from 0 to 1."""

    def end(self, program: Program) -> float:
        """One."""
        return 1.0

    def at(self, program: Program, t: Float[Array, ""]) -> Program:
        """The tempered program."""
        return temper(program, t)

    def terms(self, program: Program, x: Position) -> tuple[Array, Array]:
        """The log likelihood."""
        return program.score(x, program.data)

    def increments(self, terms: Array, now: Float[Array, ""]) -> Increments:
        """``(t - now) * (l - max l)``."""
        top = jnp.max(terms)
        relative = jnp.where(jnp.isneginf(terms), -jnp.inf, terms - top)

        def upto(t: Float[Array, ""]) -> Float[Array, " n"]:
            # likelihood zero stays zero for any step, however small
            return jnp.where(jnp.isneginf(terms), -jnp.inf, (t - now) * relative)

        def passed(log_w: Float[Array, " n"], t: Float[Array, ""]) -> tuple[Array, Array]:
            return jnp.zeros((0,)), jnp.zeros((0,), bool)

        return Increments(upto, lambda t: top, passed)


class ByData(Path):
    """``base * prod_{s <= t} L_s``, a datum at a time or a part of one where that is too much."""

    def end(self, program: Program) -> float:
        """The number of data."""
        return float(data_count(program))

    def at(self, program: Program, t: Float[Array, ""]) -> Program:
        """The program of the first ``t`` data."""
        return prefix(program, t)

    def terms(self, program: Program, x: Position) -> tuple[Array, Array]:
        """The log likelihood of each datum."""
        assert program.pointwise is not None
        terms = flat_pointwise(program.pointwise(x, program.data))
        return program.score(x, program.data).log_base, terms

    def increments(self, terms: Array, now: Float[Array, ""]) -> Increments:
        """Sums over the data from ``now`` to ``t``, each relative to its own largest term."""
        count = terms.shape[1]
        index = jnp.arange(count)
        top = jnp.max(terms, axis=0)
        top = jnp.where(jnp.isneginf(top), 0.0, top)
        relative = jnp.where(jnp.isneginf(terms), -jnp.inf, terms - top)
        ahead = 1 - jnp.clip(now - index, 0.0, 1.0)
        sums = jnp.cumsum(power(relative, ahead), axis=1)
        sums = jnp.concatenate([jnp.zeros_like(sums[:, :1]), sums], axis=1)
        tops = jnp.concatenate([jnp.zeros((1,)), jnp.cumsum(ahead * top)])

        def split(t: Float[Array, ""]) -> tuple[Array, Array]:
            whole = jnp.clip(jnp.floor(t).astype(int), 0, count - 1)
            return whole, t - jnp.maximum(whole, now)

        def upto(t: Float[Array, ""]) -> Float[Array, " n"]:
            whole, part = split(t)
            return sums[:, whole] + power(relative[:, whole], part)

        def rate(t: Float[Array, ""]) -> Float[Array, ""]:
            whole, part = split(t)
            return (tops[whole] + part * top[whole]) / (t - now)

        def passed(log_w: Float[Array, " n"], t: Float[Array, ""]) -> tuple[Array, Array]:
            gained = jax.scipy.special.logsumexp(log_w[:, None] + sums[:, 1:], axis=0) + tops[1:]
            return gained, (now < index + 1) & (index + 1 <= t)

        return Increments(upto, rate, passed)
