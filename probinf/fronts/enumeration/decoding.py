"""Discrete sites given a position of the others: drawn, most probable, or their probabilities."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.program import Data, Key, Position
from probinf.fronts.enumeration.chains import PREVIOUS, lag_of
from probinf.fronts.enumeration.density import grouped, values_of
from probinf.fronts.enumeration.elimination import Graph, backward, eliminate
from probinf.fronts.enumeration.tables import Table
from probinf.fronts.enumeration.tracing import factors
from probinf.fronts.latent import Latent
from probinf.fronts.model import Model


@dataclasses.dataclass(frozen=True)
class Decode:
    """Values of the discrete sites, and of the deterministic sites that depend on them."""

    model: Model

    def __call__(self, key: Key | None, x: Position, data: Data) -> dict[str, Array]:
        """Draw them given all others; without a key, the jointly most probable values."""
        found = decoded(self.model, key, values_of(self.model, x, data), data)
        if self.model.summed.varying:
            trace = self.model.trace(data, {**x, **found})
            found |= {name: trace[name]["value"] for name in self.model.summed.varying}
        return found


def decoded(
    model: Model, key: Key | None, values: dict[str, Array], data: Data
) -> dict[str, Array]:
    """Values of the discrete sites given those of the others.

    Args:
        model: that sums them out.
        key: to draw them with; None for the jointly most probable values.
        values: of the continuous latent sites.
        data: of the program.
    """
    groups, graph = grouped(model, values, data)
    known: dict[str, Table] = {}
    for k, group in enumerate(groups):
        _, steps = eliminate(group.tables, graph, over="max" if key is None else "sum")
        known |= backward(None if key is None else jax.random.fold_in(key, k), steps)
    return {
        site.name: site.levels[0] + assembled(site, known, graph)
        for site in model.summed.sites
        if site.levels is not None
    }


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """The probability of every value of each discrete site, given a position of the others.

    It is the derivative of the log of the sum with respect to the log probability of that value.
    """

    model: Model

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:
        """By site, with an axis for its values at the end."""
        found, graph = factors(self.model, values_of(self.model, x, data), data)
        tables = [t for site in found.values() for t in site]
        added = {
            name: jnp.zeros([graph.sizes[n] for n in (*sorted(plates), name)])
            for name, plates in graph.plates.items()
        }

        def total(shift: dict[str, Array]) -> Array:
            more = [Table((*sorted(graph.plates[n]), n), v) for n, v in shift.items()]
            return eliminate([*tables, *more], graph)[0].values

        shares = {
            name: Table((*sorted(graph.plates[name]), name), value)
            for name, value in jax.grad(total)(added).items()
        }
        return {s.name: assembled(s, shares, graph, (s.name,)) for s in self.model.summed.sites}


def assembled(
    site: Latent, known: dict[str, Table], graph: Graph, last: tuple[str, ...] = ()
) -> Array:
    """A site's tables as one array of its shape; the first steps of a scan come first."""
    parts: list[Array] = []
    lags = sorted((n for n in known if lag_of(n)[1] == site.name), key=lambda n: -lag_of(n)[0])
    scanned = [n for n in lags if n.startswith(PREVIOUS) or graph.plates[n] & graph.times]
    shape = site.shape[1:] if scanned else site.shape
    for name in lags:
        table = known[name]
        if last:
            table = Table(tuple(site.name if n == name else n for n in table.names), table.values)
        time = [n for n in table.names if n in graph.times]
        rows = {graph.dims[n]: n for n in graph.plates[name] if n not in graph.times}
        order = [rows.get(d, "") for d in range(-len(shape), 0)]
        value = table.placed([*(time or [""] * bool(scanned)), *order, *last])
        parts.append(value)
    return jnp.concatenate(parts) if scanned else parts[0]
