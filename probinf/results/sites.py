"""From flat positions to the user's coordinates, in batches of one size."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from probinf.core.batches import batches
from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, restored, vector_of
from probinf.core.program import Program

BLOCK = 2**20
"""Numbers of one block of draws on its way to the user's coordinates."""

_MOST_ROWS = 2048


@partial(jitted, static=("sites",))
def constrained(
    flat: Program, rows: Any, *, sites: tuple[str, ...] | None = None
) -> dict[str, jax.Array]:
    """The user's coordinates of many storable positions; ``sites`` None for all."""

    def one(x: Any) -> dict[str, jax.Array]:
        values = flat.constrain(x, flat.data)
        return values if sites is None else {name: values[name] for name in sites}

    return jax.vmap(one)(restored(rows))


def by_row(fn: Any, flat: Program, rows: Any, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """``fn`` on every row, ``fn(flat, row)``, result on the host as (chain, draw, ...)."""
    count = jax.tree.leaves(rows)[0].shape[0]
    parts = []
    for batch in batches(count, min(_MOST_ROWS, count)):
        out = _mapped(fn, flat, jax.tree.map(lambda v, b=batch: v[b.start : b.stop], rows))
        parts.append({name: np.asarray(v)[batch.known :] for name, v in out.items()})
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return {name: v.reshape(*shape, *v.shape[1:]) for name, v in joined.items()}


@partial(jitted, static=("fn",))
def _mapped(fn: Any, flat: Program, rows: Any) -> dict[str, jax.Array]:
    return jax.vmap(partial(fn, flat))(rows)


def site_draws(
    flat: Program, layout: Layout, positions: Any, sites: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """The user's coordinates of positions (chain, draw, ...), written once.

    Sites whose values are the unconstrained ones (real parameters) are read-only views of
    them, so that they are not held twice.
    """
    chains, draws = vector_of(positions).shape[:2]
    rows = jax.tree.map(lambda v: v.reshape(chains * draws, *v.shape[2:]), positions)
    count = chains * draws
    size = int(min(count, np.clip(BLOCK // max(layout.size, 1), 1, _MOST_ROWS)))
    places, vectors = layout.places(), vector_of(rows)
    found: dict[str, np.ndarray] = {}
    same: set[str] = set()
    for start, stop, known in batches(count, size):
        batch = jax.tree.map(lambda v, a=start, b=stop: v[a:b], rows)
        out, first = constrained(flat, batch, sites=sites), start + known
        if first == 0:
            same = {
                name
                for name, value in out.items()
                if places.get(name, (0, None))[1] == value.shape[1:]
                and value.dtype == vectors.dtype
            }
        for name, value in out.items():
            values = np.asarray(value)[known:]
            if name in same:
                own = _view(vectors, places[name])
                if np.array_equal(values, own[first : first + len(values)]):
                    continue
                same.discard(name)  # what was equal so far is copied after all
                found[name] = np.empty((count, *values.shape[1:]), values.dtype)
                found[name][:first] = own[:first]
            if name not in found:
                found[name] = np.empty((count, *values.shape[1:]), values.dtype)
            found[name][first : first + len(values)] = values
    for name in same:
        found[name] = _view(vectors, places[name])
        found[name].flags.writeable = False
    return {
        name: found[name].reshape(chains, draws, *found[name].shape[1:]) for name in sorted(found)
    }


def _view(vectors: np.ndarray, place: tuple[int, tuple[int, ...]]) -> np.ndarray:
    first, shape = place
    size = int(np.prod(shape, dtype=int))
    return vectors[:, first : first + size].reshape(len(vectors), *shape)
