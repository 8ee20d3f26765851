"""weigh: the same prior, and a likelihood in which each datum counts as often as is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.program import Data, Position, Program, Score
from probinf.core.transformations.nesting import OnInner, nest
from probinf.core.transformations.paths import power
from probinf.errors import StructureError


@dataclasses.dataclass(frozen=True)
class _WeighedPointwise:
    pointwise: Callable[[Position, Data], dict[str, Array]]

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        inner, weights = data
        terms = self.pointwise(x, inner)
        return {n: power(v, weights[n]) if n in weights else v for n, v in terms.items()}


@dataclasses.dataclass(frozen=True)
class _WeighedScore:
    score: Callable[[Position, Data], Score]
    pointwise: _WeighedPointwise

    def __call__(self, x: Position, data: Data) -> Score:
        terms = self.pointwise(x, data)
        total = sum((jnp.sum(v) for v in terms.values()), start=jnp.zeros((), float))
        return Score(self.score(x, data[0]).log_base, total)


def weigh(program: Program, weights: Mapping[str, Any]) -> Program:
    """The measure ``base * prod_i L_i ** w_i``: a datum of weight 0 is left out, 2 counts twice.

    Args:
        program: a measure whose ``pointwise`` is known.
        weights: by observed site, of the shape of its likelihood terms, at least 0; sites that
            are not named count once. Dynamic, so that other weights compile nothing.

    Raises:
        StructureError: the program has no pointwise log likelihood, or a site is unknown or
            misshapen, or a weight negative or not finite.
    """
    if program.pointwise is None:
        raise StructureError(
            "weigh: the program has no pointwise log likelihood, so its data cannot be weighed; "
            "build it with from_numpyro."
        )
    terms = jax.eval_shape(program.pointwise, program.template(), program.data)
    given = {}
    for name, value in weights.items():
        w = np.asarray(value, float)
        if name not in terms:
            raise StructureError(f"weigh: no observed site '{name}'; there are {sorted(terms)}.")
        if w.shape != terms[name].shape:
            raise StructureError(
                f"weigh: site '{name}' has likelihood terms of shape {terms[name].shape}, the "
                f"weights have shape {w.shape}."
            )
        if not (np.isfinite(w).all() and (w >= 0).all()):
            raise StructureError(f"weigh: the weights of site '{name}' must be finite and >= 0.")
        given[name] = jnp.asarray(w, float)
    pointwise = _WeighedPointwise(program.pointwise)
    return nest(
        program,
        given,
        score=_WeighedScore(program.score, pointwise),
        pointwise=pointwise,
        unconstrain=None if program.unconstrain is None else OnInner(program.unconstrain),
        log_jacobian=None if program.log_jacobian is None else OnInner(program.log_jacobian),
    )
