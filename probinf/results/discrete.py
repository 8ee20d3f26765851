"""Discrete sites that were summed out: drawn, most probable, or their probabilities."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from probinf.core.batches import batches
from probinf.core.compiling import jitted
from probinf.core.coordinates import flatten
from probinf.core.keys import as_key
from probinf.core.program import Key, Program
from probinf.errors import KeyTypeError, StructureError
from probinf.results.sites import BLOCK, by_row
from probinf.results.statistics.weighted import weights_of

if TYPE_CHECKING:
    from probinf.results.posterior import Posterior


def infer_discrete(
    posterior: Posterior, key: int | Key | None, mode: bool, program: Program | None
) -> dict[str, np.ndarray]:
    """See :meth:`probinf.Posterior.infer_discrete`."""
    flat, rows = _asked(posterior, program, "infer_discrete")
    shape = posterior.log_weights.shape
    if mode:
        return by_row(_most_probable, flat, (rows,), shape)
    if key is None:
        raise KeyTypeError(
            "infer_discrete: pass a random key or seed to draw with, infer_discrete(0), or "
            "mode=True for the most probable values."
        )
    keys = jax.random.split(as_key(key), posterior.log_weights.size)
    return by_row(_draw, flat, (keys, rows), shape)


def responsibilities(
    posterior: Posterior, mean: bool, program: Program | None
) -> dict[str, np.ndarray]:
    """See :meth:`probinf.Posterior.responsibilities`."""
    flat, rows = _asked(posterior, program, "responsibilities")
    if not mean:
        return by_row(_probabilities, flat, (rows,), posterior.log_weights.shape)
    weights = weights_of(posterior.log_weights.ravel())
    one = jax.eval_shape(_probabilities, flat, (jax.tree.map(lambda v: v[0], rows),))
    size = max(1, min(len(weights), BLOCK // max(sum(v.size for v in one.values()), 1)))
    total = {name: np.zeros(value.shape) for name, value in one.items()}
    for start, stop, known in batches(len(weights), size):
        batch = jax.tree.map(lambda v, a=start, b=stop: v[a:b], rows)
        w = weights[start:stop].copy()
        w[:known] = 0.0
        for name, value in _averaged(flat, (batch,), w).items():
            total[name] += np.asarray(value)
    return total


@jitted
def _averaged(flat: Program, rows: Any, weights: jax.Array) -> dict[str, jax.Array]:
    found = jax.vmap(partial(_probabilities, flat))(rows)

    def mean(value: jax.Array) -> jax.Array:
        alive = (weights > 0).reshape(-1, *(1,) * (value.ndim - 1))
        return jax.numpy.tensordot(weights, jax.numpy.where(alive, value, 0.0), 1)

    return {name: mean(value) for name, value in found.items()}


def _asked(posterior: Posterior, program: Program | None, who: str) -> tuple[Program, Any]:
    """The flat program and the positions, once it is clear that they belong together."""
    other, program = program is not None, posterior.program if program is None else program
    if program is None:
        raise StructureError(
            f"{who}: this posterior was loaded without its program; pass program=, or load "
            "with pi.load(path, program=program)."
        )
    if program.discrete is None:
        raise StructureError(
            f"{who}: the program sums no discrete site out. Sites that are kept with "
            "allow_discrete=True are among posterior.draws; of a tempered or partial program, "
            "ask the program that it was made from."
        )
    posterior.require_positions(who)
    flat, layout = flatten(program, integers=True)
    if other:
        ours = {n: v.shape[2:] for n, v in posterior.draws.items()}
        own = jax.eval_shape(program.constrain, program.template(), program.data)
        wrong = {n: v.shape for n, v in own.items() if n in program.template()}
        wrong = {n: s for n, s in wrong.items() if ours.get(n) != s}
        if wrong or layout.size != posterior.unconstrained.shape[-1]:
            raise StructureError(
                f"{who}: the program has the sites {wrong or list(own)} and {layout.size} "
                f"coordinates, the posterior {ours} and {posterior.unconstrained.shape[-1]}. "
                "Pass the same model with other data, whose continuous sites are the same."
            )
    return flat, posterior.rows()


def _draw(flat: Program, row: Any) -> dict[str, jax.Array]:
    assert flat.discrete is not None
    return flat.discrete.draw(row[0], row[1], flat.data)


def _most_probable(flat: Program, row: Any) -> dict[str, jax.Array]:
    assert flat.discrete is not None
    return flat.discrete.draw(None, row[0], flat.data)


def _probabilities(flat: Program, row: Any) -> dict[str, jax.Array]:
    assert flat.discrete is not None
    return flat.discrete.probabilities(row[0], flat.data)
