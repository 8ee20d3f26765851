"""Whether each entry of a plate depends on its own discrete value only, looked at with numbers.

Enumeration evaluates a model at all values of a site at once, on an axis of its own. A model that
adds entries up, shifts or permutes them, or counts axes from the left, then computes something
else without any error. At random values of the discrete sites, the tables must say what the model
says when it is run with these values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from probinf.core.program import Program
from probinf.errors import DiscreteLatentError
from probinf.fronts.density import log_prob, without_mask
from probinf.fronts.enumeration.chains import lag_of
from probinf.fronts.enumeration.density import values_of
from probinf.fronts.enumeration.elimination import Graph
from probinf.fronts.enumeration.tables import Table, at
from probinf.fronts.enumeration.tracing import factors
from probinf.fronts.model import Model, NumpyroData

_TRIES = 4


def refuse_mixed(model: Model, program: Program) -> None:
    """Compare the tables with the model itself at random values of the discrete sites.

    Raises:
        DiscreteLatentError: a site has another density; names it.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(program.data)):
        return
    apart = jax.tree.map(np.asarray, _apart(model, program.data))
    for name, (table, plain) in apart.items():
        same = np.isclose(table, plain, rtol=1e-3, atol=1e-3, equal_nan=True)
        if not same.all():
            k = int(np.argmin(same))
            raise DiscreteLatentError(
                f"site '{name}': at the same values of the discrete sites "
                f"{list(model.summed.names)}, its log density is {plain[k]:.6g} in the model and "
                f"{table[k]:.6g} as they are summed out. The model mixes their entries (a sum, a "
                "shift or an index over the plate), or counts axes from the left, while summing "
                "needs each entry to depend on its own discrete value, with axes counted from "
                "the right (x[..., k]). Write it so, or keep the sites with allow_discrete=True "
                "and MCMC over blocks."
            )


@lru_cache(maxsize=64)
def _compiled(model: Model) -> Any:
    def one(key: Array, data: NumpyroData) -> dict[str, tuple[Array, Array]]:
        keys = jax.random.split(key, 1 + len(model.latents) + len(model.summed.sites))
        x = {
            n.name: jax.random.uniform(k, n.shape, minval=-1.0, maxval=1.0)
            for n, k in zip(model.latents, keys[1:], strict=False)
        }
        z = {}
        for site, k in zip(model.summed.sites, keys[1 + len(model.latents) :], strict=True):
            assert site.levels is not None
            z[site.name] = jax.random.randint(k, site.shape, site.levels[0], site.levels[1] + 1)
        trace = model.trace(data, {**x, **z})
        tables, graph = factors(model, values_of(model, x, data), data)
        index = {s.name: z[s.name] - s.levels[0] for s in model.summed.sites if s.levels}
        masked = {n.name for n in (*model.latents, *model.summed.sites) if n.masked}
        return {
            name: (
                sum((_looked_up(t, index, model, graph) for t in found), start=jnp.zeros(())),
                _plain(trace[name], name in masked),
            )
            for name, found in tables.items()
        }

    return jax.jit(lambda data: jax.lax.map(lambda k: one(k, data), _keys()))


def _keys() -> Array:
    return jax.random.split(jax.random.key(0), _TRIES)


def _apart(model: Model, data: NumpyroData) -> Any:
    return _compiled(model)(data)


def _plain(site: dict[str, Any], proper: bool) -> Array:
    return jnp.sum(log_prob({**site, "fn": without_mask(site["fn"])} if proper else site))


def _looked_up(table: Table, index: dict[str, Array], model: Model, graph: Graph) -> Array:
    """A table's sum at the values of the discrete sites."""
    known = {}
    time = [n for n in table.names if n in graph.times]
    steps = graph.sizes[time[0]] if time else 0
    for name in graph.variables(table):
        lag, base = lag_of(name)
        site = next(s for s in model.summed.sites if s.name == base)
        value = index[base]
        rows = {graph.dims[n]: n for n in graph.plates[name] if n not in graph.times}
        here = [rows.get(d, "") for d in range(-len(site.shape), 0)]
        scanned = bool(lag) or bool(graph.plates[name] & graph.times)
        if scanned:
            first = value.shape[0] - steps - lag
            if time:
                value, here[0] = value[first : first + steps], time[0]
            else:
                unrolled = value.shape[0] - _rolled(base, graph)
                value, here = value[unrolled - lag], here[1:]
        axes = [k for k, n in enumerate(here) if not n]
        known[name] = Table(tuple(n for n in here if n), jnp.squeeze(value, axes))
    return at(table, known).values.sum()


def _rolled(name: str, graph: Graph) -> int:
    """Steps of a scan that are one axis of this site; 0 where all are sites of their own."""
    times = graph.plates.get(name, frozenset()) & graph.times
    return graph.sizes[next(iter(times))] if times else 0
