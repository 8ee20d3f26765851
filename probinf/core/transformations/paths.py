"""Paths of programs: (Program, parameter) -> Program, same structure for every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from probinf.core.program import Data, Position, Program, Score
from probinf.core.transformations.nesting import nest
from probinf.errors import StructureError


def power(log_weight: Float[Array, "..."], beta: Float[Array, "..."]) -> Float[Array, "..."]:
    """``log(L ** beta)`` with ``L ** 0 = 1`` also where ``L`` is 0 or NaN."""
    at_zero = beta == 0
    return jnp.where(at_zero, 0.0, jnp.where(at_zero, 1.0, beta) * log_weight)


@dataclasses.dataclass(frozen=True)
class _TemperedScore:
    inner: Callable[[Position, Data], Score]

    def __call__(self, x: Position, data: Data) -> Score:
        log_base, log_weight = self.inner(x, data[0])
        return Score(log_base, power(log_weight, data[1]))


@dataclasses.dataclass(frozen=True)
class _TemperedPointwise:
    inner: Callable[[Position, Data], dict[str, Array]]

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        return {k: power(v, data[1]) for k, v in self.inner(x, data[0]).items()}


def temper(program: Program, beta: float | Float[Array, ""]) -> Program:
    """The measure ``base * L**beta``: the base at 0, the program itself at 1.

    Only the weight is raised to the power; Jacobians and priors stay in the base. The power
    0 gives the base everywhere, also where the likelihood is zero.

    Args:
        program: the measure ``base * L``.
        beta: scalar, the inverse temperature; dynamic, so a path compiles once.
    """
    return nest(
        program,
        jnp.asarray(beta, dtype=float),
        score=_TemperedScore(program.score),
        pointwise=None if program.pointwise is None else _TemperedPointwise(program.pointwise),
    )


@dataclasses.dataclass(frozen=True)
class _AboveScore:
    inner: Callable[[Position, Data], Score]

    def __call__(self, x: Position, data: Data) -> Score:
        log_base, log_weight = self.inner(x, data[0])
        return Score(log_base, jnp.where(log_weight > data[1], 0.0, -jnp.inf))


def above(program: Program, level: float | Float[Array, ""]) -> Program:
    """The measure ``base * 1[log L > level]``, strict: nested sampling's constrained prior.

    Args:
        program: the measure ``base * L``.
        level: scalar log likelihood; dynamic.
    """
    return nest(
        program,
        jnp.asarray(level, dtype=float),
        score=_AboveScore(program.score),
        pointwise=None,
        simulate=None,
        predict=None,
    )


def flat_pointwise(terms: dict[str, Array]) -> Float[Array, " n"]:
    return jnp.concatenate([jnp.ravel(terms[name]) for name in terms])


@dataclasses.dataclass(frozen=True)
class _PrefixScore:
    score: Callable[[Position, Data], Score]
    pointwise: Callable[[Position, Data], dict[str, Array]]

    def __call__(self, x: Position, data: Data) -> Score:
        inner, t = data
        terms = flat_pointwise(self.pointwise(x, inner))
        kept = power(terms, jnp.clip(t - jnp.arange(terms.size), 0.0, 1.0))
        return Score(self.score(x, inner).log_base, kept.sum())


@dataclasses.dataclass(frozen=True)
class _PrefixPointwise:
    pointwise: Callable[[Position, Data], dict[str, Array]]

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        inner, t = data
        kept, first = {}, 0
        for name, term in self.pointwise(x, inner).items():
            index = first + jnp.arange(term.size).reshape(term.shape)
            kept[name] = power(term, jnp.clip(t - index, 0.0, 1.0))
            first += term.size
        return kept


def prefix(program: Program, t: float | int | Float[Array, ""] | Int[Array, ""]) -> Program:
    """The measure after the first ``t`` data: ``base * prod_{s <= t} L_s`` (IBIS's path).

    Data are counted in the order of ``pointwise``: site by site, each site flattened in C
    order. Between two counts the next datum's likelihood is raised to the power that is left.

    Args:
        program: a measure whose ``pointwise`` is known.
        t: scalar count of data kept, from 0 (the base) to all (the program); dynamic.

    Raises:
        StructureError: the program has no pointwise log likelihood, or fewer than ``t`` data.
    """
    if program.pointwise is None:
        raise StructureError(
            "prefix: the program has no pointwise log likelihood, so its data cannot be taken "
            "one at a time; build it with from_numpyro."
        )
    count = data_count(program)
    if not isinstance(t, jax.core.Tracer) and not 0 <= float(t) <= count:
        raise StructureError(f"prefix: t must lie between 0 and the {count} data, got {t}.")
    return nest(
        program,
        jnp.asarray(t, dtype=float),
        score=_PrefixScore(program.score, program.pointwise),
        pointwise=_PrefixPointwise(program.pointwise),
    )


def data_count(program: Program) -> int:
    """Number of data that ``prefix`` counts."""
    if program.pointwise is None:
        raise StructureError("data_count: the program has no pointwise log likelihood.")
    terms = jax.eval_shape(program.pointwise, program.template(), program.data)
    return sum(leaf.size for leaf in jax.tree.leaves(terms))
