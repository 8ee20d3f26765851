"""A mixture of normals as a Program: normalised, with log weight 0."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.amortized.heads.gaussian_mixture import GaussianMixture
from probinf.core.coordinates import Layout
from probinf.core.normalised import normalised
from probinf.core.program import Data, Key, Position, Program, Score
from probinf.errors import StructureError

Support = Literal["real", "positive", "unit"]
_NAME = "x"


def _draw(key: Key, data: Data) -> Position:
    return {_NAME: data.sample(key)}


def _density(x: Position, data: Data) -> Score:
    log_q = data.log_density(x[_NAME])
    return Score(log_q, jnp.zeros((), log_q.dtype))


@dataclasses.dataclass(frozen=True)
class _Constrain:
    support: Support

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        value = x[_NAME]
        if self.support == "positive":
            return {_NAME: jnp.exp(value)}
        return {_NAME: jax.nn.sigmoid(value) if self.support == "unit" else value}


def mixture_program(
    mixture: GaussianMixture, *, support: Support = "real", like: Program | None = None
) -> Program:
    """A mixture on the unconstrained scale as a program that can be drawn from.

    Args:
        mixture: the law of the unconstrained coordinates.
        support: what the coordinates mean where ``like`` is not given: themselves, logarithms
            ("positive") or logits ("unit") of the one site ``x``.
        like: a program whose coordinates, in their order, the mixture is about; ``rebase(like,
            result)`` then corrects the mixture exactly.

    Raises:
        StructureError: ``like`` has another number of coordinates, or a random key among them.
    """
    if like is None:
        return Program(
            draw=_draw, start=_draw, score=_density, constrain=_Constrain(support), data=mixture
        )
    layout = Layout.of(like)
    if layout.has_keys or layout.size != mixture.dimension:
        raise StructureError(
            f"the mixture has {mixture.dimension} coordinates, {like} has {layout.size}"
            f"{' and a random key' if layout.has_keys else ''}. Pass a program on the same "
            "unconstrained coordinates."
        )
    return normalised(like, mixture)
