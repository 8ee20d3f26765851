"""Programs out of programs: change the base, the prior, the coordinates, or extend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from probinf.core.coordinates import Layout
from probinf.core.paths import nest
from probinf.core.program import Data, Key, Position, Program, Score, check_same_coordinates
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
    )


def _check_same_values(program: Program, base: Program) -> None:
    """Both programs must mean the same by a coordinate, or the prior is about something else."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((program, base))):
        return  # inside someone's jit there are no values to compare

    def at_one_point(p: Program) -> dict[str, jax.Array]:
        x = jax.tree.map(_somewhere, p.template())
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


def _somewhere(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.full(leaf.shape, 0.3, leaf.dtype)


def _forward(transform: Any, flat: jax.Array) -> jax.Array:
    return transform(flat)


def _inverse(transform: Any, flat: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Preimage and log |det d(image)/d(preimage)|."""
    preimage = transform.inv(flat)
    return preimage, jnp.sum(transform.log_abs_det_jacobian(preimage, flat))


@dataclasses.dataclass(frozen=True)
class _PushDraw:
    fn: Callable[[Key, Data], Position]

    def __call__(self, key: Key, data: Data) -> jax.Array:
        flat, _ = ravel_pytree(self.fn(key, data[0]))
        return _forward(data[1], flat)


@dataclasses.dataclass(frozen=True)
class _Pulled:
    """Evaluate ``fn`` at the preimage of ``y``; ``start`` only serves for the tree's shape."""

    fn: Callable[..., Any]
    start: Callable[[Key, Data], Position]

    def __call__(self, *args: Any) -> Any:
        *head, y, data = args
        x, _ = self.pull(y, data)
        return self.fn(*head, x, data[0])

    def pull(self, y: jax.Array, data: Data) -> tuple[Position, jax.Array]:
        template = jax.eval_shape(self.start, jax.random.key(0), data[0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template)
        flat, log_det = _inverse(data[1], y)
        return ravel_pytree(zeros)[1](flat), log_det


@dataclasses.dataclass(frozen=True)
class _PushedScore(_Pulled):
    def __call__(self, y: jax.Array, data: Data) -> Score:
        x, log_det = self.pull(y, data)
        log_base, log_weight = self.fn(x, data[0])
        return Score(log_base - log_det, log_weight)


def push(program: Program, bijection: Any) -> Program:
    """The image of the measure under a bijection: the same answers in new coordinates.

    The new position is one flat vector ``y = bijection(ravel(x))``. The Jacobian goes to the
    base, so tempering and evidences are unchanged.

    Args:
        program: any program whose coordinates are floating point.
        bijection: a NumPyro ``Transform`` on vectors of the program's size; its parameters
            are dynamic.

    Raises:
        StructureError: a coordinate is a random key, or the bijection does not map vectors of
            the program's size to vectors of the same size.
    """
    layout = Layout.of(program)
    if layout.has_keys:
        raise StructureError(
            f"push: {program} has a random key among its coordinates, which no bijection moves. "
            "Push the prior before the key is added."
        )
    try:
        image = jax.eval_shape(_forward, bijection, jnp.zeros(layout.size)).shape
    except (TypeError, ValueError) as error:
        image = str(error).splitlines()[0]
    if image != (layout.size,):
        raise StructureError(
            f"push: the bijection takes vectors of size {layout.size} to {image}; it must keep "
            "the size."
        )

    def pulled(fn: Callable[..., Any] | None) -> Callable[..., Any] | None:
        return None if fn is None else _Pulled(fn, program.start)

    return nest(
        program,
        bijection,
        draw=_PushDraw(program.draw),
        start=_PushDraw(program.start),
        score=_PushedScore(program.score, program.start),
        constrain=pulled(program.constrain),
        simulate=pulled(program.simulate),
        pointwise=pulled(program.pointwise),
        sites=pulled(program.sites),
    )


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
        x = jax.tree.map(_somewhere, program.template())
        inner = conditional(x, data)
        z = jax.tree.map(_somewhere, inner.template())
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
        pointwise=None,
        sites=None,
    )
