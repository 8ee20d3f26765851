"""Another base: rebase keeps the measure, with_base swaps the prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from probinf.core.program import Data, Position, Program, Score, check_same_coordinates
from probinf.core.transformations.nesting import discrete_of, nest, somewhere
from probinf.errors import StructureError


@dataclasses.dataclass(frozen=True)
class _FromBase:
    """Call the base program's callable with its data, the second entry of ``(data, base)``."""

    fn: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args[:-1], args[-1][1])


@dataclasses.dataclass(frozen=True)
class _RebasedScore:
    score: Callable[[Position, Data], Score]
    base: Callable[[Position, Data], Score]

    def __call__(self, x: Position, data: Data) -> Score:
        old = self.score(x, data[0])
        log_q = self.base(x, data[1]).log_base
        return Score(log_q, old.log_base + old.log_weight - log_q)


def rebase(program: Program, base: Program) -> Program:
    """The same measure written over another base, so that engines start from ``base``.

    ``log_weight = log gamma - log q``; total mass, posterior and evidence are unchanged.
    Importance sampling, tempered SMC or nested sampling of the result correct ``base``
    exactly. Only the base part of ``base`` is used, which must be normalised and cover the
    support of ``program``.

    Raises:
        StructureError: the two programs do not share coordinates.
    """
    check_same_coordinates(program, base, "rebase")
    return nest(
        program,
        base.data,
        draw=_FromBase(base.draw),
        start=_FromBase(base.start),
        score=_RebasedScore(program.score, base.score),
        pointwise=None,
        discrete=discrete_of(program),
    )


@dataclasses.dataclass(frozen=True)
class _NewBaseScore:
    score: Callable[[Position, Data], Score]
    base: Callable[[Position, Data], Score]

    def __call__(self, x: Position, data: Data) -> Score:
        return Score(self.base(x, data[1]).log_base, self.score(x, data[0]).log_weight)


def with_base(program: Program, base: Program) -> Program:
    """A new measure: the likelihood of ``program`` under the prior ``base`` (a prior swap).

    Unlike :func:`rebase` this changes the posterior and the evidence.

    Raises:
        StructureError: the two programs do not share coordinates, or a coordinate stands for
            different values in them (a logarithm in one and a logit in the other, say).
    """
    check_same_coordinates(program, base, "with_base")
    _check_same_values(program, base)
    return nest(
        program,
        base.data,
        draw=_FromBase(base.draw),
        start=_FromBase(base.start),
        score=_NewBaseScore(program.score, base.score),
        discrete=discrete_of(program),
    )


def _check_same_values(program: Program, base: Program) -> None:
    """Both programs must mean the same by a coordinate, or the prior is about something else."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((program, base))):
        return  # inside someone's jit there are no values to compare

    def at_one_point(p: Program) -> dict[str, jax.Array]:
        x = jax.tree.map(somewhere, p.template())
        return jax.jit(p.constrain)(x, p.data)

    ours, theirs = at_one_point(program), at_one_point(base)
    for name in sorted(set(ours) & set(theirs)):
        same = ours[name].shape == theirs[name].shape
        if not (same and jnp.allclose(ours[name], theirs[name], rtol=1e-4, equal_nan=True)):
            raise StructureError(
                f"with_base: at one and the same position, site '{name}' is {ours[name]} in the "
                f"program and {theirs[name]} in the base, so their coordinates stand for "
                "different values. Give the site the same support in both models."
            )
