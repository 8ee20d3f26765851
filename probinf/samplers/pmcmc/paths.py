"""Paths of states among the draws of a chain: kept, thinned or dropped with the other sites."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.core.coordinates import Layout, vector_of
from probinf.core.program import Program
from probinf.results.collecting import ChainCollector, Transition
from probinf.results.posterior import Posterior
from probinf.results.sites import by_row
from probinf.runtime.method import Run
from probinf.runtime.records import Kept

_MARK = "path:"


class PathCollector(ChainCollector):
    """Draws of the parameters, and those parts of the path that shall be kept beside them.

    Args:
        run: on the parameters alone.
        wanted: parts of the path to keep.
        options: of ``ChainCollector``.
    """

    def __init__(self, run: Run, wanted: frozenset[str], **options: Any) -> None:
        super().__init__(run, **options)
        self.wanted = wanted

    def add(self, chunk: list[Transition]) -> None:
        def kept(stats: dict[str, Any]) -> dict[str, Any]:
            return {
                name: value
                for name, value in stats.items()
                if not name.startswith(_MARK) or name.removeprefix(_MARK) in self.wanted
            }

        super().add([record._replace(stats=kept(record.stats)) for record in chunk])


def as_stats(path: dict[str, Any]) -> dict[str, Any]:
    """The parts of a path on their way to the host."""
    return {_MARK + name: value for name, value in path.items()}


def taken_out(stats: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts of the path by name; they are removed from the statistics."""
    marked = [name for name in stats if name.startswith(_MARK)]
    return {name.removeprefix(_MARK): stats.pop(name) for name in marked}


def split(kept: Kept, states: set[str], parameters: set[str]) -> tuple[Kept, frozenset[str]]:
    """What is kept of the parameters, and which parts of the path."""
    if kept.summaries_only:
        sites = None if kept.sites is None else tuple(set(kept.sites) & parameters)
        return kept._replace(sites=sites), frozenset()
    if kept.sites is None:
        return kept, frozenset(states)
    own = tuple(name for name in kept.sites if name in parameters)
    return kept._replace(sites=own), frozenset(kept.sites) & states


@dataclasses.dataclass(frozen=True)
class _Placed:
    """Flat positions of a program from those of its parameters, and a path."""

    inner: Layout
    layout: Layout

    def __call__(self, program: Program, row: Any) -> dict[str, jax.Array]:
        space: Any = program.state_space
        theta, path = row
        x = space.joint(self.inner.unravel(theta), path, program.data)
        return {"x": vector_of(self.layout.ravel(x))}


def joined(found: Posterior, program: Program, inner: Layout, states: set[str]) -> Posterior:
    """The posterior on the coordinates of the whole program, where this knows them.

    Parameters and path together are a draw of the program's own measure, so that forecasts,
    leave-one-out and everything else that starts from positions work on it.

    Args:
        found: on the parameters alone, with paths among the draws.
        program: the user's.
        inner: layout of the parameters.
        states: names of the parts of the path.
    """
    joint = getattr(program.state_space, "joint", None)
    if joint is None or found.unconstrained.shape[-1] == 0 or not states <= set(found.draws):
        return found
    chains, draws = found.log_weights.shape
    layout = Layout.of(program, integers=True)
    theta = found.unconstrained.reshape(chains * draws, -1)
    path = {n: found.draws[n].reshape(-1, *found.draws[n].shape[2:]) for n in states}
    rows = by_row(_Placed(inner, layout), program, (theta, path), (chains, draws))
    return dataclasses.replace(
        found,
        unconstrained=rows["x"],
        keys=(),
        program=program,
        provenance={**found.provenance, "layout": str(layout.treedef)},
    )
