"""Exact elimination of discrete variables from tables in plates and chains, and the way back.

A plate's innermost variables are summed out first, then the plate is multiplied out (tensor
variable elimination, Obermeyer et al. 2019). A scan is a plate of steps whose variables depend on
those of earlier steps: its sum is a backward recursion. What was summed last is drawn first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
from jaxtyping import Array

from probinf.errors import DiscreteLatentError
from probinf.fronts.enumeration.chains import ChainStep, chain, lag_of
from probinf.fronts.enumeration.tables import Over, Table, at, chosen, product, reduced

Names = frozenset[str]


@dataclasses.dataclass(frozen=True)
class Graph:
    """The discrete variables of a model and where they live.

    Attributes:
        plates: by variable, the plates (and scans) it is in.
        sizes: by variable and by plate.
        times: plates that are the steps of a scan.
        dims: by plate, its batch axis, counted from the right.
    """

    plates: Mapping[str, Names]
    sizes: Mapping[str, int]
    times: Names = frozenset()
    dims: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def of(self, table: Table) -> Names:
        """The plates of a table."""
        return frozenset(table.names) - frozenset(self.plates)

    def ordered(self, plates: Iterable[str]) -> tuple[str, ...]:
        """Plates in the order of their axes, the outermost first."""
        return tuple(sorted(plates, key=lambda n: (n not in self.times, self.dims.get(n, 0), n)))

    def variables(self, table: Table) -> Names:
        """The variables of a table."""
        return frozenset(table.names) & frozenset(self.plates)


@dataclasses.dataclass(frozen=True)
class SiteStep:
    """One variable that was summed out of a table."""

    variable: str
    table: Table

    def back(self, key: Array | None, known: dict[str, Table]) -> None:
        """Choose its value given those of the others in the table."""
        here = at(self.table, known)
        rest = [n for n in here.names if n != self.variable]
        values = here.placed([*rest, self.variable])
        known[self.variable] = Table(tuple(rest), chosen(key, values))


def components(tables: Sequence[Table], variables: Names) -> list[tuple[list[Table], Names]]:
    """The tables in groups that share any of the variables, each with its variables."""
    groups: list[tuple[list[Table], Names]] = []
    for table in tables:
        own = frozenset(table.names) & variables
        joined = [g for g in groups if g[1] & own]
        groups = [g for g in groups if not g[1] & own]
        members = [t for g in joined for t in g[0]]
        groups.append(([*members, table], own.union(*(g[1] for g in joined))))
    return groups


def eliminate(
    tables: Sequence[Table], graph: Graph, keep: Sequence[str] = (), over: Over = "sum"
) -> tuple[Table, list[SiteStep | ChainStep]]:
    """Sum all variables out, and multiply all plates out but those to keep.

    Args:
        tables: factors of a joint probability.
        graph: their variables and plates.
        keep: plates that every table is in.
        over: the values of variables.

    Returns:
        The log of the sum, over the plates that are kept, and what :func:`backward` needs.

    Raises:
        DiscreteLatentError: the sum is too large, or plates cross.
    """
    levels: dict[Names, list[Table]] = {}
    steps: list[SiteStep | ChainStep] = []
    result = product([], tuple(keep), graph.sizes)
    for table in tables:
        levels.setdefault(graph.of(table), []).append(table)
    while levels:
        leaf = max(levels, key=lambda names: (len(names), sorted(names)))
        local = frozenset(v for v, plates in graph.plates.items() if plates == leaf)
        for group, own in components(levels.pop(leaf), local):
            rest = _without(group, own, leaf, graph, over, steps)
            for table in rest:
                others = graph.variables(table)
                stay = frozenset[str]().union(*(graph.plates[v] for v in others), keep)
                if not others:
                    done = table.added([n for n in table.names if n not in keep])
                    result = product([result, done], tuple(keep), graph.sizes)
                elif stay >= leaf:
                    raise _crossing(others, stay)
                else:
                    moved = table.added(sorted(graph.of(table) - stay))
                    levels.setdefault(graph.of(moved), []).append(moved)
    return result, steps


def _without(
    group: list[Table],
    own: Names,
    leaf: Names,
    graph: Graph,
    over: Over,
    steps: list[SiteStep | ChainStep],
) -> list[Table]:
    """A group of tables after its own variables have been eliminated."""
    time = sorted(leaf & graph.times)
    lagged = {lag_of(n)[1] for t in group for n in t.names if time and lag_of(n)[0]}
    chained = own & frozenset(lagged)
    left = set(own - chained)
    while left:
        variable = min(left, key=lambda v: (_cost(group, v, graph), v))
        left.discard(variable)
        touched = [t for t in group if variable in t.names]
        group = [t for t in group if variable not in t.names]
        names = _joined(touched, leaf)
        rest = tuple(n for n in names if n != variable)
        table = product(touched, (*rest, variable), graph.sizes)
        steps.append(SiteStep(variable, table))
        group.append(Table(rest, reduced(table.values, over)))
    if chained:
        others = frozenset().union(*(graph.variables(t) for t in group)) - chained
        if strange := sorted(n for n in others if lag_of(n)[1] not in chained or not lag_of(n)[0]):
            raise _crossing(strange, leaf)
        table, step = chain(group, sorted(chained), time[0], sorted(leaf), graph.sizes, over)
        steps.append(step)
        group = [table]
    return group


def _joined(tables: Iterable[Table], first: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*sorted(first), *(n for t in tables for n in t.names)]))


def _cost(group: list[Table], variable: str, graph: Graph) -> int:
    size = 1
    for name in {n for t in group if variable in t.names for n in t.names}:
        size *= graph.sizes[name]
    return size


def _crossing(variables: Iterable[str], plates: Iterable[str]) -> DiscreteLatentError:
    return DiscreteLatentError(
        f"the discrete sites {sorted(variables)} in plates {sorted(plates)} cannot be summed out "
        "one plate within another: their plates cross, so that the sum has as many terms as there "
        "are joint values. Nest the plates, or keep the sites with allow_discrete=True and "
        "MCMC over blocks."
    )


def backward(key: Array | None, steps: Sequence[SiteStep | ChainStep]) -> dict[str, Table]:
    """Values of all variables, each a table over its plates: drawn, or the most probable.

    Args:
        key: to draw with; None after an elimination over ``"max"``.
        steps: of :func:`eliminate`.
    """
    known: dict[str, Table] = {}
    for k, step in enumerate(reversed(steps)):
        step.back(None if key is None else jax.random.fold_in(key, k), known)
    return known
