"""The density of a model whose discrete sites are summed out: base, weight, and per datum.

The base is the prior of the continuous sites. The weight has the sum, over the discrete sites, of
their prior times what depends on them, so that both parts stay what engines take them for.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from probinf.core.program import Data, Position
from probinf.fronts.density import NumpyroPointwise, NumpyroScore, NumpyroSites
from probinf.fronts.enumeration.chains import lag_of
from probinf.fronts.enumeration.elimination import Graph, components, eliminate
from probinf.fronts.enumeration.tables import Table
from probinf.fronts.enumeration.tracing import factors
from probinf.fronts.model import Model


class Group(NamedTuple):
    """Factors that share discrete variables.

    Attributes:
        observed: names of the sites with data among them.
        tables: all factors.
        prior: those of latent sites.
        keep: plates of all variables, outermost first: its sum is known for each entry.
    """

    observed: tuple[str, ...]
    tables: list[Table]
    prior: list[Table]
    keep: tuple[str, ...]


def values_of(model: Model, x: Position, data: Data) -> dict[str, Array]:
    """The continuous latent sites in the user's coordinates."""
    trace = model.trace(data, x)
    return {latent.name: trace[latent.name]["value"] for latent in model.latents}


def grouped(model: Model, values: dict[str, Array], data: Data) -> tuple[list[Group], Graph]:
    """The factors in groups that have no discrete variable in common."""
    found, graph = factors(model, values, data)
    owner = {id(t): name for name, tables in found.items() for t in tables}
    groups = []
    every = [t for tables in found.values() for t in tables]
    for tables, variables in components(every, frozenset(graph.plates)):
        owners = dict.fromkeys(owner[id(t)] for t in tables)
        observed = tuple(n for n in model.summed.touched if n in owners)
        prior = [t for t in tables if owner[id(t)] not in observed]
        within = [graph.plates[v] for v in variables]
        shared = frozenset.intersection(*within) if within else frozenset()
        chained = {n for t in tables for n in graph.of(t) if any(lag_of(v)[0] for v in t.names)}
        keep = graph.ordered(shared - (graph.times & chained))
        groups.append(Group(observed, tables, prior, keep))
    return groups, graph


class Parts(NamedTuple):
    """What the sums over discrete sites add to the density.

    Attributes:
        log_base: the marginal prior of the continuous sites that depend on discrete ones.
        weights: log likelihood by name of the observed site, for each entry of the plates that
            all of its discrete sites are in.
    """

    log_base: Array
    weights: dict[str, Array]


def summed_parts(model: Model, values: dict[str, Array], data: Data) -> Parts:
    """Sum the discrete sites out, given the values of all others."""
    summed = model.summed
    log_base: Array = jnp.zeros(())
    found: dict[str, list[Table]] = {}
    groups, graph = grouped(model, values, data)
    for group in groups:
        total, _ = eliminate(group.tables, graph, group.keep)
        weight = total.values
        if summed.dependent:
            prior, _ = eliminate(group.prior, graph, group.keep)
            log_base = log_base + prior.values.sum()
            possible = jnp.isfinite(prior.values)
            weight = weight - jnp.where(possible, prior.values, 0.0)
        name = "+".join(group.observed)
        if name or not summed.dependent:
            found.setdefault(name, []).append(Table(group.keep, weight))
    weights = {name: _joined(tables, graph) for name, tables in found.items() if name}
    if "" in found:  # nothing is observed: log 1, unless a scale or mask changes the prior
        rest = sum((t.values.sum() for t in found[""]), start=jnp.zeros(()))
        weights[f"{'+'.join(summed.names)}_prior"] = rest
    return Parts(log_base, weights)


def _joined(tables: list[Table], graph: Graph) -> Array:
    """One array of the first steps of a scan and of those after them."""
    if len(tables) == 1:
        return tables[0].values
    tables = sorted(tables, key=lambda t: bool(graph.times & set(t.names)))
    wide = [t.values if graph.times & set(t.names) else t.values[None] for t in tables]
    return jnp.concatenate(wide)


@dataclasses.dataclass(frozen=True)
class SummedScore(NumpyroScore):
    """:class:`NumpyroScore` with the discrete sites summed out."""

    def terms(self, x: Position, data: Data) -> tuple[Array, dict[str, Array]]:
        """Log base, and log weights by site."""
        log_base, weights = super().terms(x, data)
        parts = summed_parts(self.model, values_of(self.model, x, data), data)
        return log_base + parts.log_base, weights | parts.weights


@dataclasses.dataclass(frozen=True)
class SummedPointwise(SummedScore, NumpyroPointwise):
    """:class:`NumpyroPointwise` with the discrete sites summed out."""

    def __call__(self, x: Position, data: Data) -> dict[str, Array]:  # type: ignore[override]
        """Log weights by site."""
        return self.terms(x, data)[1]


@dataclasses.dataclass(frozen=True)
class SummedSites(NumpyroSites):
    """:class:`NumpyroSites` at the most probable values of the discrete sites."""

    def __call__(self, x: Position, data: Data) -> dict[str, dict[str, Any]]:
        """Reports by site; of those that depend on discrete sites for their best values."""
        report = super().__call__(x, data)
        found, graph = factors(self.model, values_of(self.model, x, data), data)
        for name, tables in found.items():
            if name in self.model.summed.names:
                report.pop(name, None)
                continue
            best: Array = jnp.zeros(())
            for table in tables:
                variables = sorted(graph.variables(table))
                rows = table.placed([*sorted(graph.of(table)), *variables])
                flat = rows.reshape(*rows.shape[: rows.ndim - len(variables)], -1)
                best = best + jnp.max(flat, axis=-1).sum()
            outside = report[name]["outside"] & ~jnp.isfinite(best)
            report[name] |= {"log_prob": best, "outside": outside}
        return report
