"""Data drawn anew, for the discrete sites that are summed out drawn given what depends on them.

A discrete site comes before the continuous ones whose prior depends on it. Where those have a
value already (a draw of the posterior, a condition handler), it must be drawn given this value;
drawn from its prior, it would contradict it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from probinf.core.program import Data, Key, Position
from probinf.fronts.enumeration.chains import lag_of
from probinf.fronts.enumeration.decoding import assembled
from probinf.fronts.enumeration.density import values_of
from probinf.fronts.enumeration.elimination import Graph, backward, components, eliminate
from probinf.fronts.enumeration.tables import Table
from probinf.fronts.enumeration.tracing import Counts, factors
from probinf.fronts.fixing import conditioned
from probinf.fronts.latent import Latent
from probinf.fronts.model import Model
from probinf.fronts.observing import NumpyroSimulate, simulated
from probinf.fronts.predicting import NumpyroPredict


@dataclasses.dataclass(frozen=True)
class SummedSimulate(NumpyroSimulate):
    """Data drawn anew given a position."""

    model: Model

    def __call__(self, key: Key, x: Position, data: Data) -> dict[str, Array]:
        """Observables given ``x``."""
        first, second = jax.random.split(key)
        counts = dict.fromkeys((*self.model.summed.dependent, *_fixed(self.model, data)))
        z = {}
        if counts:
            z = discrete_given(self.model, first, values_of(self.model, x, data), counts, data)
        trace, drawn = simulated(self.model, self.model.bound({**x, **z}, second), data)
        return {name: trace[name]["value"] for name in drawn}


@dataclasses.dataclass(frozen=True)
class SummedPredict(NumpyroPredict):
    """Data given the values of some latent sites."""

    model: Model

    def given(self, key: Key, values: dict[str, Array], data: Data) -> Callable[[Data], None]:
        """The model at these values, and at those of the discrete sites they were drawn under.

        A first pass with the same random numbers says what the other sites are that the discrete
        ones depend on.
        """
        first, second = jax.random.split(key)
        bound = super().given(second, values, data)
        trace, _ = simulated(self.model, bound, data)
        counts: dict[str, tuple[int, ...] | None] = dict.fromkeys(_fixed(self.model, data))
        for latent in self.model.latents:
            if latent.name not in self.model.summed.dependent:
                continue
            batch = _batch(trace[latent.name])
            if latent.given:
                counts[latent.name] = (latent.given, *batch[1:])
            elif latent.name in values:
                counts[latent.name] = tuple(map(min, values[latent.name].shape, batch))
        if not counts:
            return bound
        there = {latent.name: trace[latent.name]["value"] for latent in self.model.latents}
        z = discrete_given(self.model, first, there, counts, data)
        return super().given(second, {**values, **z}, data)


def discrete_given(
    model: Model, key: Key, values: dict[str, Array], counts: Counts, data: Data
) -> dict[str, Array]:
    """Discrete sites drawn given the values of some others, not given the data.

    Args:
        model: that sums them out.
        key: to draw them with.
        values: of the continuous latent sites.
        counts: those that the discrete sites are drawn given.
        data: of the program.

    Returns:
        By site, the first entries as far as those that count go; what is not there depends on
        none of them.
    """
    found, graph = factors(model, values, data, counts)
    owner = {id(t): name for name, tables in found.items() for t in tables}
    every = [t for tables in found.values() for t in tables]
    known: dict[str, Table] = {}
    reached: dict[str, set[str]] = {}
    for k, (tables, variables) in enumerate(components(every, frozenset(graph.plates))):
        near = {owner[id(t)] for t in tables} & set(counts)
        if near:
            known |= backward(jax.random.fold_in(key, k), eliminate(tables, graph)[1])
            for _, name in map(lag_of, variables):
                reached.setdefault(name, set()).update(near)
    drawn = {}
    for site in model.summed.sites:
        if site.name in reached and site.levels is not None:
            given = [_Near(found[n], counts[n]) for n in sorted(reached[site.name])]
            value = site.levels[0] + assembled(site, known, graph)
            drawn[site.name] = value[_first(site, given, graph)]
    return drawn


def _first(site: Latent, near: list[_Near], graph: Graph) -> tuple[slice, ...]:
    """The entries of a discrete site that those of the sites near it depend on."""
    plates = {graph.dims[n]: n for n in graph.plates[site.name] if n in graph.dims}
    scanned = any(lag_of(n) == (1, site.name) for n in graph.plates)
    found = []
    for dim in range(-len(site.shape), 0):
        steps = scanned and dim == -len(site.shape)
        known = [n.entries(dim, None if steps else plates.get(dim, ""), graph) for n in near]
        told = [size for size in known if size is not None]
        found.append(slice(max(told) if told else site.shape[dim]))
    return tuple(found)


class _Near(NamedTuple):
    """A site that the discrete ones are drawn given."""

    tables: list[Table]
    shape: tuple[int, ...] | None

    def entries(self, dim: int, plate: str | None, graph: Graph) -> int | None:
        """How many of them count along a plate, or along the steps (None); None for all."""
        names = {n for table in self.tables for n in table.names}
        if self.shape is None:
            return None
        if plate is None:
            return self.shape[0] if names & graph.times else None
        return self.shape[dim] if plate in names else None


def _fixed(model: Model, data: Data) -> tuple[str, ...]:
    """Sites fixed by a condition handler that depend on discrete ones, whole."""
    fixed = conditioned(model, data).fixed
    return tuple(name for name in model.summed.touched if name in fixed)


def _batch(site: dict[str, Any]) -> tuple[int, ...]:
    shape = site["value"].shape
    return tuple(shape[: len(shape) - site["fn"].event_dim])
