"""bind: a program extended by a conditional one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from probinf.core.program import Data, Key, Position, Program, Score
from probinf.core.transformations.nesting import nest, somewhere
from probinf.errors import StructureError

Conditional = Callable[[Position, Data], Program]
"""``(x, data) -> Program``: a program for further coordinates, given ``x``."""


@dataclasses.dataclass(frozen=True)
class _BindDraw:
    outer: Callable[[Key, Data], Position]
    conditional: Conditional
    name: str

    def __call__(self, key: Key, data: Data) -> tuple[Position, Position]:
        first, second = jax.random.split(key)
        x = self.outer(first, data[0])
        inner = self.conditional(x, data[1])
        return x, getattr(inner, self.name)(second, inner.data)


@dataclasses.dataclass(frozen=True)
class _BindScore:
    score: Callable[[Position, Data], Score]
    conditional: Conditional

    def __call__(self, xz: tuple[Position, Position], data: Data) -> Score:
        outer = self.score(xz[0], data[0])
        inner = self.conditional(xz[0], data[1])
        extra = inner.score(xz[1], inner.data)
        return Score(outer.log_base + extra.log_base, outer.log_weight + extra.log_weight)


@dataclasses.dataclass(frozen=True)
class _BindConstrain:
    constrain: Callable[[Position, Data], dict[str, jax.Array]]
    conditional: Conditional

    def __call__(self, xz: tuple[Position, Position], data: Data) -> dict[str, jax.Array]:
        inner = self.conditional(xz[0], data[1])
        return {**self.constrain(xz[0], data[0]), **inner.constrain(xz[1], inner.data)}


@dataclasses.dataclass(frozen=True)
class _BindSimulate:
    simulate: Callable[[Key, Position, Data], dict[str, jax.Array]] | None
    conditional: Conditional

    def __call__(self, key: Key, xz: tuple[Position, Position], data: Data) -> dict[str, jax.Array]:
        first, second = jax.random.split(key)
        inner = self.conditional(xz[0], data[1])
        out = {} if self.simulate is None else dict(self.simulate(first, xz[0], data[0]))
        if inner.simulate is not None:
            out |= inner.simulate(second, xz[1], inner.data)
        return out


def _check_names(program: Program, conditional: Conditional, data: Data) -> None:
    def sites() -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        x = jax.tree.map(somewhere, program.template())
        inner = conditional(x, data)
        z = jax.tree.map(somewhere, inner.template())
        return program.constrain(x, program.data), inner.constrain(z, inner.data)

    outer, inner = jax.eval_shape(sites)
    if common := sorted(set(outer) & set(inner)):
        raise StructureError(
            f"bind: both programs have a site named {common}; one would hide the other. Rename it "
            "in one of them."
        )


def bind(program: Program, conditional: Conditional, data: Data = ()) -> Program:
    """Extend a program by a conditional one: ``gamma(dx) * k(x)(dz)`` on ``(x, z)``.

    The monadic bind of measures: bases multiply, weights multiply, the total mass becomes
    the integral of ``k(x)``'s mass under ``gamma``.

    Args:
        program: the measure of ``x``.
        conditional: ``(x, data) -> Program``, a module-level function or frozen dataclass.
        data: arrays for ``conditional``; dynamic.

    Raises:
        StructureError: both programs have a site of the same name.
    """
    _check_names(program, conditional, data)
    return nest(
        program,
        data,
        draw=_BindDraw(program.draw, conditional, "draw"),
        start=_BindDraw(program.start, conditional, "start"),
        score=_BindScore(program.score, conditional),
        constrain=_BindConstrain(program.constrain, conditional),
        simulate=_BindSimulate(program.simulate, conditional),
        predict=None,
        pointwise=None,
        sites=None,
    )
